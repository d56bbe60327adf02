"""The small parts by themselves: where a stream is cut, what an answer was, the start-up's sentences."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server.__main__ import _open_many, _sentence
from server.outcome import ending_of, read_stream
from server.settings import ServerSettings
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
