"""What Prometheus sees of a gateway, who may see it, and what it must never see."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.adapters import add_checkpoint
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway
from support.waiting import until

from db.queries import users

Labels = dict[str, str]


async def scraped(house: Running) -> dict[str, list[tuple[Labels, float]]]:
    answer = await house.http.get("/metrics")
    assert answer.status_code == 200, answer.text
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@contextmanager
def away(house: Running, path: Path) -> Iterator[None]:
    """The SQLite database at `path` is not there, and none can be made."""
    house.database.close()
    files = [one for one in path.parent.glob(f"{path.name}*") if one.is_file()]
    for one in files:
        one.rename(path.parent / f"kept-{one.name}")
    path.mkdir()
    house.database.close()  # of what was opened in between
    yield
    path.rmdir()
    house.database.close()
    for one in files:
        (path.parent / f"kept-{one.name}").rename(one)


def value(found: dict[str, list[tuple[Labels, float]]], name: str, **labels: str) -> float:
    return sum(one for has, one in found.get(name, []) if labels.items() <= has.items())


async def test_requests_are_counted_by_route_and_status(house: Running) -> None:
    await house.chat()
    await house.chat(stream=True)
    await house.chat(model="gpt-4")
    await house.http.get("/api/conversations/secret-id")
    await house.http.get("/somewhere/secret-path")
    found = await scraped(house)
    chat = "/v1/chat/completions"
    assert value(found, "ruminate_requests_total", route=chat, status="200") == 2
    assert value(found, "ruminate_requests_total", route=chat, status="404") == 1
    assert value(found, "ruminate_requests_total", route="/api/conversations/{conversation_id}", status="404") == 1
    assert value(found, "ruminate_requests_total", route="unknown", status="404") == 1


async def test_times_and_tokens_are_told_by_checkpoint_and_engine(house: Running, engine: FakeEngine) -> None:
    engine.first_delay = 0.3
    await house.chat()
    await house.chat(stream=True)
    found = await scraped(house)
    weights = {"checkpoint": "ruminate-v0", "engine": engine.url}
    assert value(found, "ruminate_first_token_seconds_count", **weights) == 1
    assert value(found, "ruminate_first_token_seconds_bucket", le="0.25", **weights) == 0
    assert value(found, "ruminate_answer_seconds_count", **weights) == 2
    for kind, each in (("prompt", 7), ("completion", 9), ("reasoning", 3)):
        assert value(found, "ruminate_tokens_total", kind=kind, **weights) == 2 * each


async def test_states_are_read_at_each_scrape(house: Running, engine: FakeEngine) -> None:
    await house.chat()
    found = await scraped(house)
    assert value(found, "ruminate_engine_up", engine=engine.url) == 1
    assert value(found, "ruminate_live", checkpoint="ruminate-v0") == 1
    assert value(found, "ruminate_recorded_turns_total") == 1
    for name in ("chats", "waiting", "engine_in_flight", "spool_turns", "swaps_total", "trouble"):
        assert f"ruminate_{name}" in found, name
        assert value(found, f"ruminate_{name}") == 0, name


async def test_a_deployment_is_a_swap_and_what_is_live_is_what_was_deployed(
    house: Running, engine: FakeEngine, tmp_path: Path
) -> None:
    names = [add_checkpoint(house.database, tmp_path) for _ in range(2)]
    for swaps, name in enumerate([*names, "previous"], start=1):
        asked = await house.http.post("/api/deployments", json={"checkpoint": name, "reason": "a test"})
        assert asked.status_code == 200, asked.text
        found = await scraped(house)
        assert value(found, "ruminate_swaps_total") == swaps
        assert found["ruminate_live"] == [({"checkpoint": f"ruminate-{asked.json()['live']}"}, 1.0)]
        await house.chat()
    found = await scraped(house)
    for name, answers in zip(names, (2, 1), strict=True):
        assert value(found, "ruminate_answer_seconds_count", checkpoint=f"ruminate-{name}") == answers


async def test_a_refused_deployment_is_no_swap(house: Running, engine: FakeEngine, tmp_path: Path) -> None:
    engine.ignores_adapters = True
    name = add_checkpoint(house.database, tmp_path)
    refused = await house.http.post("/api/deployments", json={"checkpoint": name, "reason": "a test"})
    assert refused.status_code == 422, refused.text
    found = await scraped(house)
    assert value(found, "ruminate_swaps_total") == 0
    assert found["ruminate_live"] == [({"checkpoint": "ruminate-v0"}, 1.0)]


async def test_turns_that_wait_for_the_database_are_seen_until_they_are_in_it(
    tmp_path: Path, engine: FakeEngine
) -> None:
    url = f"sqlite:///{tmp_path}/ruminate.db"
    async with running_gateway(tmp_path / "home", [engine.url], database_url=url) as house:
        await house.until_ready()
        await house.chat("before")
        with away(house, tmp_path / "ruminate.db"):
            for number in range(3):
                assert (await house.chat(f"during {number}")).status_code == 200
            found = await scraped(house)
            for name, expected in (("spool_turns", 3), ("recorded_turns_total", 1), ("trouble", 1)):
                assert value(found, f"ruminate_{name}") == expected, name
        await until(
            lambda: (house.gateway.recorder.waiting, house.gateway.trouble), "turns still wait in the spool", (0, None)
        )
        found = await scraped(house)
        for name, expected in (("spool_turns", 0), ("spooled_turns_total", 3), ("recorded_turns_total", 4)):
            assert value(found, f"ruminate_{name}") == expected, name
        assert value(found, "ruminate_trouble") == 0


async def test_requests_that_wait_and_those_that_a_full_line_refuses_are_seen(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.first_delay = 60.0
    async with running_gateway(tmp_path / "home", [engine.url], engine_requests=1, max_waiting=2) as house:
        await house.until_ready()
        asked = [asyncio.create_task(house.chat(f"number {number}")) for number in range(3)]
        await until(lambda: engine.running + house.gateway.pool.waiting, "not all requests arrived", 3)
        assert (await house.chat("one too many")).status_code == 503
        found = await scraped(house)
        for name, expected in (("waiting", 2), ("engine_in_flight", 1), ("chats", 3)):
            assert value(found, f"ruminate_{name}") == expected, name
        assert value(found, "ruminate_requests_total", route="/v1/chat/completions", status="503") == 1
        for one in asked:
            one.cancel()
        await until(lambda: house.gateway.pool.chats, "chats still count", 0)
        found = await scraped(house)
        for name in ("waiting", "engine_in_flight", "chats"):
            assert value(found, f"ruminate_{name}") == 0, name


async def test_a_client_that_left_is_counted_as_such(house: Running, engine: FakeEngine) -> None:
    engine.first_delay = 5.0
    with pytest.raises(httpx.ReadTimeout):
        await house.http.post(
            "/v1/chat/completions",
            json={"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]},
            timeout=0.2,
        )
    await until(lambda: house.gateway.pool.chats, "the chat still counts", 0)
    assert value(await scraped(house), "ruminate_requests_total", status="499") == 1


async def test_a_client_that_has_its_whole_answer_has_not_left_also_where_something_is_left_to_do(
    house: Running,
) -> None:
    """A key is let go after a stream's end, when the server says that its client is gone."""
    wish = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    chat = "/v1/chat/completions"
    answer = await house.http.post(chat, json=wish, headers={"Idempotency-Key": "one"})
    assert answer.text.endswith("[DONE]\n\n")

    async def statuses() -> list[str]:
        counted = (await scraped(house)).get("ruminate_requests_total", [])
        return [labels["status"] for labels, _ in counted if labels["route"] == chat]

    assert await until(statuses, "nothing was counted") == ["200"]


async def test_no_words_and_no_users_are_in_the_metrics(house: Running) -> None:
    with house.database.transaction() as session:
        user = users.ensure_user(session, "ann-of-all-people", "user", "train")
        _, key = users.create_key(session, user.id)
    body = {"model": "ruminate", "messages": [{"role": "user", "content": "a secret"}]}
    await house.http.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})
    text = (await house.http.get("/metrics")).text
    for word in ("secret", "says", "thinks", "ann-of", user.id, key):
        assert word not in text
    labels = set(re.findall(r"[{,](\w+)=", text))
    assert labels <= {"route", "method", "status", "checkpoint", "engine", "kind", "le"}


@pytest.mark.parametrize("headers", [{"X-Forwarded-For": "203.0.113.5"}, {"Host": "evil.example"}])
async def test_from_elsewhere_only_the_service_key_opens_the_metrics(
    tmp_path: Path, engine: FakeEngine, headers: Labels
) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], loopback_without_key=False) as house:
        await house.until_ready()
        with house.database.transaction() as session:
            admin = users.ensure_user(session, "root", "admin")
            _, key = users.create_key(session, admin.id)
        assert (await house.http.get("/metrics")).status_code == 200
        assert (await house.http.get("/metrics", headers=headers)).status_code == 401
        keyed = headers | {"Authorization": f"Bearer {key}"}
        assert (await house.http.get("/metrics", headers=keyed)).status_code == 401
        assert (await house.service.get("/metrics", headers=headers)).status_code == 200
