"""What a gateway keeps of turns on its machine's disk: the spool, the journal, and the folder that is its own."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db.values import Completion, Turn
from server.claim import Claim, claim_free
from server.journal import Journal
from server.recording import interrupted
from server.spool import Spool, inherit


def record(number: int) -> tuple[Turn, Completion]:
    now = datetime.now(UTC)
    turn = Turn(
        f"r{number}", f"g{number}", "u", [{"role": "user", "content": f"é {number}"}], 0, "m", now, sampling={"n": 1}
    )
    return turn, Completion(f"r{number}", "t", "a", "complete", now, first_token_at=now)


def test_a_spool_gives_back_what_it_took_in_order_and_keeps_it_when_taking_fails(tmp_path: Path) -> None:
    records = [record(number) for number in range(250)]
    spool = Spool(tmp_path)
    spool.append(records[:200])
    spool = Spool(tmp_path)  # another process
    spool.append(records[200:])
    assert spool.depth() == 250

    def fails(_: object) -> None:
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError):
        list(spool.replay(fails))
    taken: list[tuple[Turn, Completion]] = []
    assert sum(spool.replay(taken.extend)) == 250
    assert taken == records
    assert spool.empty


def test_what_is_spooled_is_on_the_disk_when_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut loses what was not synced, and the name of a new file while its folder was not."""
    spool, sync = Spool(tmp_path), os.fsync
    synced: list[tuple[str, int]] = []

    def note(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        synced.append((path.name, path.read_bytes().count(b"\n") if path.is_file() else 0))
        sync(fd)

    monkeypatch.setattr(os, "fsync", note)
    spool.append([record(1), record(2)])
    (file,) = spool.files()
    assert synced == [(file.name, 2), (tmp_path.name, 0)]
    spool.append([record(3)])
    assert synced[2:] == [(file.name, 3)]
    spool.keep_aside([b"no turn\n"])
    assert synced[3:] == [("aside.jsonl", 1), (tmp_path.name, 0)]


def test_the_depth_of_a_spool_is_right_after_more_was_spooled_erased_and_replayed(tmp_path: Path) -> None:
    spool, depths = Spool(tmp_path), []
    for start in (0, 5):
        spool.append([record(number) for number in range(start, start + 5)])
        depths.append(spool.depth())
    spool.erase(lambda turn: turn.request_id in ("r1", "r7"))
    depths.append(spool.depth())
    spool.append([record(10)])
    depths.append(spool.depth())
    for _ in spool.replay(lambda records: None):
        pass
    spool.append([record(11)])
    assert [*depths, spool.depth()] == [5, 10, 8, 9, 1]


def test_a_spool_is_counted_without_reading_what_was_counted_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.append([record(number) for number in range(100)])
    assert spool.depth() == 100
    (file,) = spool.files()
    size = file.stat().st_size
    with file.open("r+b") as there:
        there.write(b" " * size)  # no line is left of what was counted
    spool.append([record(100)])
    assert spool.depth() == 101


def test_a_file_that_is_replayed_to_its_end_meanwhile_counts_as_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.append([record(1)])
    gone = tmp_path / "turns-00000000.jsonl"  # listed, and deleted by the replay before it was opened
    monkeypatch.setattr(spool, "files", lambda: [gone, *sorted(tmp_path.glob("turns-*.jsonl"))])
    assert spool.depth() == 1
    assert spool.erase(lambda turn: turn.request_id == "r1") == 1
    assert not gone.exists()


def test_what_a_crash_left_of_an_erasing_goes_and_the_turns_beside_it_stay(tmp_path: Path) -> None:
    Spool(tmp_path).append([record(1)])
    for name in ("turns-00000001.new", "aside.new", "open.new"):
        (tmp_path / name).write_bytes(b"words")
    spool = Spool(tmp_path)
    Journal(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["turns-00000001.jsonl"]
    assert spool.depth() == 1


def test_what_is_erased_is_on_the_disk_before_it_takes_the_files_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.append([record(1), record(2)])
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("sync"), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    assert spool.erase(lambda turn: turn.request_id == "r1") == 1
    assert done == ["sync", "replace", "sync"]


def test_what_is_forgotten_is_in_the_journal_no_more_and_what_is_open_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.start()
    for number in (1, 2, 3):
        journal.begin(record(number)[0])
    journal.end(["r1"])
    assert journal.erase(lambda turn: turn.request_id == "r2") == 1
    assert (tmp_path / "open.jsonl").read_bytes().count(b"request_id") == 1
    journal.begin(record(4)[0])
    journal.close()
    assert [turn.request_id for turn in Journal(tmp_path).recover()] == ["r3", "r4"]
    assert Journal(tmp_path).erase(lambda turn: turn.request_id == "r3") == 1  # that of a gateway which is gone
    assert [turn.request_id for turn in Journal(tmp_path).recover()] == ["r4"]
    assert Journal(tmp_path / "none").erase(lambda turn: True) == 0


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([record(1)])
    with spool.files()[0].open("ab") as file:
        file.write(b'{"record": [{"request_id"')
    again = Spool(tmp_path)
    again.append([record(2)])
    taken: list[tuple[Turn, Completion]] = []
    assert list(again.replay(taken.extend)) == [1, 1]
    assert [turn.request_id for turn, _ in taken] == ["r1", "r2"]


def test_what_gateways_that_are_gone_left_behind_is_taken_over_and_what_runs_is_not(tmp_path: Path) -> None:
    for name in ("gateway-1", "gateway-2"):
        Spool(tmp_path / name).append([record(1 if name == "gateway-1" else 2)])
        journal = Journal(tmp_path / name)
        journal.start()
        journal.begin(record(3 if name == "gateway-1" else 4)[0])
    running = Claim(tmp_path / "gateway-2")
    assert running.take()
    own = Spool(tmp_path / "gateway-3")
    assert inherit(own, tmp_path, interrupted) == 2
    taken: list[tuple[Turn, Completion]] = []
    list(own.replay(taken.extend))
    assert [(turn.request_id, end.ending) for turn, end in taken] == [("r3", "interrupted"), ("r1", "complete")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gateway-2", "gateway-3"]
    running.release()


def test_the_journal_knows_what_is_open_and_stays_small(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.start()
    for number in range(6000):
        journal.begin(record(number)[0])
        if number:
            journal.end([f"r{number}"])
    assert (tmp_path / "open.jsonl").stat().st_size < 3 << 20
    assert [turn.request_id for turn in Journal(tmp_path).recover()] == ["r0"]
    journal.close()


def test_gateways_of_one_home_and_port_have_a_folder_each(tmp_path: Path) -> None:
    claims = [claim_free(tmp_path / "gateway-8000") for _ in range(3)]
    assert [claim.folder.name for claim in claims] == ["gateway-8000", "gateway-8000-2", "gateway-8000-3"]
    claims[1].release()
    assert claim_free(tmp_path / "gateway-8000").folder.name == "gateway-8000-2"


def test_a_folder_that_another_gateway_took_away_while_it_was_being_claimed_is_not_held(tmp_path: Path) -> None:
    """Else a third one would find it free, and take away what this one writes there."""
    late = Claim(tmp_path / "gateway-8000")
    shutil.rmtree(tmp_path / "gateway-8000")
    assert not late.take()
    other = Claim(tmp_path / "gateway-8000")
    assert other.take()
    assert not late.take()
