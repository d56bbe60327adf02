"""Whether live writes more slowly than what it replaced, or the machine does: both are asked in turns, now.

Live and the checkpoint before it answered people at different times. What else a machine does in between shows in the
time of answers just as a slow checkpoint does, and only asking both at once tells the two apart.
"""

import statistics
import time

from server.catalog import Weights
from server.engine import Engine
from server.pool import Pool

PAIRS, TOKENS = 7, 16
ASK_SECONDS = 60.0  # for so few tokens, on a machine that is in trouble
CLEARLY = 1.5
"""So many times as long is slower: in one minute on one engine, far more than one adapter differs from another by."""


async def times_slower(pool: Pool, live: Weights, previous: Weights) -> float | None:
    """How many times as long as `previous` live takes to write as much, on the engine where it takes longest.

    The median over pairs of short answers. None where no engine has both at hand. Raises EngineFailed.
    """
    if live.ground != previous.ground:
        return None
    both = [one for one in pool.engines if one.serves(live.model) and one.serves(previous.model)]
    found = []
    for engine in both:
        ratios = []
        for place in range(PAIRS + 1):
            order = (live, previous) if place % 2 else (previous, live)
            took = {one.id: await _seconds(engine, one.model) for one in order}
            if place:  # the first one warms up
                ratios.append(took[live.id] / took[previous.id])
        found.append(statistics.median(ratios))
    return max(found, default=None)


async def _seconds(engine: Engine, model: str) -> float:
    body = {"model": model, "prompt": "Once", "temperature": 0.0, "max_tokens": TOKENS, "min_tokens": TOKENS}
    began = time.perf_counter()
    await engine.complete(body | {"ignore_eos": True, "priority": 0}, ASK_SECONDS)
    return max(time.perf_counter() - began, 1e-6)
