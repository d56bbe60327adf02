"""`ruminate teach`: what is asked of a teacher, what is kept of it, and what a run that was broken off costs."""

import json
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from support.fake_teacher import FakeTeacher, says
from support.tiny_policy import prompt

from trainer.llm_judge import Prices
from trainer.prompts import read_mix
from trainer.remote import RemoteError
from trainer.sft import read_lessons
from trainer.teach import INSTRUCTIONS, Answers, Teacher, as_folder, estimate, judged, teach, to_ask

GOOD = "<think>\nThey want a colour.\n</think>\n<response>\nBlue would suit it well.\n</response>"


@pytest.fixture
def api():
    made = []

    def start(answer, seconds=0.0):
        made.append(FakeTeacher(answer, seconds))
        return made[-1]

    yield start
    for one in made:
        one.close()


def asked(*numbers):
    return [prompt(number) for number in numbers]


def words(number):
    return prompt(number)[0]["content"]


def run(teacher, prompts, answers, **more):
    return teach(teacher, to_ask(prompts, answers, teacher), answers, **more)


def test_a_teacher_is_asked_to_plan_and_its_examples_are_what_sft_takes(tmp_path, api):
    teacher = api(lambda text: says(GOOD))
    answers = Answers(tmp_path / "a.jsonl")
    told = run(Teacher(teacher.url, "m", "secret", temperature=0.5), asked(1, 2, 3), answers)
    assert (told.kept, told.prompt_tokens, told.completion_tokens) == (3, 150, 300)
    assert told.cost(Prices(2.0, 10.0)) == pytest.approx((150 * 2 + 300 * 10) / 1e6)
    body = teacher.bodies[0]
    assert (body["model"], body["temperature"], body["messages"][0]["content"]) == ("m", 0.5, INSTRUCTIONS)
    assert teacher.keys == {"Bearer secret"}
    assert as_folder(answers, tmp_path / "lessons") == 3
    found = {one.messages[0]["content"]: (one.thought, one.response) for one in read_lessons(str(tmp_path / "lessons"))}
    assert found == {words(n): ("They want a colour.", "Blue would suit it well.") for n in (1, 2, 3)}
    with pytest.raises(FileExistsError):
        as_folder(answers, tmp_path / "lessons")


@pytest.mark.parametrize(
    ("content", "finish", "why"),
    [
        (GOOD, "length", "cut off"),
        ("Blue.", "stop", "stray tags"),
        ("<think>a</think> Blue.", "stop", "stray tags"),
        (GOOD.replace("Blue", "<think>Blue</think>"), "stop", "stray tags"),
        (GOOD + " More.", "stop", "stray tags"),
        ("I'm sorry, but I can't help with that.", "stop", "a refusal"),
        (GOOD.replace("Blue would", "I cannot help you with whether blue would"), "stop", "a refusal"),
        ("Es tut mir leid, dabei kann ich dir leider nicht helfen.", "stop", "a refusal"),
        (GOOD.replace("Blue would suit it well.", "Je suis désolé, mais je ne peux pas vous aider avec cela."),
         "stop", "a refusal"),
        (GOOD.replace("Blue would", "As asked to plan, blue would"), "stop", "says that planning was asked for"),
        (GOOD.replace("Blue would suit it well.", "Das blaue Kleid würde ihr heute sehr gut stehen, denke ich."),
         "stop", "another language"),
    ],
)  # fmt: skip
def test_why_an_example_is_dropped(content, finish, why):
    choice = says(content, finish)[2]["choices"][0]
    assert judged(choice, "en") == {"left": why}


def test_a_refusal_that_the_server_tells_apart_counts_as_one():
    told = says(None, refusal="I can't help with that."), says(GOOD[:40], "content_filter"), says("", "content_filter")
    assert [judged(reply[2]["choices"][0], "en") for reply in told] == [{"left": "a refusal"}] * 3


def test_an_answer_in_parts_is_read():
    choice = says("")[2]["choices"][0]
    choice["message"]["content"] = [{"type": "text", "text": part} for part in GOOD.split("\n", 3)]
    assert judged(choice, "en")["response"] == "Blue would suit it well."


def test_a_model_that_thinks_by_itself_is_taken_as_it_thinks():
    for field in ("reasoning", "reasoning_content"):
        choice = says("Blue would suit it well.", **{field: "They want a colour."})[2]["choices"][0]
        assert judged(choice, "en") == {"thought": "They want a colour.", "response": "Blue would suit it well."}
    assert judged(says(GOOD)[2]["choices"][0], "")["thought"] == "They want a colour."
    assert "left" not in judged(
        says(GOOD.replace("Blue would", "I cannot say enough how well blue would"))[2]["choices"][0], "en"
    )
    assert "left" not in judged(says(GOOD.replace("Blue would", "I can tell: blue would"))[2]["choices"][0], "en")


def test_no_more_are_asked_at_once_than_may_be_and_what_is_no_single_turn_is_not_asked(tmp_path, api):
    teacher = api(lambda text: says(GOOD), seconds=0.02)
    answers = Answers(tmp_path / "a.jsonl")
    talk = [*prompt(1), {"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]
    three = Teacher(teacher.url, "m", connections=3)
    left = to_ask([*asked(*range(20)), talk, *asked(3)], answers, three)
    assert len(left) == 20  # each once
    teach(three, left, answers)
    assert 1 < teacher.most <= 3
    assert sorted(teacher.asked) == sorted(words(n) for n in range(20))
    assert [row["left"] for row in answers.rows.values() if "left" in row] == ["not single-turn"]


def test_a_busy_teacher_is_asked_again_and_one_prompt_that_it_filters_ends_nothing(tmp_path, api):
    busy = [429, 503]

    def answer(text):
        if text == words(1) and busy:
            return busy.pop(), {"Retry-After": "0.01"}, {}
        return (400, {}, {"error": "filtered"}) if text == words(2) else says(GOOD)

    teacher = api(answer)
    answers = Answers(tmp_path / "a.jsonl")
    told = run(Teacher(teacher.url, "m"), asked(1, 2, 3), answers)
    assert (told.kept, told.left) == (2, {"the server refused it (400)": 1})
    assert teacher.asked.count(words(1)) == 3


def test_an_error_under_status_200_is_asked_again_and_drops_one_prompt_at_most(tmp_path, api, monkeypatch):
    monkeypatch.setattr("trainer.remote.time", SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic))
    monkeypatch.setattr("trainer.teach.PATIENCE", 0.0)
    passing = [1]

    def answer(text):
        if text == words(2) or (text == words(1) and passing and passing.pop()):
            return 200, {}, {"error": {"code": 502, "message": "the provider is away"}}
        return says(GOOD)

    teacher, answers = api(answer), Answers(tmp_path / "a.jsonl")
    told = run(Teacher(teacher.url, "m"), asked(1, 2, 3), answers)
    assert (told.kept, told.left) == (2, {"the server refused it (200)": 1})


def test_a_run_that_was_broken_off_goes_on_and_asks_for_nothing_twice(tmp_path, api):
    gone = [False]
    teacher = api(lambda text: (401, {}, {"error": "no credit"}) if gone[0] else says(GOOD))
    path = tmp_path / "a.jsonl"

    def tell(told):
        gone[0] = told.kept == 4

    answers = Answers(path)
    with pytest.raises(RemoteError, match="401.*no credit"):
        run(Teacher(teacher.url, "m", connections=1), asked(*range(10)), answers, tell=tell)
    assert len(path.read_text().splitlines()) == 4
    with path.open("a") as file:
        file.write('{"prompt": "0a1b2c3d')  # as a process leaves it that is killed while it writes
    gone[0], before = False, list(teacher.asked)
    answers.close()
    again = Answers(path)
    whole = Teacher(teacher.url, "m")
    left = to_ask(asked(*range(10)), again, whole)
    assert estimate(left, 1000).prompts == 6
    teach(whole, left, again)
    assert sorted([*before[:4], *teacher.asked[len(before) :]]) == sorted(words(n) for n in range(10))
    again.close()
    assert as_folder(Answers(path), tmp_path / "lessons") == 10


def test_what_was_dropped_on_other_terms_is_asked_again_and_two_teachers_are_not_mixed(tmp_path, api):
    api_of = {"wrong": (400, {}, {"error": "no such model"}), "short": says(GOOD, "length"), "m": says(GOOD)}
    now = ["wrong"]
    teacher = api(lambda text: api_of[now[0]])
    with Answers(tmp_path / "a.jsonl") as answers:
        assert run(Teacher(teacher.url, "wrong"), asked(1, 2), answers).kept == 0
        now[0] = "short"
        short = Teacher(teacher.url, "m", max_tokens=64)
        assert run(short, asked(1, 2), answers).left == {"cut off": 2}
        assert to_ask(asked(1, 2), answers, short) == []
        now[0] = "m"
        long = Teacher(teacher.url, "m", max_tokens=4096)
        assert run(long, asked(1, 2), answers).kept == 2
        assert to_ask(asked(1, 2), answers, short) == []  # what was kept stays
    with Answers(tmp_path / "a.jsonl") as again:
        assert as_folder(again, tmp_path / "lessons") == 2  # of several rows of a prompt the last one counts
        with pytest.raises(ValueError, match="another teacher are kept there .2 of 'm'., and 'n' is to be asked now"):
            to_ask(asked(3), again, Teacher(teacher.url, "n"))


def test_a_server_that_refuses_each_prompt_is_believed_early_and_quoted_and_asked_again_by_the_next_run(tmp_path, api):
    wrong = [True]
    teacher = api(lambda text: (400, {}, {"error": "max_tokens is too large"}) if wrong[0] else says(GOOD))
    with Answers(tmp_path / "a.jsonl") as answers:
        one = Teacher(teacher.url, "m", connections=1)
        with pytest.raises(RemoteError, match="each of the first 16 prompts was refused.*max_tokens is too large"):
            run(one, asked(*range(40)), answers)
        assert len(teacher.asked) < 20
        with pytest.raises(ValueError, match="no example was kept.*its server said: .*max_tokens is too large"):
            as_folder(answers, tmp_path / "lessons")
        wrong[0] = False
        assert run(one, asked(*range(40)), answers).kept == 40


def test_what_is_under_way_at_an_interrupt_is_waited_for_and_kept(tmp_path, api):
    go = threading.Event()

    def answer(text):
        assert text == words(0) or go.wait(10)
        return says(GOOD)

    def interrupt(told):
        threading.Timer(0.2, go.set).start()
        raise KeyboardInterrupt

    teacher, answers = api(answer), Answers(tmp_path / "a.jsonl")
    with pytest.raises(KeyboardInterrupt):
        run(Teacher(teacher.url, "m", connections=3), asked(*range(9)), answers, tell=interrupt)
    assert 1 < len(teacher.asked) == len(answers.rows) <= 3
    assert all("left" not in row for row in answers.rows.values())


def test_two_runs_do_not_have_one_file(tmp_path):
    path = tmp_path / "a.jsonl"
    with Answers(path) as answers:
        answers.add({"prompt": "1", "left": "cut off"})
        with path.open("a") as file:
            file.write('{"prompt": "0a1b')  # another run must not take a line in the making for one that was cut off
        with pytest.raises(ValueError, match="another run writes"):
            Answers(path)
        assert path.read_text().endswith("0a1b")
    with Answers(path) as again:
        assert list(again.rows) == ["1"]
    path.write_text("{}\n")
    for _ in range(2):  # one that can't be read is not held either
        with pytest.raises(ValueError, match="line 1: no row"):
            Answers(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt": "Name a colour"}\n{"prompt": "Name a tree"}\n',
        '{"prompt": "Name a colour"}\n{"prompt": "Name a tree"}',  # its last line is whole, if without an end
        '{"prompt": "Name a colour"}',
        '{"prompt": "bade"}',
        '{"prompt": "Name a tree", "thought": "A tall one.", "response": "Oak."}\n',
        "[]\n",
        "notes",
    ],
)
def test_a_file_that_is_no_teachers_is_left_as_it_is(tmp_path, api, text):
    """As where the prompts lie beside the folder under its name: `ruminate teach lessons.jsonl lessons`."""
    path = tmp_path / "lessons.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"lessons.jsonl, line \d: no row of a teacher's answers"):
        Answers(path)
    assert path.read_text() == text


def test_lessons_may_lie_in_a_folder_of_splits(tmp_path):
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list([{"prompt": "one", "thought": "They want it.", "response": "Blue."}])
    DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "split"))
    DatasetDict({"test": rows}).save_to_disk(str(tmp_path / "other"))
    assert [one.response for one in read_lessons(str(tmp_path / "split"))] == ["Blue."]
    with pytest.raises(ValueError, match="expected a split `train`, found test"):
        list(read_lessons(str(tmp_path / "other")))


def test_the_estimate_is_prompts_times_tokens_times_prices():
    about = estimate(asked(1, 2), 1000)
    assert (about.prompts, about.completion_tokens) == (2, 2000)
    read = sum(len(words(n)) // 4 + len(INSTRUCTIONS) // 4 for n in (1, 2))
    assert about.prompt_tokens == read
    assert about.cost(Prices(1.0, 4.0)) == pytest.approx((read + 2000 * 4) / 1e6)


def test_the_command_says_what_it_costs_before_and_counts_it(tmp_path, api):
    teacher = api(lambda text: says(GOOD if text != words(2) else "Blue."))
    mix, out = tmp_path / "mix.jsonl", tmp_path / "lessons"
    talk = [*prompt(9), {"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]
    mix.write_text("".join(json.dumps({"messages": each}) + "\n" for each in (*asked(1, 2, 3), talk)))
    command = [sys.executable, "-m", "cli.main", "teach", str(mix), str(out), "--url", teacher.url, "--model", "m",
               "--key-variable", "MY_KEY", "--price-completion", "1000", "--mean-tokens", "500"]  # fmt: skip
    env = os.environ | {"MY_KEY": "k", "RUMINATE_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 prompts to ask, 1 known already" in done.stderr
    assert f"2 examples in {out} (dropped in all: not single-turn 1, stray tags 1)" in done.stdout
    assert "1,500 to write, which costs about 1.50" in done.stderr
    assert "3 of 3: kept 2; dropped: stray tags 1; 150 tokens read, 300 written, cost 0.30" in done.stderr
    assert teacher.keys == {"Bearer k"}
    assert len(list(read_mix(out))) == 2  # its prompts are a mix like any other
    again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 2
    assert "exists" in again.stderr
