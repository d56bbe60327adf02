"""How a probe is asked for: a few tokens at a time, one request after another, since people's answers wait for each."""

from typing import Any

import numpy as np
import pytest

from server.engine import Engine
from server.full import FullWeights, prove
from server.probe import (
    APART,
    CALL_SEQUENCES,
    PROBE_TOKENS,
    ProbeFailed,
    check,
    completion_logprobs,
    judge,
    probe_logprobs,
)


class Scoring(Engine):
    """Gives each token of a prompt its own number as its log-probability, and notes what it was asked at once."""

    def __init__(self) -> None:
        self.url, self.asked, self.running = "http://engine", [], 0  # type: ignore[misc]

    async def complete(self, body: Any, seconds: float) -> dict[str, Any]:
        assert not self.running
        self.asked.append([len(prompt) for prompt in body["prompt"]])  # type: ignore[has-type]
        rows = [[None, *({str(token): {"logprob": -token / 1000}} for token in p[1:])] for p in body["prompt"]]
        return {"choices": [{"index": index, "prompt_logprobs": row} for index, row in enumerate(rows)][::-1]}


def sequences(*lengths: int) -> list[dict[str, Any]]:
    """Of one completion token each, which tells them apart."""
    return [{"prompt_ids": [7] * (length - 1), "completion_ids": [number]} for number, length in enumerate(lengths)]


def probe(*lengths: int, shift: float = 0.0) -> dict[str, Any]:
    found = [
        one | {"logprobs_candidate": [-number / 1000 + shift], "logprobs_base": [-9.0]}
        for number, one in enumerate(sequences(*lengths))
    ]
    return {"sequences": found, "tolerance": 0.02}


async def test_a_probe_is_read_by_an_engine_in_small_parts_and_in_order() -> None:
    engine = Scoring()
    await check(engine, "ruminate-v1", probe(*[PROBE_TOKENS // 2] * 3, PROBE_TOKENS + 50, 30, 30))
    assert engine.asked == [[PROBE_TOKENS // 2] * 2, [PROBE_TOKENS // 2], [PROBE_TOKENS + 50], [30, 30]]
    with pytest.raises(ProbeFailed, match="other weights"):
        await check(engine, "ruminate-v1", probe(100, 100, 100, shift=-0.1))


async def test_what_two_tokens_of_a_completion_have_before_them_is_read_once() -> None:
    text = [*range(20, 60)]
    found = [{"prompt_ids": text[:end], "completion_ids": [text[end]]} for end in (30, 39, 12)]
    other = {"prompt_ids": [*text[:35], 99], "completion_ids": [7, 8]}  # begins alike, and goes on otherwise
    asked = [found[0], other, *found[1:], found[0]]
    engine = Scoring()
    told = await probe_logprobs(engine, "ruminate-v1", asked)
    assert engine.asked == [[40, 38]]
    assert told == pytest.approx([-one / 1000 for one in (text[30], 7, 8, text[39], text[12], text[30])])


async def test_the_trainers_sequences_are_asked_for_many_at_once() -> None:
    engine = Scoring()
    asked = sequences(*[200] * (CALL_SEQUENCES + 1))
    found = await completion_logprobs(engine, "round-1-step-1", asked, priority=1, seconds=1.0)
    assert [len(one) for one in engine.asked] == [CALL_SEQUENCES, 1]
    assert np.ravel(found) == pytest.approx([-number / 1000 for number in range(len(asked))])


CANDIDATE, BASE = np.array([-0.5, -0.3, -0.8, -1.0]), np.array([-4.0, -5.0, -4.0, -3.5])


def beside_parent(apart: float, wrong_by: float = 0.0) -> tuple[dict[str, Any], np.ndarray]:
    """A probe of a candidate far from the base and `apart` nats from its parent on half of its tokens, and an answer of
    the parent that is `wrong_by` off."""
    parent = CANDIDATE + [0.0, 0.0, apart, -apart]
    rows = zip(range(len(CANDIDATE)), CANDIDATE, BASE, parent, strict=True)
    found = [
        {"prompt_ids": [row], "completion_ids": [3], "logprobs_candidate": [c], "logprobs_base": [b],
         "logprobs_parent": [p]}
        for row, c, b, p in rows
    ]  # fmt: skip
    return {"sequences": found, "tolerance": 0.25 * float(np.abs(CANDIDATE - BASE).mean())}, parent + wrong_by


def test_an_engine_that_answers_as_the_parent_is_refused_however_far_both_are_from_the_base() -> None:
    probe, parents = beside_parent(0.3, wrong_by=0.02)
    assert np.abs(parents - CANDIDATE).mean() < probe["tolerance"]
    with pytest.raises(ProbeFailed, match="answers as the checkpoint that this one was trained from: .* to the parent"):
        judge(parents, probe, BASE)
    assert "to the parent" in judge(CANDIDATE + 0.02, probe, BASE)


def test_a_manifest_without_the_parents_numbers_is_judged_by_the_base_alone() -> None:
    probe, parents = beside_parent(0.3)
    for one in probe["sequences"]:
        del one["logprobs_parent"]
    assert "parent" not in judge(parents, probe, BASE)
    with pytest.raises(ProbeFailed, match="other weights"):
        judge(BASE, probe, BASE)


def test_rounding_never_refuses_a_candidate_that_is_close_to_its_parent() -> None:
    dice = np.random.default_rng(0)
    for apart in (0.0, 0.01, 0.03, APART, 0.2):
        probe, _ = beside_parent(apart)
        for _ in range(200):
            judge(CANDIDATE + dice.uniform(-0.03, 0.03, len(CANDIDATE)), probe, BASE)
    probe, parents = beside_parent(0.99 * APART)  # what can't be told for sure is not told
    assert "parent" not in judge(parents, probe, BASE)


async def test_full_weights_are_told_from_their_parent_too() -> None:
    class Parents(Scoring):
        async def complete(self, body: Any, seconds: float) -> dict[str, Any]:
            rows = [[None, {"3": {"logprob": float(told)}}] for told in parents]
            return {"choices": [{"index": index, "prompt_logprobs": row} for index, row in enumerate(rows)]}

    probe, parents = beside_parent(0.3)
    with pytest.raises(ProbeFailed, match="trained from"):
        await prove(Parents(), FullWeights("ruminate-v2", "/v2", probe), "ruminate-v0", BASE)
