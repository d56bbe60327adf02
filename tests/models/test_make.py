"""The order in which the embedded models are made. What is made, test_tiny.py looks at."""

import json
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from models.card import write_card
from models.make import HERE, STAGES, Job, Making, in_order, sample_responses, train_reward_model, train_stage


def jobs_of(needs: dict[str, tuple[str, ...]], begun: list[str]) -> dict[str, Job]:
    """Jobs that end as soon as they begin and note their names in `begun`."""

    def job(name: str) -> Job:
        def begin() -> Future[dict[str, str]]:
            begun.append(name)
            future: Future[dict[str, str]] = Future()
            future.set_result({"name": name})
            return future

        return Job(needs[name], begin)

    return {name: job(name) for name in needs}


def test_a_job_begins_when_all_that_it_needs_is_done() -> None:
    begun: list[str] = []
    found: dict[str, dict[str, str]] = {}
    in_order(jobs_of({"c": ("a", "b"), "b": ("a",), "a": (), "d": ()}, begun), set(), found.__setitem__)
    assert begun == ["a", "d", "b", "c"]
    assert found == {name: {"name": name} for name in "abcd"}


def test_no_more_jobs_run_than_there_are_cores() -> None:
    running: list[str] = []
    most = 0
    futures: dict[str, Future[dict[str, str]]] = {}

    def begin(name: str) -> Future[dict[str, str]]:
        nonlocal most
        running.append(name)
        most = max(most, len(running))
        futures[name] = Future()
        while len(running) == 2 or (running and name == "e"):
            futures[running.pop(0)].set_result({})
        return futures[name]

    in_order({n: Job((), lambda n=n: begin(n)) for n in "abcde"}, set(), lambda name, found: None)  # type: ignore[misc]
    assert most == 2
    assert set(futures) == set("abcde")


def test_what_an_earlier_run_has_made_is_not_made_again() -> None:
    begun: list[str] = []
    in_order(jobs_of({"b": ("a",)}, begun), {"a"}, lambda name, found: None)
    assert begun == ["b"]


def test_a_job_that_can_never_begin_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing makes: b"):
        in_order(jobs_of({"b": ("a",)}, []), set(), lambda name, found: None)


def test_every_stage_continues_one_that_is_made() -> None:
    names = {stage.name for stage in STAGES}
    assert all(stage.start in names | {""} for stage in STAGES)
    assert {"policy", "reward-marker", "judge-marker", "zero"} <= names


def test_what_every_job_found_stands_in_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        train_stage: {"seconds": 10.0, "tokens": 5, "loss": 0.1, "parameters": 7, "identity": "x"},
        sample_responses: {"seconds": 20.0},
        train_reward_model: {"seconds": 30.0, "pairs": 3},
    }

    def apart(work: Callable[..., Any], *given: Any) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        future.set_result(found[work])  # type: ignore[index]
        return future

    monkeypatch.setattr("models.make.apart", apart)
    monkeypatch.setattr("models.make.copy", lambda source, target: None)
    monkeypatch.setattr("models.tokens.train_tokenizer", lambda seed: Namespace(save_pretrained=lambda folder: None))
    making = Making(Namespace(out=tmp_path, work=tmp_path, begin="stages", pairs=3))
    making.train, making.held_out = [[]] * 800, set()
    making.train_models()
    kept = json.loads((HERE / "card.json").read_text())
    write_card(tmp_path, kept | {"sampling": {}} | making.facts)
    card = (tmp_path / "card.md").read_text()
    assert "| sampling for the pairs | 20 s |" in card
    assert "| judge | 3 pairs, 30 s |" in card
    assert f"| all training, a core each | {10 * len(STAGES) + 20 + 60} s" in card
