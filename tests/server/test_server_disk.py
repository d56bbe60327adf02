"""A disk that is full and a spool of another version: what is recorded, set aside and told then."""

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import orjson
import pytest
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.records import a_turn, its_end
from support.waiting import until

from db.queries.users import ensure_user
from db.schema import Generation
from server.journal import Journal
from server.spool import Spool, inherit
from server.spool_lines import ASIDE


def endings(house: Running) -> list[str | None]:
    with house.database.reading() as session:
        return list(session.scalars(select(Generation.ending).order_by(Generation.id)))


@contextmanager
def full(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """The disk takes nothing more of the files in `folder`; what was opened before counts as well."""
    write = os.write

    def refuse(fd: int, data: bytes) -> int:
        if folder in Path(os.readlink(f"/proc/self/fd/{fd}")).parents:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        yield


async def test_a_full_disk_stops_neither_the_record_nor_later_replays(
    house: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await house.chat("before")).status_code == 200
    with full(monkeypatch, house.gateway.spool.folder):
        for number in range(3):
            assert (await house.chat(f"during {number}")).status_code == 200
        assert endings(house) == ["complete"] * 4
        assert "No space left" in (await house.http.get("/health")).json()["trouble"]
        house.gateway.recorder._to_spool([(a_turn("nobody", []), its_end(a_turn("nobody", [])))])  # lost, and told
    assert (await house.chat("after")).status_code == 200
    house.gateway.recorder._down_until = float("inf")
    assert (await house.chat("spooled")).status_code == 200
    house.gateway.recorder._down_until = 0.0
    await until(lambda: endings(house), "turns were not recorded", ["complete"] * 6)
    await until(lambda: house.gateway.trouble, "the gateway still tells of trouble", None)
    assert Journal(house.gateway.spool.folder).recover() == []


async def test_a_gateway_starts_on_a_full_disk_and_what_the_last_one_left_is_recorded_all_the_same(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    async with running_gateway(home, [engine.url]) as house:
        await house.until_ready()
        with house.database.transaction() as session:
            user = ensure_user(session, "ann", "user", "train").id
        spool = house.gateway.spool.folder
    turns = [a_turn(user, [{"role": "user", "content": name}]) for name in ("own", "of another gateway")]
    begun = [orjson.dumps({"begin": turn}) + b"\n" for turn in turns]
    own, other = spool / "open.jsonl", spool.with_name("gateway-9999") / "open.jsonl"
    own.write_bytes(begun[0] + OPEN[0] + b'{"begin": {"request_id": "cut o')
    other.parent.mkdir()
    other.write_bytes(begun[1])
    async with AsyncExitStack() as house_and_disk:
        with full(monkeypatch, home / "spool"):
            house = await house_and_disk.enter_async_context(running_gateway(home, [engine.url]))
            await house.until_ready()
            assert (await house.chat("during")).status_code == 200
            await until(
                lambda: sorted(map(str, endings(house))), "turns were not recorded", ["complete", "interrupted"]
            )
            assert "No space left" in (await house.http.get("/health")).json()["trouble"]
            assert (own.read_bytes()[: len(begun[0])], other.read_bytes()) == tuple(begun)
        assert (await house.chat("after")).status_code == 200
        assert "stays there" in (await house.http.get("/health")).json()["trouble"]
    async with running_gateway(home, [engine.url]) as house:
        await until(
            lambda: sorted(map(str, endings(house))), "turns were not recorded", ["complete"] * 2 + ["interrupted"] * 2
        )
        await until(lambda: house.gateway.trouble, "the gateway still tells of trouble", None)
        assert (spool / ASIDE).read_bytes() == OPEN[0]
        assert not other.parent.exists()
        assert Journal(spool).recover() == []


def test_what_a_journal_kept_is_forgotten_with_its_user(tmp_path: Path) -> None:
    turns = [a_turn(user, []) for user in ("ann", "bob")]
    first = Journal(tmp_path)
    first.start()
    for turn in turns:
        first.begin(turn)
    second = Journal(tmp_path)
    assert len(second.recover()) == 2
    second.start(keep=True)
    assert second.erase(lambda turn: turn.user_id == "ann") == 1
    second.end([turns[1].request_id])
    second.close()
    assert Journal(tmp_path).recover() == []


async def test_a_crowd_goes_to_the_database_where_the_disk_is_full(
    house: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with house.database.transaction() as session:
        user = ensure_user(session, "ann", "user", "train").id
    turns = [a_turn(user, [{"role": "user", "content": str(number)}]) for number in range(40)]
    with full(monkeypatch, house.gateway.spool.folder):
        house.gateway.recorder._keep([(turn, its_end(turn)) for turn in turns])
        assert endings(house) == ["complete"] * 40


def test_a_journal_is_whole_again_after_the_disk_was_full(tmp_path: Path) -> None:
    """With a real limit, in a process of its own: the line at the limit is cut off in its middle."""
    if (pid := os.fork()) == 0:
        try:
            import signal

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            journal = Journal(tmp_path)
            journal.start()
            turns = [a_turn("ann", [{"role": "user", "content": "x" * 200}]) for _ in range(20)]
            _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, most))
            refused = 0
            for turn in turns:
                try:
                    journal.begin(turn)
                except OSError:
                    refused += 1
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            journal.end([turns[0].request_id])
            journal.end([turns[-1].request_id])
            left = [turn.request_id for turn in Journal(tmp_path).recover()]
            whole = left == [turn.request_id for turn in turns[1:-1]]
            os._exit(0 if whole and 0 < refused < 20 else 1)
        except BaseException:  # noqa: BLE001
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


UNFIT = [
    b'{"record": [{"request_id": "r1", "user_id": "ann", "mood": "new"}, {"request_id": "r1"}]}\n',
    b'{"record": "nothing"}\n',
    b"[]\n",
]


async def test_lines_that_are_no_turns_are_set_aside_and_hold_up_nothing(house: Running) -> None:
    recorder, spool = house.gateway.recorder, house.gateway.spool
    recorder._down_until = float("inf")
    assert (await house.chat("one")).status_code == 200
    (waiting,) = spool.files()
    waiting.write_bytes(UNFIT[0] + waiting.read_bytes() + UNFIT[1] + UNFIT[2] + b'{"record": [{"cut o')
    recorder._down_until = 0.0
    await until(lambda: endings(house), "the turn was not recorded", ["complete"])
    await until(lambda: spool.empty, "the spool still has turns")
    aside = spool.folder / ASIDE
    assert aside.read_bytes() == b"".join(UNFIT)
    assert (await house.chat("two")).status_code == 200
    assert spool.erase(lambda turn: turn.user_id == "ann") == 1
    assert aside.read_bytes() == b"".join(UNFIT[1:])


OPEN = [
    b'{"begin": {"request_id": "r1", "mood": "new"}}\n',
    b'{"begin": {"request_id": "r2", "mood": "new"}}\n',
    b'{"end": "r2"}\n',
    b"[]\n",
    b'{"begin": {"request_id": "r3", "user_id": "ann", "mood": "new"}}\n',
]


def test_what_a_gateway_that_is_gone_has_set_aside_or_could_not_read_is_taken_over(tmp_path: Path) -> None:
    gone, turn = Spool(tmp_path / "gateway-1"), a_turn("ann", [])
    gone.set_aside([(turn, its_end(turn))])
    (gone.folder / "turns-00000001.jsonl").write_bytes(UNFIT[0])
    (gone.folder / "open.jsonl").write_bytes(b"".join(OPEN))
    erased = Journal(gone.folder).erase(lambda turn: turn.user_id == "ann")
    assert erased == 1
    own = Spool(tmp_path / "gateway-2")
    assert inherit(own, tmp_path, lambda turn: its_end(turn)) == 0
    assert not gone.folder.exists()
    kept = (own.folder / ASIDE).read_bytes().splitlines(keepends=True)
    assert orjson.loads(kept[0])["record"][0]["request_id"] == turn.request_id
    assert kept[1:] == [OPEN[0], OPEN[3], UNFIT[0]]


async def test_a_turn_that_can_not_be_recorded_is_set_aside(house: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr("server.recording.turns.record_many", refuse)
        assert (await house.chat("not to be lost")).status_code == 200
    assert b"not to be lost" in (house.gateway.spool.folder / ASIDE).read_bytes()


async def test_what_it_can_not_read_of_its_own_journal_is_set_aside_at_its_start(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        folder = house.gateway.spool.folder
    (folder / "open.jsonl").write_bytes(b"".join(OPEN[:4]))
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        (aside,) = house.gateway.spool.folder.parent.glob(f"*/{ASIDE}")
        assert aside.read_bytes() == OPEN[0] + OPEN[3]


def test_what_is_set_aside_while_somebody_is_forgotten_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, turns = Spool(tmp_path), [a_turn(user, []) for user in ("ann", "bob")]
    spool.set_aside([(turns[0], its_end(turns[0]))])
    late = threading.Thread(target=spool.set_aside, args=([(turns[1], its_end(turns[1]))],))
    replace = os.replace

    def slow(*paths: Path) -> None:
        late.start()
        late.join(0.2)
        replace(*paths)

    monkeypatch.setattr(os, "replace", slow)
    assert spool.erase(lambda turn: turn.user_id == "ann") == 1
    late.join()
    (line,) = (tmp_path / ASIDE).read_bytes().splitlines()
    assert orjson.loads(line)["record"][0]["user_id"] == "bob"


async def test_what_waits_for_the_next_start_keeps_no_key_held_until_then(house: Running) -> None:
    house.gateway.recorder.keep_back("what a gateway left stays there: the disk is full")
    wish = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}
    answer = await house.http.post("/v1/chat/completions", json=wish, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 200
    assert house.gateway.holding._held == {}


async def test_a_recorder_that_ends_ends_the_gateway(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await house.until_ready()
        ended: list[bool] = []
        monkeypatch.setattr("server.gateway.end_process", lambda: ended.append(True))
        monkeypatch.setattr(house.gateway.recorder, "_next", lambda *_: 1 / 0)
        assert (await house.chat("one")).status_code == 200
        await until(lambda: ended, "the gateway was not ended")
        assert (await house.chat("two")).status_code == 200
        assert house.gateway.recorder.waiting >= 1
    async with running_gateway(tmp_path / "home", [engine.url]) as house:
        await until(lambda: endings(house), "turns were not recorded", ["complete"] * 2)
