"""Whether an engine serves the weights that were trained: its log-probabilities of a few tokens against the trainer's.

The only proof there is: an adapter that an engine ignores answers without any error, as the base model.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from server.engine import Engine

PROBE_SECONDS = 30.0  # for a request of a few short prompts, behind whatever the engine does already
CALL_SEQUENCES = 32  # sequences in one request: vLLM would take 1,024, but a person waits behind them
PROBE_TOKENS = 320  # in one request of a probe: an engine reads them in one step, and every answer waits for that
APART = 0.1  # nats; two checkpoints are told from each other by tokens that they differ on by that, well above rounding


class ProbeFailed(Exception):
    """The engine serves other weights than those that were measured."""


async def probe_logprobs(
    engine: Engine, model: str, sequences: Sequence[Mapping[str, Any]], most_tokens: float = PROBE_TOKENS
) -> np.ndarray:
    """Of a probe's completion tokens, one after the other: asked for beside people, a few tokens at a time.

    A sequence that is the beginning of another one is read with it, once.
    """
    asked, places = shared(sequences)
    found = await completion_logprobs(engine, model, asked, 0, PROBE_SECONDS, most_tokens)
    return np.concatenate([np.asarray(found[one][place]) for one, place in places])


def shared(sequences: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[int, slice]]]:
    """The sequences that no other one begins with, and of each given one where its completion's tokens are: in which of
    them, and where in its completion."""
    whole = [(*one["prompt_ids"], *one["completion_ids"]) for one in sequences]
    longest = [max((other for other in whole if other[: len(one)] == one), key=len) for one in whole]
    order = list(dict.fromkeys(longest))
    given = {
        text: min(len(one["prompt_ids"]) for one, its in zip(sequences, longest, strict=True) if its == text)
        for text in order
    }
    asked = [{"prompt_ids": list(text[: given[text]]), "completion_ids": list(text[given[text] :])} for text in order]
    places = []
    for one, text in zip(sequences, longest, strict=True):
        first = len(one["prompt_ids"]) - given[text]
        places.append((order.index(text), slice(first, first + len(one["completion_ids"]))))
    return asked, places


async def completion_logprobs(
    engine: Engine,
    model: str,
    sequences: Sequence[Mapping[str, Any]],
    priority: int,
    seconds: float,
    most_tokens: float = math.inf,
) -> list[list[float]]:
    """Natural-log probability of each completion token given what stands before it, for each sequence.

    `sequences`: {"prompt_ids": [...], "completion_ids": [...]}. At temperature 1, of the raw distribution. `seconds`
    and `most_tokens` are of one request; a sequence that is longer than that goes alone. Raises EngineFailed.
    """
    found: list[list[float]] = []
    for part in _requests(sequences, most_tokens):
        body = {
            "model": model,
            "prompt": [[*one["prompt_ids"], *one["completion_ids"]] for one in part],
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 0,
            "priority": priority,
        }
        choices = (await engine.complete(body, seconds))["choices"]
        try:
            for choice, one in zip(sorted(choices, key=lambda choice: choice["index"]), part, strict=True):
                given = len(one["prompt_ids"])
                rows = choice["prompt_logprobs"][given:]
                found.append([row[str(t)]["logprob"] for row, t in zip(rows, one["completion_ids"], strict=True)])
        except (KeyError, TypeError, ValueError) as error:
            raise engine.unlike("/v1/completions", error) from error
    return found


def _requests(sequences: Sequence[Mapping[str, Any]], most_tokens: float) -> Iterator[list[Mapping[str, Any]]]:
    part: list[Mapping[str, Any]] = []
    tokens = 0
    for one in sequences:
        length = len(one["prompt_ids"]) + len(one["completion_ids"])
        if part and (len(part) == CALL_SEQUENCES or tokens + length > most_tokens):
            yield part
            part, tokens = [], 0
        part.append(one)
        tokens += length
    if part:
        yield part


async def check(engine: Engine, model: str, probe: Mapping[str, Any]) -> str:
    """Compare `engine` with a manifest's probe. Returns the figures in words; raises ProbeFailed or EngineFailed."""
    found = await probe_logprobs(engine, model, probe["sequences"])
    return judge(found, probe, said(probe, "base"))


def said(probe: Mapping[str, Any], of: str) -> np.ndarray | None:
    """The trainer's log-probabilities of the probe's tokens `of` "candidate", "base" or "parent"; None where the
    manifest has none: the parent is the base, or the manifest is older than this field."""
    key = f"logprobs_{of}"
    if any(key not in one for one in probe["sequences"]):
        return None
    return np.concatenate([np.asarray(one[key]) for one in probe["sequences"]])


def judge(found: np.ndarray, probe: Mapping[str, Any], other: np.ndarray | None, others: str = "the base") -> str:
    """Mean absolute differences over the probe's tokens, in nats: within tolerance, and nearer to the candidate.

    `other`, called `others` in words: what an engine would answer that ignored the load; None where it is not known.
    The parent's, where the probe has them, count on those tokens alone that it and the candidate differ on by APART.
    """
    candidate, parent = said(probe, "candidate"), said(probe, "parent")
    tolerance = float(probe["tolerance"])
    assert candidate is not None
    to_candidate = _mean(found - candidate)
    figures = f"mean |Δlogp| {to_candidate:.4g} to the candidate"
    if other is not None:
        to_other = _mean(found - other)
        figures += f", {to_other:.4g} to {others}"
    figures += f", tolerance {tolerance:.4g}"
    telling = np.zeros(len(found), bool) if parent is None else np.abs(candidate - parent) >= APART
    if parent is not None and telling.any():
        near, to_parent = _mean((found - candidate)[telling]), _mean((found - parent)[telling])
        figures += f"; where the parent differs {near:.4g} to the candidate, {to_parent:.4g} to the parent"
    if not np.isfinite(to_candidate) or to_candidate > tolerance:
        raise ProbeFailed(f"the engine serves other weights than were trained: {figures}")
    if other is not None and to_candidate >= to_other:
        raise ProbeFailed(f"the engine ignores what it was given and answers as {others}: {figures}")
    if telling.any() and near >= to_parent:
        raise ProbeFailed(f"the engine answers as the checkpoint that this one was trained from: {figures}")
    return figures


def _mean(differences: np.ndarray) -> float:
    return float(np.abs(differences).mean())
