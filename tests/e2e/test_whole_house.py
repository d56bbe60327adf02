"""One house, from the first question to a better model: chat, record, train, swap, roll back, end.

Everything is real: the engine, the gateway, the trainer, the page in Chromium, the embedded models. The steps build on
each other, as a day with the house does, so they are one test with named stages.
"""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import OpenAI
from sqlalchemy import create_engine, text
from support.components import require_component
from support.house import RunningHouse, running_house

CLIENTS = 8
PROMPTS = Path(__file__).parents[2] / "models" / "tiny" / "prompts"
CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def prompts(name: str, count: int) -> list[list[dict[str, str]]]:
    lines = (PROMPTS / f"{name}.jsonl").read_text().splitlines()[:count]
    return [json.loads(line)["messages"] for line in lines]


@dataclass
class Answer:
    """One greedy answer as a client saw it."""

    prompt: int
    model: str
    reasoning: str
    content: str
    error: str | None = None
    models: set[str] = field(default_factory=set)


def ask(client: OpenAI, model: str, messages: list[Any], number: int, **extra: Any) -> Answer:
    """Stream one greedy answer; every chunk must name the same checkpoint."""
    reasoning = content = ""
    models: set[str] = set()
    stream = client.chat.completions.create(
        model=model, messages=messages, stream=True, temperature=0, max_tokens=300, extra_body=extra
    )
    for chunk in stream:
        models.add(chunk.model)
        if chunk.choices:
            delta = chunk.choices[0].delta
            reasoning += getattr(delta, "reasoning", None) or ""
            content += delta.content or ""
    return Answer(number, min(models), reasoning, content, models=models)


class Crowd:
    """Clients that stream without pause until told to stop, and keep every answer and every error."""

    def __init__(self, base_url: str, questions: list[list[dict[str, str]]]) -> None:
        self.answers: list[Answer] = []
        self.errors: list[str] = []
        self._questions = questions
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._stream, args=(base_url, n)) for n in range(CLIENTS)]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=120)

    def _stream(self, base_url: str, number: int) -> None:
        client = OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=120)
        while not self._stop.is_set():
            number = (number + 1) % len(self._questions)
            try:
                self.answers.append(ask(client, "ruminate", self._questions[number], number, store=False))
            except Exception as error:  # noqa: BLE001 - any failure of any kind is what this test counts
                self.errors.append(f"{type(error).__name__}: {error}")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    # a short round and a lenient gate: whether a round is good is shown elsewhere, here it is to be published
    settings = {
        "trainer_nice": 0,  # eight clients without a pause would leave a trainer that gives way next to nothing
        "trainer_steps": 8,
        "trainer_group_size": 4,
        "trainer_learning_rate": 0.004,  # far in few steps
        "trainer_gate_prompts": 48,
        "trainer_gate_samples": 2,
        "trainer_gate_confidence": 0.51,
        "trainer_gate_min_transfer": 0,
        "trainer_gate_max_malformed": 1,
        "trainer_gate_max_length_ratio": 5,
        "trainer_gate_max_empty": 1,
        "trainer_gate_max_repetition": 1,
        "trainer_gate_max_kl": 100,
    }
    with running_house(tmp_path_factory.mktemp("house"), **settings) as house:
        yield house


@pytest.mark.timeout(2400)
def test_the_loop_closes(house: RunningHouse) -> None:
    client = OpenAI(base_url=f"{house.gateway}/v1", api_key="none", max_retries=0, timeout=120)
    chat_through_the_sdk(house, client)
    chat_through_the_page(house)
    find_the_turns(house)
    new = train_while_people_chat(house, client)
    roll_back(house, client, new)
    survive_a_dead_engine(house, client, new)
    end_without_a_trace(house)


def chat_through_the_sdk(house: RunningHouse, client: OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"ruminate", "ruminate-v0"} <= names
    for messages in prompts("train", 12):
        whole = client.chat.completions.create(model="ruminate", messages=messages, max_tokens=300)  # type: ignore[arg-type]
        message = whole.choices[0].message
        assert whole.model == "ruminate-v0"
        assert message.content
        assert getattr(message, "reasoning", None)
        assert "<think>" not in message.content + message.reasoning  # type: ignore[attr-defined]
    done = house.ruminate("chat", "Plan three dinners for two, no nuts.")
    assert done.returncode == 0, done.stderr
    assert "— ruminate-v0" in done.stdout


def chat_through_the_page(house: RunningHouse) -> None:
    require_component(CHROMIUM.exists(), "chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)
        page = browser.new_page()
        page.goto(house.ui)
        page.wait_for_function("() => window.ruminate?.me?.consent", timeout=60_000)  # its scripts have started
        page.locator("#message").fill("Write a short story about a lighthouse keeper.")
        page.locator("#message").press("Enter")
        written = page.locator(".row.assistant:not(.live)").first
        written.wait_for(timeout=60_000)
        assert "ruminate-v0" in written.locator(".by").inner_text()
        assert len(written.inner_text()) > 40
        browser.close()


def rows(house: RunningHouse, query: str) -> list[Any]:
    engine = create_engine(f"sqlite:///{house.home / 'ruminate.db'}")
    try:
        with engine.connect() as connection:
            return list(connection.execute(text(query)))
    finally:
        engine.dispose()


def find_the_turns(house: RunningHouse) -> None:
    found = rows(
        house,
        "select g.reasoning, g.response, g.ending, g.completion_tokens, c.name, g.consent, g.origin"
        " from generations g join checkpoints c on c.id = g.checkpoint_id where g.origin in ('chat', 'api')",
    )
    assert len(found) >= 14
    assert {row.name for row in found} == {"v0"}
    assert all(row.response and row.completion_tokens > 0 for row in found if row.ending == "complete")
    assert sum(row.ending == "complete" for row in found) >= 12


def train_until_published(house: RunningHouse) -> str:
    """Rounds so short may end a hair below zero even at a lenient gate; that is no fault, and another one is run."""
    for seed in (1, 2, 3):
        done = house.ruminate("train", "--now", "--json", "--seed", str(seed), timeout=1500)
        assert done.returncode in (0, 3), done.stdout + done.stderr + house.printed()
        view = json.loads(done.stdout)
        assert view["state"] == {0: "published", 3: "rejected"}[done.returncode]
        if done.returncode == 0:
            return str(view["candidate"])
    raise AssertionError(f"three rounds were rejected: {view}")


def train_while_people_chat(house: RunningHouse, client: OpenAI) -> str:
    questions = prompts("heldout", 24)
    with Crowd(f"{house.gateway}/v1", questions) as crowd:
        new = train_until_published(house)
        swapped = len(crowd.answers)
        deadline = time.monotonic() + 60
        while len(crowd.answers) < swapped + 4 * CLIENTS:
            assert time.monotonic() < deadline, "nobody got an answer after the swap"
            time.sleep(0.1)
    assert crowd.errors == []
    writers = {answer.model for answer in crowd.answers}
    old, live = "ruminate-v0", f"ruminate-{new}"
    assert writers == {old, live}
    assert all(len(answer.models) == 1 for answer in crowd.answers)
    alone = {
        (model, number): ask(client, model, questions[number], number, store=False)
        for model in sorted(writers)
        for number in {answer.prompt for answer in crowd.answers if answer.model == model}
    }
    mixed = [
        answer
        for answer in crowd.answers
        if (answer.reasoning, answer.content)
        != (alone[answer.model, answer.prompt].reasoning, alone[answer.model, answer.prompt].content)
    ]
    assert mixed == []
    differing = [n for n in range(len(questions)) if (old, n) in alone and (live, n) in alone]
    assert any(alone[old, n].content != alone[live, n].content for n in differing)
    return new


def roll_back(house: RunningHouse, client: OpenAI, new: str) -> None:
    messages: Any = [{"role": "user", "content": "Plan three dinners for two, no nuts."}]
    done = house.ruminate("rollback")
    assert done.returncode == 0, done.stderr
    assert "v0 is live again" in done.stdout
    assert client.chat.completions.create(model="ruminate", messages=messages, max_tokens=300).model == "ruminate-v0"
    assert house.ruminate("promote", new).returncode == 0
    assert (
        client.chat.completions.create(model="ruminate", messages=messages, max_tokens=300).model == f"ruminate-{new}"
    )
    status = json.loads(house.ruminate("status", "--json").stdout)
    assert status["live"]["name"] == new
    assert status["previous"] == "v0"


def survive_a_dead_engine(house: RunningHouse, client: OpenAI, new: str) -> None:
    psutil.Process(house.pid_of("engine")).kill()
    messages: Any = [{"role": "user", "content": "Plan three dinners for two, no nuts."}]
    deadline = time.monotonic() + 180
    while True:
        try:
            reply = client.chat.completions.create(model="ruminate", messages=messages, max_tokens=300)
            break
        except Exception:  # noqa: BLE001 - while the engine is away any clear error will do; the wait is bounded
            assert time.monotonic() < deadline, house.printed()
            time.sleep(1)
    assert reply.model == f"ruminate-{new}"  # loaded again before it serves
    assert "engine ended (killed by SIGKILL)" in house.printed().replace("\n", " ")


def end_without_a_trace(house: RunningHouse) -> None:
    children = house.children()
    assert len(children) >= 4
    assert house.stop() < 10
    assert house.process.returncode == 0
    _, alive = psutil.wait_procs(children, timeout=1)
    assert alive == []
