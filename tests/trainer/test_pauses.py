"""Training rests between micro-batches while the gateway says that people need the machine: bounded, and told."""

import json

import pytest
from support.tiny_policy import prompt

from trainer.gateway import Gateway
from trainer.loop import PUBLISHED, REJECTED, claim, work_on
from trainer.pauses import LOOK_SECONDS, SHORTEST, SILENT_SECONDS, Pauses

SHORT = {"steps": 2, "prompts_per_step": 3, "group_size": 4, "micro_batch": 6, "dpo_min_valid": 2}


class Clock:
    """Time that passes when somebody works, sleeps or asks. `people`: what each question is answered, the last for
    ever."""

    def __init__(self, *people: bool | None) -> None:
        self.now, self.people = 0.0, list(people)
        self.asked: list[float] = []
        self.rests: list[float] = []

    def pressed(self) -> bool | None:
        self.asked.append(self.now)
        self.now += 0.003
        return self.people.pop(0) if len(self.people) > 1 else self.people[0]

    def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds

    def pauses(self, seconds: float, share: float) -> Pauses:
        return Pauses(self.pressed, seconds, share, lambda: self.now, self.sleep)


def worked(clock: Clock, pauses: Pauses, seconds: float, times: int) -> list[float]:
    """How long each of so many rests was, after so many seconds of work each."""
    rests = []
    for _ in range(times):
        clock.now += seconds
        before = clock.now
        pauses()
        rests.append(clock.now - before)
    return rests


@pytest.mark.parametrize("work", [0.01, 0.1, 1.0, 4.0, 60.0])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_rests_take_no_more_than_their_share_and_none_is_longer_than_allowed(work: float, share: float) -> None:
    clock = Clock(True)
    pauses = clock.pauses(0.5, share)
    rests = worked(clock, pauses, work, 500)
    asking = 0.004  # the last question of a rest may end beyond it
    assert max(rests) <= 0.5 + asking
    assert sum(rests) <= share * clock.now + SHORTEST + asking
    if work * share < 0.4:  # all of it is used, as long as people need it
        assert sum(rests) > 0.8 * share * clock.now
    gaps = [after - before for before, after in zip(clock.asked, clock.asked[1:], strict=False)]
    assert min(gaps) >= LOOK_SECONDS
    assert pauses.taken() == pytest.approx(sum(rests))
    assert pauses.taken() == 0


def test_a_rest_ends_when_people_need_nothing_more_and_begins_only_when_they_do() -> None:
    clock = Clock(True, True, False)
    pauses = clock.pauses(2.0, 0.5)
    (rest,) = worked(clock, pauses, 10.0, 1)
    assert len(clock.asked) == 3
    assert LOOK_SECONDS * 2 <= rest < LOOK_SECONDS * 2 + 0.1
    assert sum(worked(clock, pauses, 10.0, 20)) < 0.1  # nobody there: nothing but the questions
    assert len(clock.rests) == 2


def test_with_no_share_nobody_is_asked() -> None:
    for seconds, share in ((0.5, 0.0), (0.0, 0.1)):
        clock = Clock(True)
        assert sum(worked(clock, clock.pauses(seconds, share), 5.0, 10)) == 0
        assert not clock.asked


def test_a_gateway_that_says_nothing_is_left_alone_for_a_while() -> None:
    clock = Clock(None)
    pauses = clock.pauses(0.5, 0.1)
    worked(clock, pauses, 1.0, 60)
    assert not clock.rests
    assert len(clock.asked) <= 60 / SILENT_SECONDS + 1


@pytest.mark.parametrize("algorithm", ["grpo", "ppo", "dpo", "sft"])
def test_each_algorithm_rests_while_people_need_the_machine(site, tmp_path, algorithm) -> None:
    lessons = tmp_path / "lessons.jsonl"
    rows = [{"messages": prompt(n), "thought": "plan", "response": "red red red red"} for n in range(60)]
    lessons.write_text("".join(json.dumps(row) + "\n" for row in rows))
    site.gateway.pressed = True
    site.request(algorithm=algorithm, **SHORT)
    house = site.open(teacher_data=str(lessons), pause_seconds=0.2, pause_share=0.5)
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(1).error
    figures = site.metrics(1)
    assert sum(value for _, value in figures["seconds_rest"]) > 0.1
    assert all(value >= 0 for _, value in figures["seconds_train"])


def test_nobody_needs_the_machine_where_the_gateway_does_not_say_so(gateway) -> None:
    asked = Gateway(gateway.url, "service")
    assert asked.pressed() is False
    gateway.pressed = True
    assert asked.pressed() is True
    asked.close()
    other = Gateway(gateway.url, "somebody")  # refused
    assert other.pressed() is None
    other.close()
    gone = Gateway("http://127.0.0.1:9", "service")
    assert gone.pressed() is None
    gone.close()
