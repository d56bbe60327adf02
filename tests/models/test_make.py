"""The order in which the embedded models are made. What is made, test_tiny.py looks at."""

from concurrent.futures import Future

import pytest

from models.make import STAGES, Job, in_order


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
