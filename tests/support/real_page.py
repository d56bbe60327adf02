"""The page with everything real behind it: gateway, SQLite, vLLM on the embedded model, and a round that published.

Nobody gets in without a key, so each test has a person of its own, who has said nothing yet.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import BrowserContext, Page
from sqlalchemy import select
from support.engine import RealEngine
from support.fake_chat_gateway import serving
from support.gateways import SERVICE_KEY, Running, gateway_in_a_thread
from support.lent_page import Lender, LentPage, context_of
from support.published_round import Learnt, publish_round
from support.valve import Valve
from support.waiting import wait_until

from cli.client import GatewayClient
from db.queries.users import find_user
from db.schema import Generation
from db.session import Database

ASK = "Write a short email to my landlord about a broken heater."
PATIENCE_MS = 60_000
SLOWLY_S = 0.1  # between two tokens: an answer of some hundred tokens lasts long enough to be looked at
NEVER = 60.0  # seconds that nothing waits for
READY = "() => window.ruminate?.me?.consent"


@dataclass
class Person:
    """Somebody with a key, their browser's first page, and the gateway as they reach it without the page."""

    name: str
    key: str
    page: LentPage
    api: GatewayClient
    url: str

    @property
    def context(self) -> BrowserContext:
        return self.page.context

    def ask(self, text: str = ASK) -> None:
        """Write and send."""
        self.page.fill("#message", text)
        self.page.press("#message", "Enter")

    def answered(self, count: int = 1, page: Page | None = None) -> None:
        """Wait until `count` answers stand finished on the page, and whose conversation it is is known."""
        (page or self.page).wait_for_function(
            "n => document.querySelectorAll('.row.assistant:not(.live)').length === n && !ruminate.answering()",
            arg=count,
        )

    def tab(self, address: str = "") -> Page:
        """Another tab of the same browser."""
        page = self.context.new_page()
        page.goto(address or self.url)
        page.wait_for_function(READY)
        return page

    def compare(self, words: str) -> None:
        """Choose how the next answers are compared."""
        self.page.click("#options")
        self.page.click(f"[data-option=compare] label:has-text('{words}')")
        self.page.keyboard.press("Escape")

    def choose(self, title: str, words: str) -> None:
        """Use the menu of the conversation of this title."""
        item = self.page.locator(".item", has_text=title)
        item.hover()
        item.locator("button").click()
        self.page.locator(".menu button", has_text=words).click()

    def recorded(self, page: Page | None = None) -> dict[str, Any]:
        """The gateway's record of the conversation that the page shows."""
        return dict(self.api.get(f"/api/conversations/{(page or self.page).evaluate('ruminate.place()')}"))

    def answers(self, page: Page | None = None) -> list[dict[str, Any]]:
        """The record's answers, oldest first, each with the words, and how it was generated beside them."""
        return [
            {"content": one["content"], "parent": one["parent_id"], "message": one["id"], **one["generation"]}
            for one in self.recorded(page)["messages"]
            if one["role"] == "assistant" and "generation" in one
        ]


@dataclass
class Behind:
    """What all tests share."""

    url: str
    gateway: Running
    valve: Valve
    engine: RealEngine
    published: str
    teacher_key: str
    """Of the person whose prompt the round has learnt from."""
    _names: Iterator[int] = field(default_factory=itertools.count)

    @property
    def database(self) -> Database:
        return self.gateway.database

    def user(self, role: str = "user") -> tuple[str, str]:
        """A new user's name and key."""
        return _new_user(self.gateway.url, f"person-{next(self._names)}", role)

    def slowly(self, seconds: float = SLOWLY_S) -> None:
        """From now on answers come a token at a time, or some where a busy engine tells them together."""
        self.valve.pause = seconds

    def fast(self) -> None:
        """As fast as the engine writes them."""
        self.valve.pause, self.valve.cut = 0.0, False

    def engine_is_idle(self) -> None:
        """Wait until the engine works on nothing."""
        wait_until(lambda: _running(self.engine.url), "the engine goes on with what nobody waits for", 0, NEVER)

    def turns(self, name: str, origin: str = "chat") -> list[Generation]:
        """All that the record has of one person's turns, oldest first."""
        with self.database.reading() as session:
            rows = session.scalars(select(Generation).order_by(Generation.started_at)).all()
        mine = self.user_id(name)
        return [row for row in rows if (row.user_id, row.origin) == (mine, origin)]

    def user_id(self, name: str) -> str:
        """By which rows know a person."""
        with self.database.reading() as session:
            return find_user(session, name).id


@contextmanager
def running_page(engine: RealEngine, home: Path) -> Iterator[Behind]:
    """Everything, with round 1 published and live."""
    from ui.app import create_app
    from ui.settings import UiSettings

    valve = Valve(engine.url)

    @asynccontextmanager
    async def behind_the_valve() -> AsyncIterator[list[str]]:
        url = await valve.start()
        try:
            yield [url]
        finally:
            await valve.stop()

    settings = {"base_model": str(engine.model), "loopback_without_key": False, "engine_wait_seconds": NEVER}
    with gateway_in_a_thread(home, behind_the_valve(), **settings) as gateway:
        name, key = _new_user(gateway.url, "teacher", "user")
        learnt = _teach(gateway.url, key, gateway.database, name)
        with httpx.Client(base_url=gateway.url, headers=_bearer(SERVICE_KEY), timeout=NEVER) as service:
            published = publish_round(gateway.database, home, engine.model, service, learnt)
        with serving(create_app(UiSettings(gateway=gateway.url))) as url:
            yield Behind(url, gateway, valve, engine, published, key)


@contextmanager
def people_of(behind: Behind, lender: Lender) -> Iterator[Callable[..., Person]]:
    """Makes signed-in people; at the end takes their pages back and tells what went wrong in their scripts."""
    made: list[Person] = []

    def person(role: str = "user", key: str | None = None, **context: Any) -> Person:
        name = ""
        if key is None:
            name, key = behind.user(role)
        page = lender.lend(**context)
        made.append(Person(name, key, page, GatewayClient(behind.gateway.url, key), behind.url))
        context_of(page).request.post(f"{behind.url}/signin", data={"key": key})
        page.goto(behind.url)
        page.wait_for_function(READY)
        return made[-1]

    errors: list[str] = []
    try:
        yield person
    finally:
        behind.fast()
        for one in made:
            one.api.close()
            errors += one.page.errors
            lender.give_back(one.page)
    assert not errors, f"the page's scripts failed: {errors}"


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _new_user(url: str, name: str, role: str) -> tuple[str, str]:
    with httpx.Client(base_url=url, headers=_bearer(SERVICE_KEY), timeout=NEVER) as service:
        service.post("/api/admin/users", json={"name": name, "role": role}).raise_for_status()
        made = service.post(f"/api/admin/users/{name}/keys", json={}).raise_for_status()
    return name, made.json()["key"]


def _teach(url: str, key: str, database: Database, name: str) -> Learnt:
    """One turn whose prompt a round may learn from."""
    words = "Name two soups for a cold day."
    with httpx.Client(base_url=url, headers=_bearer(key), timeout=NEVER) as person:
        body = {"model": "ruminate", "messages": [{"role": "user", "content": words}], "ruminate": {"origin": "chat"}}
        reply = person.post("/v1/chat/completions", json=body).raise_for_status()
    with database.reading() as session:
        row = session.get(Generation, reply.headers["x-ruminate-generation"])
        assert row is not None
        return Learnt(str(row.prompt_message_id), str(row.conversation_id), row.user_id, words)


def _running(engine: str) -> float:
    """Requests that the engine works on, by its own count."""
    lines = httpx.get(f"{engine}/metrics", timeout=NEVER).text.splitlines()
    counts = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("vllm:num_requests_running")]
    return sum(map(float, counts))
