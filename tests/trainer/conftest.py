"""Everything a round needs, small and real: a taught policy, a gateway that samples from it, a migrated database."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.databases import migrated_file
from support.fake_gateway import FakeGateway
from support.reward_server import Server
from support.tiny_policy import Reds, make_policy, write_prompts

from db.queries import checkpoints, deployments, rounds
from db.session import Database
from trainer.house import House
from trainer.loop import claim
from trainer.settings import TrainerSettings
from trainer.work import Work


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that writes well-formed answers: one for all workers of a run."""
    import torch

    torch.set_num_threads(1)
    own = tmp_path_factory.getbasetemp()
    made = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "policy"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make_policy(made.with_suffix(".part")).rename(made)
    return made


@pytest.fixture
def gateway(policy: Path) -> Iterator[FakeGateway]:
    fake = FakeGateway(policy, key="service")
    yield fake
    fake.close()


@dataclass
class Site:
    """A home with a database in which the base is live, and a trainer's house over it."""

    settings: TrainerSettings
    gateway: FakeGateway
    open: Callable[..., House]
    database: Database

    def request(self, seed: int = 7, algorithm: str = "grpo", **config: Any) -> int:
        with self.database.transaction() as session:
            return rounds.request_round(session, algorithm, config, "someone", seed=seed).id

    def round(self, round_id: int) -> Any:
        with self.database.reading() as session:
            return rounds.get_round(session, round_id)

    def begin(self, house: House) -> Work:
        """Claim the round that waits, and make ready for work on it."""
        row = claim(house)
        assert row is not None
        return house.prepare(row, house.ledger(row))

    def let_lapse(self, round_id: int) -> None:
        """As if the one who holds the round had been silent for the whole of its lease."""
        with self.database.transaction() as session:
            row = rounds.get_round(session, round_id)
            assert rounds.heartbeat(session, round_id, row.lease_owner, 0)

    def metrics(self, round_id: int) -> dict[str, list[tuple[int, float]]]:
        with self.database.reading() as session:
            return rounds.metrics(session, round_id)

    def checkpoint(self, checkpoint_id: int) -> Any:
        with self.database.reading() as session:
            return checkpoints.get_checkpoint(session, checkpoint_id)

    def live(self) -> Any:
        with self.database.reading() as session:
            return checkpoints.get_checkpoint(session, deployments.current(session).live_checkpoint_id)

    def deploy(self, body: dict[str, Any]) -> dict[str, Any]:
        """What the real gateway does with a deployment, as far as rows go."""
        with self.database.transaction() as session:
            current = deployments.current(session)
            live = checkpoints.get_checkpoint(session, current.live_checkpoint_id)
            target = checkpoints.find_checkpoint(session, body["checkpoint"])
            if live.name != body["expected_live"]:
                raise ValueError(f"live is {live.name}")
            deployments.propose(session, target.id, body["by"], body["reason"], current.id)
            checkpoints.set_state(session, target.id, "published")
        return {"live": target.name, "previous": live.name}


def build_site(folder: Path, policy: Path, gateway: FakeGateway) -> Iterator[Site]:
    settings = TrainerSettings(
        home=folder / "home",
        service_key="service",
        gateway=gateway.url,
        base_model=str(policy),
        base_mix=str(write_prompts(folder / "mix.jsonl", range(200))),
        heldout=str(write_prompts(folder / "heldout.jsonl", range(300, 330))),
        steps=4,
        prompts_per_step=3,
        group_size=4,
        micro_batch=6,
        learning_rate=2e-3,
        max_completion_tokens=32,
        gate_prompts=16,
        gate_samples=3,
        gateway_patience=5.0,
        overlap=False,  # at rates that teach in 14 steps one update changes much; tests of sampling ahead say so
    )
    settings.home.mkdir(parents=True, exist_ok=True)
    shutil.copy(migrated_file(), settings.home / "ruminate.db")
    database = Database(settings.database)
    with database.transaction() as session:
        checkpoints.ensure_base(session, "test base", {})
        deployments.propose(session, 0, "test", "the base", None)
    houses: list[House] = []

    def open_house(**changes: Any) -> House:
        house = House(settings.model_copy(update=changes), reward=Reds(), judge=Reds())
        houses.append(house)
        return house

    built = Site(settings, gateway, open_house, database)
    gateway.on_deploy = built.deploy
    yield built
    for house in houses:
        house.close()
    database.close()


@pytest.fixture
def site(tmp_path: Path, policy: Path, gateway: FakeGateway) -> Iterator[Site]:
    yield from build_site(tmp_path, policy, gateway)


@pytest.fixture
def second_site(tmp_path: Path, policy: Path) -> Iterator[Site]:
    """Another home, database and gateway over the same policy."""
    (tmp_path / "second").mkdir()
    gateway = FakeGateway(policy, key="service")
    yield from build_site(tmp_path / "second", policy, gateway)
    gateway.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start endpoints that answer by a function of path and body."""
    open_ones: list[Server] = []

    def start(answer: Callable[..., Any]) -> Server:
        open_ones.append(Server(answer))
        return open_ones[-1]

    yield start
    for server in open_ones:
        server.http.shutdown()
        server.http.server_close()
