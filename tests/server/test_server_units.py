"""The small parts by themselves: where a stream is cut, what an answer was, the spool, the start-up's sentences."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from db.values import Completion, Turn
from server.__main__ import _open_many, _sentence
from server.claim import Claim, claim_free
from server.outcome import ending_of, read_stream
from server.recording import interrupted
from server.settings import ServerSettings
from server.spool import Journal, Spool, inherit
from server.stream import Tail

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"


def content(text: str) -> bytes:
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + b"\n\n"


texts = st.lists(st.text(max_size=20) | st.sampled_from(['"choices":[]', "data: [DONE]", "\n\n", '\\"choices\\":[]']))


@given(texts, st.lists(st.integers(1, 40)), st.booleans())
def test_any_chunking_of_a_stream_passes_the_same_bytes_and_holds_back_its_end(
    said: list[str], cuts: list[int], wants_usage: bool
) -> None:
    whole = b"".join(content(text) for text in said) + USAGE + DONE
    tail = Tail(wants_usage)
    passed, at = b"", 0
    for size in (*cuts, len(whole)):
        passed += tail.feed(whole[at : at + size])
        at += size
    assert passed == b"".join(content(text) for text in said)
    assert tail.held == (USAGE + DONE if wants_usage else DONE)
    assert tail.done
    outcome = read_stream([whole])
    assert "".join("".join(choice.response) for choice in outcome.choices) == "".join(said)
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (1, 2)


def test_a_stream_that_breaks_off_is_not_done_and_its_words_are_kept() -> None:
    tail = Tail(False)
    assert tail.feed(content("one") + b'data: {"cho') == content("one")
    assert not tail.done
    assert read_stream([content("one"), b'data: {"cho']).choices[0].response == ["one"]


def test_tool_calls_are_put_together_from_their_pieces() -> None:
    pieces = [{"index": 0, "id": "a", "function": {"name": "look"}}, {"index": 0, "function": {"arguments": '{"x"'}}]
    pieces.append({"index": 0, "function": {"arguments": ":1}"}})
    events = [
        b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [one]}}]}) + b"\n\n"
        for one in pieces
    ]
    (call,) = read_stream(events).choices[0].tool_calls
    assert call == {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"x":1}'}}


@pytest.mark.parametrize(
    ("reasoning", "response", "finish", "ending"),
    [
        ("t", "r", "stop", "complete"),
        ("", "r", "stop", "no_thought"),
        ("t", "", "stop", "malformed"),
        ("t", "", "length", "truncated_thought"),
        ("t", "r", "length", "truncated_response"),
        ("t", "", None, "truncated_thought"),
    ],
)
def test_how_an_answer_ended(reasoning: str, response: str, finish: str | None, ending: str) -> None:
    assert ending_of(reasoning, response, finish) == ending


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


def start(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    values = os.environ | {"RUMINATE_HOME": str(tmp_path), "RUMINATE_SERVER_PORT": "0"} | environment
    return subprocess.run([sys.executable, "-m", "server"], env=values, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RUMINATE_SERVER_PORT": "99999"}, ("RUMINATE_SERVER_PORT", "99999")),
        ({"RUMINATE_SERVER_ENGINES": "nonsense"}, ("engines",)),
        ({"RUMINATE_SERVER_ENGINES": '["ftp://x"]'}, ("RUMINATE_SERVER_ENGINES", "http://127.0.0.1")),
        ({"RUMINATE_SERVER_DEFAULT_CONSENT": "maybe"}, ("RUMINATE_SERVER_DEFAULT_CONSENT", "maybe", "train")),
        ({"RUMINATE_DATABASE_URL": "mysql://x"}, ("mysql",)),
    ],
)
def test_a_bad_setting_is_one_sentence_and_exit_code_2(tmp_path: Path, environment: dict, words: tuple) -> None:
    ended = start(tmp_path, **environment)
    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert all(word in ended.stderr for word in words), ended.stderr


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("RUMINATE_REDIS_URL", "rediss+unix://ann:secret@there"),
        ("RUMINATE_REDIS_URL", "redis://:secret@there:99999"),
        ("RUMINATE_SERVER_ENGINES", '["http://ann:secret@there:99999"]'),
        ("RUMINATE_SERVER_ENGINES", '["http://ann:secret@there:0"]'),
    ],
)
def test_an_address_that_is_none_is_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    monkeypatch.setenv(setting, value)
    with pytest.raises(ValidationError) as refused:
        ServerSettings()
    sentence = _sentence(refused.value)
    assert sentence.startswith(f"{setting} is ")
    assert ("secret" in sentence, "@there" in sentence) == (False, True)


def test_a_port_in_use_is_one_sentence_with_the_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = start(tmp_path, RUMINATE_SERVER_PORT=port)
    assert ended.returncode == 2
    assert port in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0_and_the_database_closed(tmp_path: Path, number: int) -> None:
    values = os.environ | {"RUMINATE_HOME": str(tmp_path), "RUMINATE_SERVER_PORT": "0"}
    said = tmp_path / "said.txt"
    with said.open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "server"], env=values, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 60
        while not _answers(said.read_text().partition("gateway on ")[2].split("\n")[0]):
            assert (process.poll(), time.monotonic() < deadline) == (None, True), said.read_text()
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(timeout=30) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in said.read_text()
    assert (tmp_path / "ruminate.db").exists()
    assert not (tmp_path / "ruminate.db-wal").exists()  # the last to close it folds it in


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return bool(url) and httpx.get(f"{url}/health", timeout=5).status_code in {200, 503}
    return False


def test_settings_are_read_before_anything_heavy_is_imported() -> None:
    heavy = ("fastapi", "aiohttp", "sqlalchemy")
    code = f"import sys, server.settings, server.__main__; print([m for m in {heavy} if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


HEAPS = """
import ctypes, sys, threading
from server import __main__
if sys.argv[1] == "shared":
    __main__._share_memory()
done = threading.Barrier(5)
def use():
    kept = [bytes(4096) for _ in range(100)]
    done.wait()
    done.wait()
threads = [threading.Thread(target=use) for _ in range(4)]
[thread.start() for thread in threads]
done.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = libc.fdopen(1, b"w")
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fflush(ctypes.c_void_p(out))
done.wait()
"""


def test_all_threads_of_a_gateway_take_memory_from_one_place() -> None:
    """By glibc's own account."""

    def heaps(how: str) -> int:
        ended = subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, text=True, check=True)
        return ended.stdout.count("<heap nr=")

    assert heaps("shared") == 1
    assert heaps("as usual") > 1


@pytest.mark.parametrize(
    ("limits", "then"),
    [
        ((1024, 524_288), [(65_536, 524_288)]),
        ((1024, 4096), [(4096, 4096)]),
        ((1024, resource.RLIM_INFINITY), [(65_536, resource.RLIM_INFINITY)]),
        ((100_000, 524_288), []),
    ],
)
def test_a_gateway_may_have_as_many_connections_as_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], then: list[tuple[int, int]]
) -> None:
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: made.append(wanted))
    _open_many()
    assert made == then


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
