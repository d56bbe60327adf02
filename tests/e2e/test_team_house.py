"""The house of a team: two gateways on one PostgreSQL and one Redis, from the first question to Ctrl-C.

Everything is real, as in `test_whole_house`, and shorter: what a database or a second gateway can change is done again
here. On SQLite alone: the page, a round long enough to publish, an engine that is killed.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from support.crowd import PATIENCE_SECONDS, Answer, Crowd, alone, ask, client_of, not_as_alone, prompts
from support.house import RunningHouse, another_gateway, running_house
from support.redis_server import RedisServer
from support.tiny_adapters import publish_tiny
from support.waiting import wait_until

from cli.client import GatewayClient
from cli.profiles import TINY
from db.schema import Checkpoint, Generation, Message, Round, RoundMetric, RoundPrompt
from db.session import Database

CLIENTS = 6
LONGEST = 60  # tokens of an answer: an adapter of random numbers does not know when to stop
SETTINGS = {
    "ui": False,
    "trainer_nice": 0,  # nothing is measured here, and a trainer that gives way takes longer
    # the shortest round, through every phase, and a gate that lets nothing pass
    "trainer_steps": 1,
    "trainer_prompts_per_step": 2,
    "trainer_group_size": 2,
    "trainer_gate_prompts": 4,
    "trainer_gate_samples": 1,
    "trainer_gate_min_gain": 1000,
    # random numbers would be taken back at the first look at what they write
    "server_rollback_level": 0,
}


@pytest.fixture
def kind() -> str:
    return "postgresql"


@pytest.mark.timeout(1800)
async def test_two_gateways_on_postgresql_and_redis_are_one_house(
    empty_url: str, redis: RedisServer, tmp_path: Path
) -> None:
    """The steps block the event loop, in which nothing else lives."""
    database = Database(empty_url)
    stores = {"database_url": empty_url, "redis_url": redis.url}
    with running_house(tmp_path / "one", **stores, **SETTINGS) as house:
        with another_gateway(house, tmp_path / "two") as second:
            gateways = [house.gateway, second]
            told = chat_at_both(gateways)
            go_on_at_the_other(database, gateways)
            follow_at_the_other(gateways)
            train_to_a_verdict(house, second, database)
            told += await swap_and_lose_redis(house, second, database, redis)
        end_in_the_middle_of_a_round(house, database)
    every_turn_is_there(database, told, besides=3)
    database.close()


def chat_at_both(gateways: list[str]) -> list[Answer]:
    told = []
    for number, messages in enumerate(prompts("train", 6)):
        client = client_of(gateways[number % 2])
        assert {"ruminate", "ruminate-v0"} <= {model.id for model in client.models.list()}
        told.append(ask(client, "ruminate", messages, number))
        assert told[-1].reasoning
        assert told[-1].content
    assert {answer.model for answer in told} == {"ruminate-v0"}
    return told


def go_on_at_the_other(database: Database, gateways: list[str]) -> None:
    """What one gateway recorded, the other one knows at once."""
    one, two = (client_of(url) for url in gateways)
    wish: Any = {"model": "ruminate", "temperature": 0}
    first = one.responses.create(input="Plan three dinners for two, no nuts.", **wish)
    then = two.responses.create(input="And for four?", previous_response_id=first.id, **wish)
    with database.reading() as session:
        rows = [session.get_one(Generation, answer.id.removeprefix("resp_")) for answer in (first, then)]
        said = session.scalars(
            select(Message.content).where(Message.conversation_id == rows[0].conversation_id, Message.role == "user")
        ).all()
    assert len({row.conversation_id for row in rows}) == 1
    assert len({row.gateway for row in rows}) == 2
    assert sorted(said) == ["And for four?", "Plan three dinners for two, no nuts."]
    assert [row.response for row in rows] == [first.output_text, then.output_text]


def follow_at_the_other(gateways: list[str]) -> None:
    """A detached answer that one gateway writes is read at the other, by the events that Redis carries."""
    wish = {"model": "ruminate", "stream": True, "temperature": 0, "ruminate": {"detached": True}}
    wish["messages"] = [{"role": "user", "content": "Write a short story about a lighthouse keeper."}]
    path = "/v1/chat/completions"
    with httpx.stream("POST", gateways[0] + path, json=wish, timeout=PATIENCE_SECONDS) as begun:
        assert begun.status_code == 200, begun.read()
        generation = begun.headers["x-ruminate-generation"]
        next(begun.iter_lines())
    read = httpx.get(f"{gateways[1]}{path}/{generation}/events", timeout=PATIENCE_SECONDS)
    assert (read.status_code, read.headers["x-ruminate-events"]) == (200, "stream"), read.text
    assert "data: [DONE]" in read.text


def train_to_a_verdict(house: RunningHouse, second: str, database: Database) -> None:
    """A round is asked for at one gateway and done by the trainer at the other."""
    done = house.ruminate("train", "--now", "--json", "--seed", "1", gateway=second)
    assert done.returncode == 3, done.stdout + done.stderr + house.logged("trainer")
    with database.reading() as session:
        row = session.scalars(select(Round)).one()
        kept = session.scalars(
            select(func.count()).where(RoundPrompt.source == "recorded", RoundPrompt.verdict == "kept")
        ).one()
        rewards = session.scalars(select(RoundMetric).where(RoundMetric.name == "reward")).all()
        candidate = session.get_one(Checkpoint, row.candidate_checkpoint_id)
    assert (row.state, row.phase, row.step, row.error) == ("rejected", "publish", 1, None)
    assert row.verdict is not None
    assert "needed is more than +1000.000" in row.verdict["words"]
    assert kept >= 1  # of what was asked here, and the rest from the base mix
    assert [metric.step for metric in rewards] == [1]
    assert (candidate.name, candidate.state, candidate.parent_id) == ("v1", "rejected", 0)
    refused = house.ruminate("promote", "v1", gateway=second)
    assert (refused.returncode, "v1 was rejected" in refused.stderr) == (1, True), refused.stderr


async def swap_and_lose_redis(house: RunningHouse, second: str, database: Database, redis: RedisServer) -> list[Answer]:
    """Both gateways' clients stream on while what is live changes by either of them, the second time without Redis."""
    new = publish_tiny(database, house.home, Path(TINY.base_model), seed=1)
    old, live = "ruminate-v0", f"ruminate-{new}"
    gateways, questions = [house.gateway, second], prompts("heldout", 6)

    def each_has(model: str) -> Any:
        return lambda answers: all(
            sum((one.base_url, one.model) == (url, model) for one in answers) >= CLIENTS for url in gateways
        )

    with Crowd(gateways, questions, CLIENTS, max_tokens=LONGEST) as crowd:
        crowd.wait_until(each_has(old))
        promoted = house.ruminate("promote", new, gateway=second)
        assert promoted.returncode == 0, promoted.stderr
        crowd.wait_until(each_has(live), since=len(crowd.answers))
        await redis.kill()
        for url in gateways:
            wait_for_trouble(url)
        back = house.ruminate("rollback")
        assert (back.returncode, "v0 is live again" in back.stdout) == (0, True), back.stderr
        crowd.wait_until(each_has(old), since=len(crowd.answers))
    assert crowd.errors == []
    written_alone = alone(crowd, questions, second, max_tokens=LONGEST)
    assert not_as_alone(crowd, written_alone) == []
    assert any(written_alone[old, n].text != written_alone[live, n].text for n in range(len(questions)))
    return crowd.answers + list(written_alone.values())


def wait_for_trouble(url: str) -> None:
    """Until the gateway says itself that Redis is gone."""
    wait_until(
        lambda: str(httpx.get(f"{url}/health", timeout=30, verify=False).json()["trouble"]),
        f"{url} does not say that Redis is gone",
        lambda said: "Redis" in said,
        PATIENCE_SECONDS,
    )


def end_in_the_middle_of_a_round(house: RunningHouse, database: Database) -> None:
    """Ctrl-C waits for no step; the round is left for the next trainer."""
    with GatewayClient(house.gateway, "none") as client:
        asked = client.start_round(config={"steps": 30}, reason="to be broken off", seed=2)["id"]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := client.round(asked))["phase"] != "train":
            assert found["state"] in ("requested", "running"), found
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
    house.end_without_a_trace(least=3)
    with database.reading() as session:
        row = session.get_one(Round, asked)
        assert (row.state, row.error) == ("running", None)


def every_turn_is_there(database: Database, told: list[Answer], besides: int) -> None:
    """After everything ended: as many rows as clients got answers, each finished, with the words and the checkpoint."""
    query = select(Generation, Checkpoint.name).join(Checkpoint, Checkpoint.id == Generation.checkpoint_id)
    with database.reading() as session:
        rows = session.execute(query.where(Generation.origin == "api")).all()
    assert [row.id for row, _ in rows if row.ended_at is None or row.error is not None] == []
    assert len({row.gateway for row, _ in rows}) == 2
    recorded = Counter((f"ruminate-{name}", row.reasoning or "", row.response or "") for row, name in rows)
    assert Counter((answer.model, *answer.text) for answer in told) <= recorded
    assert len(rows) == len(told) + besides
