"""The gateway that looks after the engines is killed (kill -9) at any point of a change of what is live: a swap of
adapters, one to full weights or back, a canary's trial begun or ended, a rollback.

Another gateway takes over, or it is alone and is started again: within seconds it and the engines have what the newest
row says, nothing stays paused, and what was lost can be asked for again. The lease and the wishes that end with it are
as they are by default. Other things that die in a swap are in test_server_crashes.py and test_server_outages.py.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.gateways import Running, http_to, running_gateway
from support.processes import Forked
from support.walks import (
    CHANGES,
    CONVERGED_SECONDS,
    LOAD,
    REACHED_SECONDS,
    RECORD,
    REPLACE,
    STEP_SECONDS,
    UNLOAD,
    Change,
    Walk,
    arm,
    deploy,
    is_there,
    let_go,
    prepare,
    running_engines,
)

from db.session import Database
from server.settings import ServerSettings

DEFAULT_LEASE: float = ServerSettings.model_fields["lease_seconds"].default
DEFAULT_WATCH: float = ServerSettings.model_fields["watch_seconds"].default
HOLDER, OTHER, FOLLOWER, ALONE = "holder", "other", "follower", "alone"
"""Which gateway is asked for the change: the one that looks after the engines and is killed; the other one, while that
one is killed; one that is killed and does not look after the engines; or the only one, which is killed and started
again."""
CASES = [
    *[("sqlite", "adapter", asked, point) for asked in (HOLDER, OTHER) for point in LOAD + UNLOAD],
    *[("sqlite", "adapter", HOLDER, point) for point in RECORD],
    *[("sqlite", "adapter", ALONE, point) for point in LOAD + UNLOAD + RECORD],
    *[("postgresql", "adapter", HOLDER, point) for point in ("loaded", "unload")],
    ("postgresql", "adapter", ALONE, "loaded"),
    *[("sqlite", "adapter on the second engine", HOLDER, point) for point in LOAD + UNLOAD],
    ("sqlite", "adapter on the second engine", ALONE, "loaded"),
    *[("sqlite", "full", HOLDER, point) for point in ("unloaded", *REPLACE)],
    *[("sqlite", "full", OTHER, point) for point in ("paused", "in change", "named", "proven")],
    *[("sqlite", "full", FOLLOWER, point) for point in ("in change", "proven")],
    *[("sqlite", "full", ALONE, point) for point in ("unloaded", *REPLACE)],
    *[("sqlite", "full on the second engine", HOLDER, point) for point in ("paused", "reloaded", "proven")],
    *[("sqlite", "back", HOLDER, point) for point in ("in change", "adapter proven")],
    ("sqlite", "back", ALONE, "adapter proven"),
    *[("sqlite", "trial", HOLDER, point) for point in LOAD],
    *[("sqlite", "trial", asked, "probed") for asked in (FOLLOWER, ALONE)],
    # what is on trial is loaded, so that no wish for it is written
    *[("sqlite", "promotion", HOLDER, point) for point in ("written", *UNLOAD)],
    *[("sqlite", "promotion", asked, "unload") for asked in (OTHER, ALONE)],
    ("sqlite", "trial taken back", HOLDER, "written"),
    ("sqlite", "trial taken back", ALONE, "unload"),
    *[("sqlite", "rollback", asked, "written") for asked in (HOLDER, ALONE)],  # all that there is of it
    *[("sqlite", "rollback to an older one", HOLDER, point) for point in ("probed", "written", "unload")],
    ("sqlite", "rollback to an older one", ALONE, "loaded"),
    *[("sqlite", "rollback of full weights", HOLDER, point) for point in ("paused", "in change", "named", "proven")],
    *[("sqlite", "rollback of full weights", ALONE, point) for point in ("in change", "written")],
    *[("sqlite", "rollback to an adapter", asked, "adapter proven") for asked in (HOLDER, ALONE)],
]


@pytest.mark.parametrize(("kind", "what", "asked", "point"), CASES)
async def test_a_change_whose_gateway_is_killed_at_any_point_converges_on_one_live_checkpoint(
    tmp_path: Path, database_url: str, what: str, asked: str, point: str
) -> None:
    async with AsyncExitStack() as stack:
        change = CHANGES[what]
        engines = await stack.enter_async_context(running_engines(change.engines))
        urls = [engine.url for engine in engines]
        shared = {"RUMINATE_DATABASE_URL": database_url, "WATCH_SECONDS": "0.05", "LEASE_SECONDS": str(DEFAULT_LEASE)}
        one = Forked(tmp_path / "one", urls, **shared)
        stack.callback(one.end)
        if asked != FOLLOWER:
            await one.start()
        database = Database(database_url)
        stack.callback(database.close)
        seen = Walk(database, engines)

        async def left(home: str, **more: Any) -> Running:
            """The gateway that is left, or the one that was killed once it is up again."""
            looks = {"database_url": database_url, "watch_seconds": DEFAULT_WATCH, "lease_seconds": DEFAULT_LEASE}
            house = await stack.enter_async_context(running_gateway(tmp_path / home, urls, **looks | more))
            stack.callback(let_go, engines)
            return house

        if asked != ALONE:
            seen.houses = [await left("two")]
            await seen.houses[0].until_ready()
        if asked == FOLLOWER:
            await one.start()
        if asked != ALONE:
            assert seen.houses[0].gateway.lease.role == ("holds" if asked == FOLLOWER else "follows")
        http = await stack.enter_async_context(http_to(one.url))
        first = http if asked == ALONE else seen.houses[0].http
        async with seen.within(2 * STEP_SECONDS, "the checkpoints before it were deployed"):
            await prepare(database, first, tmp_path, change)
        await seen.until(change.before, "before the change")
        asking = asyncio.create_task(deploy(first if asked == OTHER else http, change.asked, change.share))
        await kill_at(point, one, seen, change)
        killed = time.monotonic()
        done = asked == OTHER or point in change.done
        if point in RECORD:  # whether its row was written before it died is a matter of milliseconds
            done = is_there(database, "written", change)
        async with seen.within(CONVERGED_SECONDS, "after the kill, and a start where it was alone, all was well"):
            if asked == ALONE:
                seen.houses = [await left("one", port=one.port)]
            await seen.until(change.after if done else change.before, "after the kill", CONVERGED_SECONDS, holds=True)
        print(f"from the kill: {time.monotonic() - killed:.2f} s")
        await settled(seen, change, asking, asked == OTHER, done)


async def kill_at(point: str, one: Forked, seen: Walk, change: Change) -> None:
    """Return once `one` was killed there."""
    killed = asyncio.Event()

    def kill() -> None:
        one.kill()
        killed.set()

    async with seen.within(REACHED_SECONDS, f"the point {point!r} was reached"):
        if point in RECORD:
            while not is_there(seen.database, point, change):  # noqa: ASYNC110  rows signal nothing
                await asyncio.sleep(0.002)
            kill()
        else:
            arm(seen.engines[-1], point, kill)
        await killed.wait()


async def settled(
    seen: Walk, change: Change, asking: "asyncio.Task[httpx.Response]", answered: bool, done: bool
) -> None:
    """Answers come, and what was lost can be asked for again. `answered`: the one who was asked lives."""
    async with seen.within(STEP_SECONDS, "the change that was asked for had an answer"):
        result = (await asyncio.gather(asking, return_exceptions=True))[0]
    if answered:
        assert isinstance(result, httpx.Response)
        assert result.status_code == 200, result.text
    async with seen.within(STEP_SECONDS, "four answers came"):
        await seen.answers_as_the_row_says()
    if not done:
        async with seen.within(STEP_SECONDS, "the change was made when it was asked for again"):
            again = await deploy(seen.houses[0].http, change.asked, change.share)
        assert again.status_code == 200, again.text
        await seen.until(change.after, "after it was asked for again")
        async with seen.within(STEP_SECONDS, "four answers came after that"):
            await seen.answers_as_the_row_says()
