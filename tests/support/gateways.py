"""A real gateway on a real port, inside the test's own event loop, so that a test can look at its parts as well.

Tests that have no loop, such as Playwright's, get one that runs in a thread.
"""

import asyncio
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from support.databases import migrated_file
from support.waiting import PATIENCE_SECONDS, until

from db.session import Database
from server.app import create_app
from server.gateway import Gateway
from server.settings import ServerSettings

SERVICE_KEY = "sk-test-service"
END_SECONDS = 20

stores_of: Callable[[Path], dict[str, str]] = lambda home: {}  # noqa: E731
"""Settings of the database and Redis of a gateway with this home. None: SQLite in it, and no Redis; `support.stores`
gives others to a run that asks for them."""


@dataclass
class Running:
    """A gateway that answers at `url`. `http` sends no key, `service` the trainer's."""

    url: str
    gateway: Gateway
    database: Database
    http: httpx.AsyncClient
    service: httpx.AsyncClient
    server: uvicorn.Server
    home: Path

    @property
    def live(self) -> str | None:
        """The name of the checkpoint that this gateway takes for live."""
        weights = self.gateway.catalog.live
        return None if weights is None else weights.name

    async def until_ready(self, seconds: float = 60) -> None:
        await until_ready(self.http, seconds)

    async def until_all_up(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Return once every engine is healthy; for `until_ready` one is enough."""
        engines = self.gateway.pool.engines
        await until(lambda: [one.url for one in engines if not one.healthy], "engines stayed down", [], seconds)

    async def chat(self, text: str = "hello", **body: Any) -> httpx.Response:
        wish = {"model": "ruminate", "messages": [{"role": "user", "content": text}]} | body
        return await self.http.post("/v1/chat/completions", json=wish)


async def until_ready(http: httpx.AsyncClient, seconds: float) -> None:
    """Return once the gateway that `http` reaches says that it can answer."""

    async def health() -> tuple[int, str]:
        answer = await http.get("/health")
        return answer.status_code, answer.text

    await until(health, "the gateway did not become ready", lambda said: said[0] == 200, seconds)


class Prompt(uvicorn.Server):
    """Ends as soon as it is told to; by itself it looks ten times a second whether it is."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        while not self.should_exit:  # noqa: ASYNC110  it signals nothing
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running_gateway(home: Path, engines: list[str], **settings: Any) -> AsyncIterator[Running]:
    """Start a gateway with a fresh home (or an old one: then it goes on with what is there) and stop it at the end.

    One whose background task ended would end this process; here the test fails instead, with the gateway's log.
    """
    values = {
        "home": home, "service_key": SERVICE_KEY, "engines": tuple(engines), "loopback_without_key": True,
        "default_consent": "train", "watch_seconds": 0.05, "engine_wait_seconds": 3.0, "port": 8000,
        "lookup_seconds": 10.0, "record_patience_seconds": 10.0,  # a crowded machine may take its time
        "requests_per_minute": 0, "tokens_per_minute": 0, "concurrent_answers": 0, "max_choices": 0,
    } | settings  # fmt: skip
    if not values.get("database_url"):
        values |= stores_of(home) | {name: value for name, value in settings.items() if value}
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = ServerSettings(**values)  # type: ignore[arg-type]
    if not config.database_url:
        await asyncio.to_thread(_lay_out, home / "ruminate.db")
    database = Database(config.database)
    await asyncio.to_thread(database.migrate)
    app = create_app(config, database)
    server = Prompt(uvicorn.Config(app, lifespan="on", log_config=None, timeout_graceful_shutdown=1))
    patch = pytest.MonkeyPatch()
    ended: list[bool] = []
    patch.setattr("server.gateway.end_process", lambda: ended.append(True))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        assert not task.done(), "the gateway did not start"
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    keyed = {"Authorization": f"Bearer {SERVICE_KEY}"}
    try:
        async with http_to(url) as http, http_to(url, headers=keyed) as service:
            yield Running(url, app.state.gateway, database, http, service, server, home)
    finally:
        server.should_exit = True
        await task
        database.close()
        patch.undo()
        assert not ended, "a background task of the gateway ended; its log says which one and why"


def http_to(url: str, **more: Any) -> httpx.AsyncClient:
    """Without TLS, whose certificates take longer to read than most tests ask for anything."""
    return httpx.AsyncClient(
        base_url=url, timeout=60, limits=httpx.Limits(keepalive_expiry=1), verify=False, **more
    )  # fmt: skip


@asynccontextmanager
async def two_gateways(folder: Path, engines: list[str], **shared: Any) -> AsyncIterator[tuple[Running, Running]]:
    """Of one house, both ready; `shared` names its database."""
    async with (
        running_gateway(folder / "one", engines, **shared) as one,
        running_gateway(folder / "two", engines, **shared) as two,
    ):
        await one.until_ready()
        await two.until_ready()
        yield one, two


@contextmanager
def gateway_in_a_thread(
    home: Path, engines: AbstractAsyncContextManager[list[str]], **settings: Any
) -> Iterator[Running]:
    """A gateway that is ready, in an event loop of its own. `engines` gives the addresses of running engines there.

    Of what is given, whatever awaits belongs to that loop; the address and the database serve any thread.
    """
    found: list[Running] = []
    failed: list[BaseException] = []
    up, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()

    async def run() -> None:
        try:
            async with engines as urls, running_gateway(home, urls, **settings) as running:
                await running.until_ready()
                found.append(running)
                up.set()
                await stop.wait()
        except BaseException as error:
            failed.append(error)  # raised where the test waits
            raise
        finally:
            up.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    up.wait()
    try:
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(END_SECONDS)
    if failed:
        raise failed[0]


def _lay_out(file: Path) -> None:
    """A database of its own for a gateway that has none yet; its migration finds nothing left to do."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(migrated_file(), file)
