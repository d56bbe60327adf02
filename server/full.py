"""Full weights on an engine: put in the place of what it has, while no answer is being written, and proven.

vLLM reloads weights in place under the one name that it was started with; no name of a request tells them apart. So
an engine is told a version for what it has (`/update_weight_version`), which a restart forgets, and who sends a request
compares it before and after. A version is never used twice. The order of the calls is what counts here; which weights
an engine should have is decided in `server.swap`.
"""

import logging
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np

from server.engine import AS_STARTED, Engine
from server.probe import judge, probe_logprobs

log = logging.getLogger(__name__)

IN_CHANGE = "in-change"
"""The version of an engine whose weights are being replaced. One that stays so must be loaded again."""
_MARK = "#"


class Replaced(Exception):
    """Another gateway gave the engine other weights meanwhile."""


@dataclass(frozen=True)
class FullWeights:
    """What an engine should have under its adapters. `name` as in an answer's `model`; `path` is empty for the base."""

    name: str
    path: str = ""
    probe: dict[str, Any] | None = None


def name_of(version: str, base: str) -> str | None:
    """Which checkpoint an engine of this version has, as far as it says; None while that changes."""
    if version == AS_STARTED:
        return base
    name, mark, _ = version.partition(_MARK)
    return name if mark else None


async def put_in_place(
    engine: Engine,
    wanted: FullWeights,
    path: str,
    asked_as: str,
    load_seconds: float,
    drain_seconds: float,
    sure: bool = True,
) -> str:
    """Have answers end, replace the weights, prove them. Returns the probe's words.

    `sure`: the engine has other weights now, so that it must answer otherwise afterwards.
    The caller sends nothing to the engine meanwhile; what others sent waits there, and they find out by its version.
    Raises EngineFailed, after which it has those it had, or any; ProbeFailed when it has others than wanted; Replaced
    before anything was done.
    """
    before = None
    if sure and wanted.probe is not None:
        before = await probe_logprobs(engine, asked_as, wanted.probe["sequences"])
    if await engine.weights_version(load_seconds) != engine.version:
        raise Replaced
    try:
        await engine.pause(drain_seconds)
        await engine.call_weights(IN_CHANGE)
        await engine.reload(path, load_seconds)
        engine.version = f"{wanted.name}{_MARK}{uuid.uuid4().hex[:12]}"
        await engine.call_weights(engine.version)
    finally:
        await engine.resume()
    return await prove(engine, wanted, asked_as, before)


async def prove(engine: Engine, wanted: FullWeights, asked_as: str, before: np.ndarray | None = None) -> str:
    """Compare what the engine answers with the probe. `before`: what it answered with the weights before these.

    Returns the figures in words; raises ProbeFailed or EngineFailed.
    """
    if wanted.probe is None:
        return ""
    found = await probe_logprobs(engine, asked_as, wanted.probe["sequences"])
    return judge(found, wanted.probe, before, "the weights before")
