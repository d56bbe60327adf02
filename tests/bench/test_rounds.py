"""A bench's rounds are known by their reasons: gone on with where they are open, and not run twice."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.rounds import Wanted, ask, asked_before, reader_of, run_round, train_once
from cli.profiles import TINY
from db.queries import checkpoints, rounds
from db.session import Database


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Any]:
    database = Database(f"sqlite:///{tmp_path / 'ruminate.db'}")
    database.migrate()
    with database.transaction() as session:
        checkpoints.ensure_base(session, "tiny", {})
    yield SimpleNamespace(home=tmp_path, database=database)
    database.close()


def trainer_that_ends(stack: Any, told: list[Any]) -> Any:
    def train(_: object, __: object, more: object) -> int:
        told.append(more)
        with stack.database.transaction() as session:
            row = rounds.claim_round(session, "trainer", 60.0)
            assert row is not None
            rounds.add_metrics(session, row.id, 1, {"reward": 0.5})
            rounds.finish_round(session, row.id, "trainer", "failed", error="for the test")
        return 1

    return train


def test_a_round_of_a_known_reason_is_run_once(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr("bench.rounds.train_once", trainer_that_ends(stack, told))
    wanted = Wanted({"steps": 2}, 3, "thinking: think, seed 3", environment={"threads": "2"})
    assert asked_before(stack, wanted) is None
    first, again = run_round(stack, TINY, wanted), run_round(stack, TINY, wanted)
    assert first.row.id == again.row.id == asked_before(stack, wanted)
    assert told == [{"threads": "2"}]
    assert (again.row.state, again.series, again.checkpoint) == ("failed", {"reward": [(1, 0.5)]}, None)
    assert again.seconds >= 0


def test_a_round_without_a_reason_is_a_new_one_each_time(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.rounds.train_once", trainer_that_ends(stack, []))
    ids = [run_round(stack, TINY, Wanted({"steps": 2}, 3)).row.id for _ in range(2)]
    assert ids[0] != ids[1]


def test_a_round_that_was_asked_for_and_not_begun_is_not_asked_for_again(stack: Any) -> None:
    wanted = Wanted({}, 1, "overfit, seed 1")
    assert ask(stack, wanted) == ask(stack, wanted)


def test_a_round_that_does_not_end_is_said(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.rounds.train_once", lambda *_: 1)
    monkeypatch.setattr("bench.rounds.LEASE_SECONDS", 0.0)
    monkeypatch.setattr("bench.rounds.WAIT_SECONDS", 0.0)
    with pytest.raises(RuntimeError, match=r"round 1 has not ended; see .*trainer\.log"):
        run_round(stack, TINY, Wanted({}, 1, "x"))


def test_a_round_whose_trainer_died_late_is_gone_on_with(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the first trainer had it, the lease that it left may run out."""
    calls: list[int] = []
    clock = [0.0]

    def train(*_: object) -> int:
        calls.append(1)
        if len(calls) == 2:  # the lease of the dead one has not run out
            return 1
        with stack.database.transaction() as session:
            row = rounds.claim_round(session, f"trainer {len(calls)}", 60.0)
            assert row is not None
            if len(calls) == 1:
                clock[0] += 600  # trains for ten minutes, and is killed
                assert rounds.heartbeat(session, row.id, "trainer 1", -1)
            else:
                rounds.finish_round(session, row.id, "trainer 3", "failed", error="for the test")
        return 1

    monkeypatch.setattr("bench.rounds.train_once", train)
    monkeypatch.setattr("bench.rounds.time", SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda _: None))
    assert run_round(stack, TINY, Wanted({}, 1, "x")).row.state == "failed"
    assert len(calls) == 3


def test_without_a_thought_the_prompt_ends_behind_an_empty_one() -> None:
    asked = [{"role": "user", "content": "hello"}]
    plain, control = (reader_of(TINY, thoughtless) for thoughtless in (False, True))
    texts = [
        one.tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False) for one in (plain, control)
    ]
    assert texts[1].endswith("<think>\n\n</think>\n\n")
    assert not texts[0].endswith("</think>\n\n")
    assert control.read(control.tokenizer("Hi.")["input_ids"], True).well_formed
    assert not plain.read(plain.tokenizer("Hi.")["input_ids"], True).well_formed


def test_a_trainer_is_weighed_against_the_engines_as_in_the_house(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os; print(os.getsid(0), os.getpgrp() == os.getpid(), os.environ['RUMINATE_TRAINER_NICE'])"
    monkeypatch.setattr("bench.rounds.TRAINER", (sys.executable, "-c", code))
    stack: Any = SimpleNamespace(home=tmp_path, gateway="http://127.0.0.1:9", processes={})
    train_once(stack, TINY, {"nice": "7"})
    assert (tmp_path / "trainer.log").read_text().splitlines()[-1] == f"{os.getsid(0)} True 7"
    assert stack.processes["trainer"].ended()
