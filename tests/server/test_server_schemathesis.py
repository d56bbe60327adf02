"""Schemathesis over the whole OpenAPI document: whatever its schemas allow, or nearly allow, no route fails on it, and
each answers as the document says: with a status that is there, in a form and a type that are there for it.

One thread runs the gateway, another sends; the keyless local user is an administrator here, so that every route is
entered. 503 is an answer where it says what is missing: there is no trainer and no file of a checkpoint.
"""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi import checks
from support.fake_engine import FakeEngine
from support.gateways import SERVICE_KEY, running_gateway

from server.app import create_app
from server.settings import ServerSettings

DOCUMENT = create_app(ServerSettings(loopback_without_key=True)).openapi()
schema = schemathesis.openapi.from_dict(DOCUMENT)
AS_TOLD = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway before a stand-in for the engine, in an event loop of its own."""
    home: Path = tmp_path_factory.mktemp("schemathesis") / "home"
    loop = asyncio.new_event_loop()
    found: list[str] = []
    ready, over = threading.Event(), asyncio.Event()

    async def live() -> None:
        engine = FakeEngine()
        await engine.start()
        async with running_gateway(home, [engine.url], max_choices=16) as house:  # as by default
            await house.until_ready()
            found.append(house.url)
            ready.set()
            await over.wait()
        await engine.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),), name="house")
    thread.start()
    assert ready.wait(60), "the gateway did not become ready"
    yield found[0]
    loop.call_soon_threadsafe(over.set)
    thread.join(30)
    loop.close()


@schema.parametrize()
@settings(
    max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_no_request_makes_a_route_fail(case: schemathesis.Case, url: str) -> None:
    headers = {"Authorization": f"Bearer {SERVICE_KEY}"} if case.path.startswith(("/internal", "/metrics")) else {}
    answer = case.call(base_url=url, headers=headers, timeout=60)
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    case.validate_response(answer, checks=AS_TOLD)
