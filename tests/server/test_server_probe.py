"""How a probe is asked for: a few tokens at a time, one request after another, since people's answers wait for each."""

from typing import Any

import numpy as np
import pytest

from server.engine import Engine
from server.probe import CALL_SEQUENCES, PROBE_TOKENS, ProbeFailed, check, completion_logprobs


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


async def test_the_trainers_sequences_are_asked_for_many_at_once() -> None:
    engine = Scoring()
    asked = sequences(*[200] * (CALL_SEQUENCES + 1))
    found = await completion_logprobs(engine, "round-1-step-1", asked, priority=1, seconds=1.0)
    assert [len(one) for one in engine.asked] == [CALL_SEQUENCES, 1]
    assert np.ravel(found) == pytest.approx([-number / 1000 for number in range(len(asked))])
