"""The app API: status, conversations, consent, feedback, rounds, and the deletion of everything."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running

from db.queries import curation, rounds
from db.schema import Generation, Message
from db.values import Completion, Turn

pytestmark = pytest.mark.usefixtures("kind")  # on SQLite and on PostgreSQL


async def test_the_status_tells_what_is_live_and_why(house: Running, engine: FakeEngine) -> None:
    await house.chat("one")
    status = (await house.http.get("/api/status")).json()
    assert status["live"]["name"] == "v0"
    assert status["live"]["reason"]
    assert status["previous"] is None
    assert status["engines"][0]["state"] == "ready"
    assert status["engines"][0]["url"] == engine.url
    assert status["prompts"] == {"recorded": 1, "trainable": 1}
    assert status["round"] is None
    assert "nobody chats" in status["rollouts"]["reason"]


async def test_a_monitor_asks_for_the_status_alone(house: Running, engine: FakeEngine) -> None:
    answer = await house.http.head("/health")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_consent_is_resolved_from_the_request_the_conversation_and_the_user(house: Running) -> None:
    first = await house.chat("one")
    conversation = first.headers["x-ruminate-conversation"]
    path = f"/api/conversations/{conversation}"
    assert (await house.http.patch(path, json={"consent": "history"})).json()["consent"] == "history"
    await house.chat("two", ruminate={"conversation_id": conversation})
    await house.chat("three", ruminate={"consent": "history"})
    await house.http.put("/api/me/consent", json={"consent": "history"})
    assert (await house.http.get("/api/me/consent")).json() == {"consent": "history"}
    wider = await house.http.post(
        "/v1/chat/completions",
        json={"model": "ruminate", "messages": [{"role": "user", "content": "four"}]},
        headers={"X-Ruminate-Consent": "train"},
    )
    assert wider.status_code == 200
    await house.http.put("/api/me/consent", json={"consent": "train"})
    await house.chat("five")
    with house.database.reading() as session:
        trainable = [prompt.messages[-1]["content"] for prompt in curation.trainable_prompts(session)]
    assert trainable == ["five"]


async def test_conversations_are_listed_renamed_pinned_and_deleted(house: Running) -> None:
    first = (await house.chat("one")).headers["x-ruminate-conversation"]
    second = (await house.chat("two")).headers["x-ruminate-conversation"]
    listed = (await house.http.get("/api/conversations")).json()["data"]
    assert [one["id"] for one in listed] == [second, first]
    changed = await house.http.patch(f"/api/conversations/{first}", json={"title": "Dinner", "pinned": True})
    assert (changed.json()["title"], changed.json()["pinned"]) == ("Dinner", True)
    tree = (await house.http.get(f"/api/conversations/{first}")).json()
    assert [message["role"] for message in tree["messages"]] == ["user", "assistant"]
    assert tree["messages"][1]["generation"]["model"] == "ruminate-v0"
    assert (await house.http.delete(f"/api/conversations/{first}")).json()["deleted"]["messages"] == 2
    assert (await house.http.get(f"/api/conversations/{first}")).status_code == 404
    assert (await house.chat("again", ruminate={"conversation_id": first})).status_code == 404


SECRET = "walruses"
SECRETS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": SECRET}]},
    "/v1/completions": {"prompt": SECRET},
    "/v1/responses": {"input": SECRET},
    "/v1/messages": {"max_tokens": 9, "messages": [{"role": "user", "content": SECRET}]},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("by", ["header", "user"])
async def test_a_header_or_the_users_setting_keeps_a_turn_out_of_the_record(
    house: Running, by: str, stream: bool
) -> None:
    headers = {"X-Ruminate-Consent": "none"} if by == "header" else {}
    if by == "user":
        assert (await house.http.put("/api/me/consent", json={"consent": "none"})).status_code == 200
    for path, body in SECRETS.items():
        wish = {"model": "ruminate", **body} | ({"stream": True} if stream and path != "/v1/completions" else {})
        answer = await house.http.post(path, json=wish, headers=headers)
        assert answer.status_code == 200, (path, answer.text)
        assert "x-ruminate-conversation" not in answer.headers
    with house.database.reading() as session:
        assert list(session.scalars(select(Message))) == []
        rows = list(session.scalars(select(Generation)))
        assert [(row.consent, row.reasoning or "", row.response or "") for row in rows] == [("none", "", "")] * 4
    assert (await house.http.get("/api/conversations")).json()["data"] == []
    files = [path for path in (house.home / "spool").rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    kept = await house.http.post("/v1/chat/completions", json={"model": "ruminate", **SECRETS["/v1/chat/completions"]})
    assert ("x-ruminate-conversation" in kept.headers) == (by == "header")


async def test_a_search_finds_words_inside_conversations_page_by_page(house: Running) -> None:
    names = [(await house.chat(f"walrus {n}")).headers["x-ruminate-conversation"] for n in range(3)]
    await house.chat("of something else")
    first = (await house.http.get("/api/conversations", params={"search": "WALRUS", "limit": 2})).json()["data"]
    assert [(one["id"], one["excerpt"]) for one in first] == [(names[2], "walrus 2"), (names[1], "walrus 1")]
    more = {"search": "WALRUS", "before": first[-1]["updated_at"]}
    assert [one["id"] for one in (await house.http.get("/api/conversations", params=more)).json()["data"]] == names[:1]
    listed = (await house.http.get("/api/conversations", params={"search": " "})).json()["data"]
    assert len(listed) == 4
    assert "excerpt" not in listed[0]
    assert (await house.http.get("/api/conversations", params={"search": "x" * 201})).status_code == 400


@pytest.mark.parametrize("before", ["2026-11-30T12:00:00", "2026-11-30", "0001-01-01T00:00:00+14:00"])
async def test_a_time_that_says_nothing_is_refused_by_name(house: Running, before: str) -> None:
    """Without a time zone, or before the first there is."""
    for search in ({}, {"search": "walrus"}):
        answer = await house.http.get("/api/conversations", params={"before": before} | search)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "before")
    assert (await house.http.get("/api/conversations", params={"before": "2026-11-30T12:00:00+01:00"})).json()


async def test_what_a_user_deletes_is_gone_from_database_and_spool(house: Running) -> None:
    answer = await house.chat("a secret")
    user_id = house.gateway.door._local.user_id  # type: ignore[union-attr]
    house.gateway.recorder._down_until = float("inf")  # as if the database were down
    now = datetime.now(UTC)
    turn = Turn("late", "late", user_id, [{"role": "user", "content": "a secret, late"}], 0, "ruminate-v0", now,
                consent="train")  # fmt: skip
    house.gateway.spool.append([(turn, Completion("late", "", "said", "complete", now))])
    deleted = (await house.http.delete("/api/me/data")).json()["deleted"]
    assert (deleted["generations"], deleted["spooled"]) == (1, 1)
    conversation = answer.headers["x-ruminate-conversation"]
    assert (await house.http.get(f"/api/conversations/{conversation}")).status_code == 404
    for path in (house.home / "spool").rglob("*"):
        if path.is_file():
            assert b"a secret" not in path.read_bytes(), path
    assert b"a secret, late" not in b"".join(p.read_bytes() for p in (house.home / "spool").rglob("*.jsonl"))


async def test_feedback_is_given_and_replaced(house: Running) -> None:
    answer = await house.chat("one")
    path = f"/api/generations/{answer.headers['x-ruminate-generation']}/feedback"
    assert (await house.http.post(path, json={"rating": 1, "tags": ["clear"]})).status_code == 201
    seen = {"thoughts": "open", "opened": True}
    assert (await house.http.post(path, json={"rating": -1, "words": "too long", "shown": seen})).status_code == 201
    assert (await house.http.post(path, json={"rating": 5})).status_code == 400
    assert (await house.http.post(path, json={"rating": 1, "shown": {"text": "x" * 5000}})).status_code == 400
    tree = (await house.http.get(f"/api/conversations/{answer.headers['x-ruminate-conversation']}")).json()
    assert [(one["rating"], one["words"], one["shown"]) for one in tree["feedback"]] == [(-1, "too long", seen)]


async def test_feedback_is_taken_back(house: Running) -> None:
    answer = await house.chat("one")
    path = f"/api/generations/{answer.headers['x-ruminate-generation']}/feedback"
    assert (await house.http.post(path, json={"rating": -1, "words": "a slip"})).status_code == 201
    assert [(await house.http.delete(path)).status_code for _ in range(2)] == [204, 204]
    tree = (await house.http.get(f"/api/conversations/{answer.headers['x-ruminate-conversation']}")).json()
    assert tree["feedback"] == []
    assert (await house.http.delete("/api/generations/nothere/feedback")).status_code == 404


async def test_two_answers_asked_at_once_are_one_prompt_of_one_conversation_and_are_compared(house: Running) -> None:
    place = {"ruminate": {"conversation_id": "made-by-the-page", "origin": "chat"}}
    one, other = await asyncio.gather(house.chat("which?", **place), house.chat("which?", seed=2, **place))
    left, right = (answer.headers["x-ruminate-generation"] for answer in (one, other))
    wish = {"left": left, "right": right, "choice": "right", "shown": {"blind": True, "seconds": 4.5}}
    made = await house.http.post("/api/comparisons", json=wish)
    assert made.status_code == 201, made.text
    tree = (await house.http.get("/api/conversations/made-by-the-page")).json()
    assert [message["role"] for message in tree["messages"]].count("user") == 1
    (kept,) = tree["comparisons"]
    assert {key: kept[key] for key in wish} == wish
    exported = (await house.http.get("/api/me/data")).json()["data"]
    assert [one["choice"] for talk in exported for one in talk["comparisons"]] == ["right"]
    assert (await house.http.delete("/api/me/data")).json()["deleted"]["comparisons"] == 1


async def test_a_comparison_of_what_cannot_be_compared_is_refused(house: Running) -> None:
    one, other = await house.chat("one"), await house.chat("two")
    left, right = (answer.headers["x-ruminate-generation"] for answer in (one, other))
    wish = {"left": left, "right": right, "choice": "left"}
    refused = await house.http.post("/api/comparisons", json=wish)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "right")
    assert "don't answer the same recorded prompt" in refused.json()["error"]["message"]
    assert (await house.http.post("/api/comparisons", json={**wish, "right": "nobody's"})).status_code == 404
    assert (await house.http.post("/api/comparisons", json={**wish, "choice": "both"})).status_code == 400
    long = await house.http.post("/api/comparisons", json={**wish, "shown": {"text": "x" * 5000}})
    assert long.status_code == 400
    assert "expected up to 4096" in long.json()["error"]["message"]
    large = await house.http.post("/api/comparisons", json={**wish, "shown": {"number": 2**70}})
    assert large.status_code == 400
    assert "holds what cannot be kept" in large.json()["error"]["message"]
    assert (await house.http.get("/api/comparisons/tally")).json() == {"data": []}


async def test_a_title_that_is_made_up_leaves_a_given_one_alone(house: Running) -> None:
    path = f"/api/conversations/{(await house.chat('one')).headers['x-ruminate-conversation']}"
    made_up = {"title": "Made up", "unless_titled": True}
    assert (await house.http.patch(path, json=made_up)).json()["title"] == "Made up"
    assert (await house.http.patch(path, json={"title": "Given"})).json()["title"] == "Given"
    assert (await house.http.patch(path, json=made_up)).json()["title"] == "Given"


async def test_asking_for_a_title_leaves_no_words_and_no_prompt_to_learn_from(house: Running) -> None:
    asked = await house.chat("a title for this, please", ruminate={"origin": "title", "consent": "none"})
    assert asked.status_code == 200
    assert (await house.http.get("/api/conversations")).json()["data"] == []
    assert (await house.http.get("/api/status")).json()["prompts"] == {"recorded": 0, "trainable": 0}
    with house.database.reading() as session:
        (kept,) = session.scalars(select(Generation))
        assert (kept.origin, kept.response, kept.sampling) == ("title", None, {})


async def test_an_answer_tells_how_it_was_asked_to_think(house: Running) -> None:
    off = await house.chat("quick", chat_template_kwargs={"enable_thinking": False})
    hard = await house.chat("well", reasoning={"effort": "high"})
    told = []
    for answer in (off, hard):
        tree = (await house.http.get(f"/api/conversations/{answer.headers['x-ruminate-conversation']}")).json()
        made = tree["messages"][1]["generation"]
        told.append((made["thinks"], made["effort"]))
    assert told == [(False, None), (True, "high")]


async def test_a_round_is_asked_for_once_watched_and_cancelled(house: Running) -> None:
    asked = await house.http.post("/api/rounds", json={"algorithm": "grpo", "config": {"steps": 3}, "reason": "now"})
    assert asked.status_code == 201
    number = asked.json()["id"]
    again = await house.http.post("/api/rounds", json={})
    assert (again.status_code, again.json()["error"]["round_id"]) == (409, number)
    with house.database.transaction() as session:
        assert rounds.claim_round(session, "trainer", 60) is not None
        rounds.add_metrics(session, number, 1, {"reward": 0.5, "kl": float("nan")}, owner="trainer")
    seen = (await house.http.get(f"/api/rounds/{number}")).json()
    assert seen["metrics"] == {"reward": [[1, 0.5]], "kl": [[1, None]]}
    assert (await house.http.get("/api/status")).json()["round"]["id"] == number
    assert (await house.http.get("/api/rounds")).json()["data"][0]["state"] == "running"
    stopped = (await house.http.post(f"/api/rounds/{number}/cancel", json={"reason": "a wrong seed"})).json()
    assert (stopped["state"], stopped["error"]) == ("cancelled", "stopped by local: a wrong seed")
    again = (await house.http.post(f"/api/rounds/{number}/cancel")).json()
    assert again["error"] == "stopped by local: a wrong seed"
    assert (await house.http.get("/api/rounds/99")).status_code == 404


async def test_a_round_without_an_algorithm_leaves_it_to_the_trainer(house: Running) -> None:
    refused = await house.http.post("/api/rounds", json={"config": {"lora_rank": 64}})
    assert refused.status_code == 400
    assert "lora_rank = 64: the engines take adapters of rank 16 at most" in refused.json()["error"]["message"]
    asked = await house.http.post("/api/rounds", json={"config": {"lora_rank": 16, "seed": 11}})
    assert (asked.status_code, asked.json()["algorithm"], asked.json()["seed"]) == (201, "", 11)


async def test_checkpoints_and_deployments_are_listed(house: Running) -> None:
    (base,) = (await house.http.get("/api/checkpoints")).json()["data"]
    assert (base["name"], base["kind"], base["live"]) == ("v0", "base", True)
    assert (await house.http.get("/api/checkpoints/v0")).json()["lineage"] == ["v0"]
    assert (await house.http.get("/api/checkpoints/v9")).status_code == 404
    (first,) = (await house.http.get("/api/deployments")).json()["data"]
    assert first["live"] == "v0"
