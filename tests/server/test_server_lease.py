"""The lease on one machine: rarely written while its holder lives, taken over at once when that has ended."""

import asyncio
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from db.schema import Lease as Row
from db.session import Database
from server.claim import Claim, has_ended
from server.lease import LOCAL_SECONDS, Lease

HOLD = """
import sys, time
from pathlib import Path
from server.claim import Claim
claim = Claim(Path(sys.argv[1]))
assert claim.take()
print(claim.name, flush=True)
time.sleep(60)
"""


@pytest.fixture
def kind() -> str:
    return "sqlite"


def claimed(folder: Path) -> Claim:
    claim = Claim(folder)
    assert claim.take()
    return claim


def until(database: Database) -> float:
    with database.reading() as session:
        return session.scalars(select(Row.until)).one().timestamp()


async def test_while_nothing_changes_nothing_is_written(database: Database, tmp_path: Path) -> None:
    claim = claimed(tmp_path / "spool" / "one")
    lease = Lease(database, claim.name, 2.5, has_ended)
    await lease.beat()
    assert lease.role == "holds"
    assert until(database) == pytest.approx(time.time() + LOCAL_SECONDS, abs=10)
    wal = tmp_path / "ruminate.db-wal"
    before, size = until(database), wal.stat().st_size
    for _ in range(5):
        await lease.beat()
        assert lease.role == "holds"
    assert (until(database), wal.stat().st_size) == (before, size)


async def test_it_is_renewed_long_before_it_runs_out(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.lease.LOCAL_SECONDS", 4.0)
    lease = Lease(database, claimed(tmp_path / "spool" / "one").name, 3.5, has_ended)
    await lease.beat()
    first = until(database)
    await asyncio.sleep(0.6)
    await lease.beat()
    assert until(database) > first


async def test_a_gateway_that_is_killed_is_followed_at_the_next_look_and_one_that_lives_is_not(
    database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "spool" / "one"
    dying = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(folder), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert dying.stdout is not None
        name = (await dying.stdout.readline()).decode().strip()
        first = Lease(database, name, 2.5, has_ended)
        await first.beat()
        second = Lease(database, claimed(tmp_path / "spool" / "two").name, 2.5, has_ended)
        await second.beat()
        assert (first.role, second.role) == ("holds", "follows")
    finally:
        dying.kill()
        await dying.wait()
    await second.beat()
    assert second.role == "holds"
    await first.beat()
    assert first.role == "follows"


async def test_one_that_is_started_again_on_its_folder_goes_on_as_the_same_holder(
    database: Database, tmp_path: Path
) -> None:
    claim = claimed(tmp_path / "spool" / "one")
    await Lease(database, claim.name, 2.5, has_ended).beat()
    claim.release()
    again = Lease(database, claimed(tmp_path / "spool" / "one").name, 2.5, has_ended)
    await again.beat()
    assert again.role == "holds"


def test_whether_a_gateway_has_ended_is_said_of_this_machine_only(tmp_path: Path) -> None:
    claim = claimed(tmp_path / "spool" / "one")
    assert not has_ended(claim.name)
    elsewhere = f"elsewhere:{claim.folder}"
    claim.release()
    assert has_ended(claim.name)
    assert not has_ended(elsewhere)
    assert has_ended(f"{claim.name}-gone")  # its folder was taken over
    here = claim.name.partition(":")[0]
    assert not has_ended(f"{here}:/no/such/home/spool/gateway-1")
    assert not has_ended(f"{here}:/{'x' * 300}/spool/gateway-1")  # the system refuses to look, as into another's folder
