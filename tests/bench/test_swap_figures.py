"""What the swap bench makes of its answers: by engine, from asking for a change to the first word by the new name."""

import pytest

from bench.swap_figures import STARTING_S, Answer, Change, figures, first_answers, in_words, waits

SO, OTHERWISE = (5, 6), (5, 7)  # tokens
ENGINES = ["http://one", "http://two"]
CHANGES = [
    Change("ruminate-v1", False, 10.0, 10.2, 10.4),
    Change("ruminate-v2", False, 20.0, 20.2, 20.4),
    Change("ruminate-v1", True, 30.0, 30.2, 30.4),
]


def answer(model: str, engine: int, began: float, first: float, tokens: tuple[int, ...] = SO) -> Answer:
    return Answer(0, began, {model}, tokens, [first, first + 0.1], engine=ENGINES[engine])


ANSWERS = [
    answer("ruminate-v0", 0, 9.5, 10.1),
    answer("ruminate-v1", 0, 10.3, 10.5),
    answer("ruminate-v1", 1, 10.3, 10.9),
    answer("ruminate-v1", 1, 10.4, 11.9),
    answer("ruminate-v2", 0, 20.3, 20.6),
    answer("ruminate-v1", 0, 19.9, 30.1),  # asked long before the rollback: not what it brought
    answer("ruminate-v1", 0, 30.2, 30.8),
    answer("ruminate-v1", 1, 30.2, 31.5),
]


def test_a_swap_counts_on_every_engine_not_on_the_quickest() -> None:
    found = first_answers(ANSWERS, CHANGES[:1], ENGINES, rollbacks=False)
    assert found["by_engine"]["engine-0"]["p50"] == pytest.approx(500)
    assert found["by_engine"]["engine-1"]["p50"] == pytest.approx(900)
    assert found["every_engine"]["max"] == pytest.approx(900)


def test_a_change_that_an_engine_answered_nothing_after_is_told_apart() -> None:
    found = first_answers(ANSWERS, CHANGES, ENGINES, rollbacks=False)
    assert found["unseen"] == 1  # v2 on the second engine
    assert found["every_engine"]["max"] == pytest.approx(900)
    assert found["by_engine"]["engine-0"]["max"] == pytest.approx(600)


def test_a_rollback_is_timed_to_an_answer_that_was_asked_for_after_it() -> None:
    found = first_answers(ANSWERS, CHANGES, ENGINES, rollbacks=True)
    assert found["by_engine"]["engine-0"]["p50"] == pytest.approx(800)
    assert found["every_engine"]["p50"] == pytest.approx(1500)


def test_a_knock_tells_when_an_engine_could_answer_and_is_no_answer_of_the_crowd() -> None:
    knock = Answer(0, 10.25, {"ruminate-v1"}, SO[:1], [10.4], engine=ENGINES[1], is_knock=True)
    lost = Answer(0, 10.5, error="HTTP 503", is_knock=True)
    alone = {("ruminate-v1", 0): SO}
    crowd = [one for one in ANSWERS[:4] if one.models == {"ruminate-v1"}]
    report = figures([*crowd, knock, lost], CHANGES[:1], alone, ENGINES)
    assert report["swap_to_first_answer_ms"]["by_engine"]["engine-1"]["p50"] == pytest.approx(900)
    assert report["swap_to_first_word_ms"]["by_engine"]["engine-1"]["p50"] == pytest.approx(400)
    assert report["swap_to_first_word_ms"]["every_engine"]["p50"] == pytest.approx(500)
    assert (report["requests"], report["knocks"], report["failed"], report["compared"]) == (3, 2, 1, 0)
    said = in_words(report | {"full": False, "engines": 2, "clients": 4, "restart_s": 20.0})
    assert any("somebody asking at any time, every engine: 500.0 ms" in line for line in said)


def test_an_answer_that_its_checkpoint_would_not_write_is_mixed_and_a_failed_one_is_not() -> None:
    alone = {(f"ruminate-v{number}", 0): SO for number in range(3)}
    worse = [
        *ANSWERS,
        answer("ruminate-v1", 0, 12.0, 12.5, tokens=OTHERWISE),
        Answer(0, 13.0, {"ruminate-v1", "ruminate-v2"}, SO, [13.1], engine=ENGINES[0]),
        Answer(0, 14.0, error="HTTP 503"),
    ]
    report = figures(worse, CHANGES, alone, ENGINES)
    assert (report["failed"], report["mixed"]) == (1, 2)
    assert (report["swaps"], report["rollbacks"], report["requests"]) == (2, 1, len(worse))
    said = in_words(report | {"full": False, "engines": 2, "clients": 4, "restart_s": 20.0})
    assert any(line.startswith("answers of mixed checkpoints: 2 (goal 0)") for line in said)
    assert any("every engine: 900.0 ms" in line and "goal under 1000 ms" in line for line in said)
    assert any("every engine: 1500.0 ms" in line and "goal under 2000 ms" in line for line in said)


def told(report: dict[str, object]) -> str:
    options = {"full": False, "engines": 2, "clients": 4, "restart_s": 20.0}
    return next(line for line in in_words(report | options) if line.startswith("answers of mixed"))


def test_checkpoints_that_answer_alike_are_not_said_to_be_unmixed() -> None:
    alike = {(f"ruminate-v{number}", 0): SO for number in range(3)}
    report = figures(ANSWERS, CHANGES, alike, ENGINES)
    assert (report["mixed"], report["compared"], report["telling_prompts"], report["prompts"]) == (None, 0, 0, 1)
    assert "not told" in told(report)
    one_is_apart = alike | {("ruminate-v2", 0): OTHERWISE}  # v0 and v1 could still stand in for each other
    right = [one for one in ANSWERS if one.models != {"ruminate-v2"}]
    assert figures(right, CHANGES, one_is_apart, ENGINES)["mixed"] is None


def test_mixed_answers_are_told_of_prompts_that_each_checkpoint_answers_otherwise() -> None:
    alone = {(f"ruminate-v{number}", prompt): (5, number if prompt else 0) for number in range(2) for prompt in (0, 1)}
    written = [Answer(prompt, 9.5, {"ruminate-v1"}, alone["ruminate-v1", prompt], [9.6, 9.7]) for prompt in (0, 1, 1)]
    report = figures(written, CHANGES, alone, ENGINES)
    assert (report["mixed"], report["compared"], report["telling_prompts"], report["prompts"]) == (0, 2, 1, 2)
    assert told(report).endswith("0 (goal 0), of 2 to the 1 of 2 prompts that each checkpoint answers otherwise")


def test_gaps_are_told_apart_by_what_went_on_meanwhile() -> None:
    began = 10.0 - STARTING_S - 1.0
    written = Answer(0, began, {"ruminate-v0"}, SO, [began + 1.0, 9.5, 9.6, 9.9, 10.1, 10.3, 10.6, 10.65])
    found = waits([written], CHANGES[:1])
    assert found["gap_p99_ms_before_all"] == pytest.approx(300)
    assert found["gap_p99_ms_during"] == pytest.approx(300)
    assert found["gap_p99_ms_outside"] == pytest.approx(1500)  # from the start, when all asked at once


def test_a_change_that_is_not_timed_is_no_calm_either() -> None:
    written = [Answer(0, 6.0, {"ruminate-v1"}, SO, [20.0, 20.3, 20.39])]
    alone = {("ruminate-v1", 0): SO}
    found = figures(written, CHANGES[:1], alone, ENGINES, between=CHANGES[1:2])
    assert found["gap_p99_ms_during"] == pytest.approx(300)
    assert found["gap_p99_ms_outside"] is None
    assert found["swaps"] == 1
