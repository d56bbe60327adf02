"""The client of the gateway: streams, errors in words, and what the commands print. (The real gateway: tests/e2e.)"""

import io
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from support.commands import client, round_view

from cli import tables
from cli.client import GatewayClient, GatewayError, on_this_machine
from cli.house import _answers
from cli.talk import answer, converse


def chunks(*deltas: dict[str, Any], finish: str = "stop") -> bytes:
    lines = [{"model": "ruminate-v2", "choices": [{"delta": d, "finish_reason": None}]} for d in deltas]
    lines.append({"model": "ruminate-v2", "choices": [{"delta": {}, "finish_reason": finish}]})
    return b"".join(b"data: " + json.dumps(line).encode() + b"\n\n" for line in lines) + b"data: [DONE]\n\n"


def test_a_stream_keeps_thought_and_response_apart() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer rk-1"
        assert request.url.path == "/v1/chat/completions"
        body = chunks({"role": "assistant"}, {"reasoning": "plan"}, {"content": "Hello"})
        return httpx.Response(200, content=body, headers={"x-ruminate-generation": "g1"})

    deltas = list(client(handler).stream_chat([{"role": "user", "content": "hi"}]))
    assert "".join(d.reasoning for d in deltas) == "plan"
    assert "".join(d.content for d in deltas) == "Hello"
    assert deltas[-1].finish_reason == "stop"
    assert {d.generation_id for d in deltas} == {"g1"}


def test_the_gateways_own_words_reach_the_person() -> None:
    error = {"error": {"message": "no model 'x'; ask for ruminate", "code": "model_not_found"}}
    with pytest.raises(GatewayError, match="no model 'x'; ask for ruminate") as caught:
        list(client(lambda _: httpx.Response(404, json=error)).stream_chat([]))
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


def test_a_proxys_page_in_place_of_an_answer_is_an_error() -> None:
    with pytest.raises(GatewayError, match="HTTP 200 from .*Please wait") as caught:
        client(lambda _: httpx.Response(200, html="<title>Please wait</title>")).get("/api/me")
    assert caught.value.code == "no_reason"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<title>Please wait</title>", "broken_off"),
        (b"data: " + chunks({"reasoning": "plan"}).split(b"data: ")[1], "broken_off"),
        (b'data: {"model": "rum\n\n', "no_reason"),
    ],
)
def test_a_stream_that_a_proxy_replaced_or_cut_is_no_answer(body: bytes, code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        list(client(lambda _: httpx.Response(200, content=body)).stream_chat([]))
    assert caught.value.code == code


def test_an_address_that_points_elsewhere_is_said() -> None:
    moved = httpx.Response(308, headers={"location": "https://chat.example.org/"})
    with pytest.raises(GatewayError, match="HTTP 308 from http://gateway/api/status: it points to https://chat.exam"):
        client(lambda _: moved).status()


def test_a_key_in_any_letters_is_for_the_gateway_to_refuse() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"error": {"message": "the API key is unknown"}})

    with pytest.raises(GatewayError, match="unknown"):
        GatewayClient("http://gateway", "schl\u00fcssel", transport=httpx.MockTransport(handler)).status()


def test_a_gateway_of_this_machine_is_asked_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with answering(b'{"live": null}') as url, GatewayClient(url, "rk-1") as gateway:
        assert gateway.status() == {"live": None}
        assert _answers(f"{url}/health")


@pytest.mark.parametrize(
    ("url", "reads"),
    [
        ("http://127.0.0.1:8000", False),
        ("https://127.0.0.1:8000", True),
        ("HTTPS://localhost", True),
        ("https://chat.example.org", True),
        ("http://chat.example.org", True),  # a proxy before it may have TLS
    ],
)
def test_certificates_are_not_read_for_a_gateway_of_this_machine_without_tls(
    monkeypatch: pytest.MonkeyPatch, url: str, reads: bool
) -> None:
    made, make = [], ssl.create_default_context

    def noted(*given: Any, **named: Any) -> ssl.SSLContext:
        made.append(make(*given, **named))
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", noted)
    GatewayClient(url).close()
    assert [context.verify_mode for context in made] == [ssl.CERT_REQUIRED] * reads


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000/v1", True),
        ("http://[::1]:8000", True),
        ("http://0.0.0.0:8000", True),
        ("https://chat.example.org", False),
        ("http://10.0.0.7:8000", False),
    ],
)
def test_which_addresses_are_of_this_machine(url: str, here: bool) -> None:
    assert on_this_machine(url) is here


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """A server on loopback that says `body` to everything; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_error_in_mid_stream_is_raised() -> None:
    body = b'data: {"error": {"message": "the engine stopped", "code": 500}}\n\n'
    with pytest.raises(GatewayError, match="the engine stopped"):
        list(client(lambda _: httpx.Response(200, content=body)).stream_chat([]))


def test_a_gateway_that_is_not_there_is_said_with_the_remedy() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(GatewayError, match="no gateway answers at http://gateway .*make up"):
        client(handler).status()


@pytest.mark.parametrize(
    ("finish", "deltas", "note"),
    [
        ("stop", [{"reasoning": "plan"}, {"content": "Hello"}], "— ruminate-v2"),
        ("length", [{"reasoning": "plan"}], "cut off at the length limit, while it was still thinking"),
        ("stop", [{"reasoning": "plan"}], "(no response)"),
    ],
)
def test_the_terminal_shows_how_an_answer_ended(finish: str, deltas: list[dict[str, Any]], note: str) -> None:
    out = io.StringIO()
    gateway = client(lambda _: httpx.Response(200, content=chunks(*deltas, finish=finish)))
    answer(gateway, [{"role": "user", "content": "hi"}], "ruminate", True, True, out)
    assert note in out.getvalue()
    assert out.getvalue().startswith("plan")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_the_thought_dimmed_and_the_response_as_usual() -> None:
    deltas = [{"reasoning": "pl"}, {"reasoning": "an"}, {"content": "Hel"}, {"content": "lo"}]
    gateway = client(lambda _: httpx.Response(200, content=chunks(*deltas)))
    out = Terminal()
    answer(gateway, [{"role": "user", "content": "hi"}], "ruminate", True, True, out)
    assert out.getvalue().startswith("\x1b[2mplan\x1b[0m\n\nHello\x1b[0m\n\x1b[2m— ruminate-v2")


def test_a_thought_that_is_broken_off_leaves_no_dimmed_terminal() -> None:
    out = Terminal()
    cut = b"data: " + chunks({"reasoning": "plan"}).split(b"data: ")[1]
    with pytest.raises(GatewayError):
        answer(client(lambda _: httpx.Response(200, content=cut)), [], "ruminate", True, True, out)
    assert out.getvalue().endswith("\x1b[2mplan\x1b[0m\n")


class Typed(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("typed", [True, False])
def test_a_failed_answer_ends_no_conversation_of_a_person(
    typed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append([message["content"] for message in json.loads(request.content)["messages"]])
        if len(asked) == 2:
            return httpx.Response(429, json={"error": {"message": "too many requests"}})
        return httpx.Response(200, content=chunks({"content": "Hello"}))

    monkeypatch.setattr("sys.stdin", (Typed if typed else io.StringIO)("one\ntwo\nthree\n"))
    if typed:
        converse(client(handler), None, "ruminate", True, True)
        assert asked == [["one"], ["one", "Hello", "two"], ["one", "Hello", "three"]]
        assert "ruminate: too many requests" in capsys.readouterr().err
    else:
        with pytest.raises(GatewayError):
            converse(client(handler), None, "ruminate", True, True)
        assert "> " not in capsys.readouterr().out


def test_a_hidden_thought_is_not_printed() -> None:
    out = io.StringIO()
    gateway = client(lambda _: httpx.Response(200, content=chunks({"reasoning": "plan"}, {"content": "Hello"})))
    response, _ = answer(gateway, [], "ruminate", True, False, out)
    assert response == "Hello"
    assert "plan" not in out.getvalue()


def test_tables_hold_the_same_rows_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [round_view("published", candidate="v2", step=35, total_steps=35)]
    tables.show(rows, tables.ROUND, as_json=True)
    assert json.loads(capsys.readouterr().out) == rows
    tables.show(rows, tables.ROUND, as_json=False)
    assert "35/35" in capsys.readouterr().out


BRACKETS = "cannot read [/home/x] of [lora, full] :warning:"


def test_words_in_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show([round_view("failed", error=BRACKETS)], tables.ROUND, as_json=False)
    assert BRACKETS in capsys.readouterr().out
    trial = {"name": "v2", "since": "2026-01-01", "share": 0.1, "trouble": f"trouble: {BRACKETS}"}
    engine = {"url": "http://[::1]:8100", "state": "ready", "adapters": []}
    status = {
        "live": {"name": "v1", "since": "2026-01-01", "reason": f"live: {BRACKETS}"},
        "previous": None,
        "canary": trial,
        "engines": [engine],
        "round": round_view("running", reason=f"round: {BRACKETS}") | {"trigger": "person"},
        "prompts": {"recorded": 1, "trainable": 1},
    }
    tables.show_status(status, as_json=False)
    told = capsys.readouterr().out
    for whose in ("live", "trouble", "round"):
        assert f"{whose}: {BRACKETS}" in told
    assert "http://[::1]:8100" in told


def test_a_state_in_a_pipe_is_not_broken_into_lines(capsys: pytest.CaptureFixture[str]) -> None:
    long = "rolled back, for " + "its answers were worse than before " * 4
    status = {"live": {"name": "v1", "since": "2026-01-01", "reason": long.strip()}, "previous": None}
    tables.show_status(status | {"engines": [], "round": None, "prompts": {"recorded": 1, "trainable": 1}}, False)
    assert long.strip() in capsys.readouterr().out
