"""A command and a gateway of different versions meet: one sentence with both, and exit code 1."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.fake_engine import FakeEngine
from support.gateways import running_gateway

from cli import __version__

Serve = Callable[[dict[str, Any]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A gateway that answers these paths, and no others, with this JSON. Gives its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answers: dict[str, Any]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802  http.server calls it so
                found = self.path in answers
                body = json.dumps(answers.get(self.path, {"error": {"message": "none"}})).encode()
                self.send_response(200 if found else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ruminate(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, env = [sys.executable, "-m", "cli.main", *arguments], os.environ | {"RUMINATE_GATEWAY": url}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def openapi(version: str) -> dict[str, Any]:
    return {"/openapi.json": {"info": {"version": version}}}


@pytest.mark.parametrize(
    ("answers", "told", "what"),
    [
        (openapi("9.8.7") | {"/api/status": {"profile": "tiny"}}, "version 9.8.7", "(without 'live')"),
        ({"/api/status": {"profile": "tiny"}}, "a version that it does not tell", "(without 'live')"),
        (openapi("9.8.7") | {"/api/status": ["tiny"]}, "version 9.8.7", "(in another form)"),
    ],
)
def test_both_versions_are_said(serve: Serve, answers: dict[str, Any], told: str, what: str) -> None:
    url = serve(answers)
    done = ruminate(url, "status")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"ruminate: the gateway at {url} is of {told}, and this command of version {__version__} does not understand "
        f"what it answers {what}; use the `ruminate` that belongs to that gateway\n"
    )


def test_a_fault_of_the_command_itself_is_not_put_down_to_versions(serve: Serve) -> None:
    done = ruminate(serve(openapi(__version__) | {"/api/status": {}}), "status")
    assert done.returncode == 1
    assert "KeyError: 'live'" in done.stderr
    assert "version" not in done.stderr


async def test_a_gateway_tells_its_version_to_whoever_asks(tmp_path: Path) -> None:
    engine = FakeEngine()
    await engine.start()
    async with running_gateway(tmp_path / "home", [engine.url], loopback_without_key=False) as house:
        told = (await house.http.get("/openapi.json")).json()["info"]["version"]
    await engine.stop()
    done = await asyncio.to_thread(ruminate, house.url, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"ruminate {told}")
