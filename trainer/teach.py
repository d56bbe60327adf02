"""A teacher's thoughts and responses, for a warm start: asks a model over any OpenAI-compatible API, prompt by prompt.

As in the paper (arXiv 2509.20357) the teacher plans in think tags and answers in response tags, and does not say that
it was asked to plan. A model that thinks by itself, behind a server that keeps its thought apart, is taken as it is.
What came is appended to a file, synced line by line, so that a run that ends anywhere goes on where it was and asks
for nothing twice. What can't be learnt from is dropped, and counted by reason.
"""

import fcntl
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx

from thinking.format import ZERO
from trainer.files import fresh_folder, publish_folder
from trainer.language import surely_other
from trainer.llm_judge import Prices
from trainer.prompts import Messages, text_of, wording
from trainer.refusals import declines
from trainer.remote import REFUSED_ONE, RemoteError, call, connection

INSTRUCTIONS = (
    "Before you respond, plan: what is asked for, what it needs, what could go wrong, how to order and word it. Write "
    "exactly this and nothing around it:\n"
    "<think>\nyour plan, in your own words\n</think>\n<response>\nyour response to the user\n</response>\n"
    "The response is all that the user sees. It stands for itself: it does not mention the plan, the tags, or that you "
    "were asked to plan. Plan and respond in the language of the user."
)
CHARACTERS_PER_TOKEN = 4  # of English, about: for an estimate before any answer has come
PATIENCE = 60.0  # seconds: somebody may be looking on, and the same command goes on where this one ended
REFUSED = "the server refused it"
FIRST = 16  # refused one after another from the start: it is not the prompts
BEGINS = b'{"prompt": "'
"""A row in the file of answers, before the hash of its prompt."""
NAME = 64  # its digits
TAGS = re.compile(r"</?(?:think|thinking|response|answer|plan)\s*>", re.I)
LET_SLIP = re.compile(
    r"\b(?:(?:my|the) (?:plan|thinking) (?:above|tags?)|asked to (?:plan|think)|as planned above)\b", re.I
)


@dataclass(frozen=True)
class Teacher:
    """Who is asked, and how. `extra`: further fields of each request."""

    url: str
    model: str
    key: str = ""
    connections: int = 8
    max_tokens: int = 4096
    temperature: float | None = None
    extra: tuple[tuple[str, Any], ...] = ()
    languages: str = "en"
    """Codes with commas; answers surely in others are dropped."""

    @property
    def terms(self) -> dict[str, Any]:
        """What an answer, and whether it is kept, hangs on."""
        return {name: getattr(self, name) for name in ("model", "max_tokens", "temperature", "languages")}


@dataclass
class Told:
    """Where a run is: examples kept, why others were dropped, and what the answers used."""

    kept: int
    left: Counter[str]
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def cost(self, prices: Prices) -> float:
        """Of this run's answers."""
        return (self.prompt_tokens * prices.prompt + self.completion_tokens * prices.completion) / 1e6


@dataclass(frozen=True)
class Estimate:
    """What is still to be asked, and about what it will use."""

    prompts: int
    prompt_tokens: int
    completion_tokens: int

    def cost(self, prices: Prices) -> float:
        """In the prices' currency."""
        return (self.prompt_tokens * prices.prompt + self.completion_tokens * prices.completion) / 1e6


class Answers:
    """The file of answers: one line for each prompt that was asked or looked at, by the hash of its words; the last one
    counts.

    For one run at a time, from before it is read until it is closed, as a context manager or else. Raises ValueError
    where another run has it, or it is another file, which stays as it is.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._lock, self._file = path, threading.Lock(), path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.rows: dict[str, dict[str, Any]] = {row["prompt"]: row for row in self._read()}
        except BlockingIOError:
            self._file.close()
            raise ValueError(f"another run writes {path}; wait for it, or choose another folder") from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other runs have the file."""
        self._file.close()

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; it is on disk when this returns."""
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        with self._lock:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self.rows[row["prompt"]] = row

    def _read(self) -> Iterator[dict[str, Any]]:
        whole = self._path.read_bytes()
        end = whole.rfind(b"\n") + 1
        lines = whole[:end].splitlines()
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                row["prompt"]
                if "left" not in row and not {"messages", "thought", "response"} <= row.keys():
                    raise ValueError("neither an example nor why there is none")
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self._path}, line {number}: no row of a teacher's answers ({error!r})") from None
            yield row
        if end < len(whole):
            if not _cut_off(whole[end:]):
                raise ValueError(
                    f"{self._path}, line {len(lines) + 1}: no row of a teacher's answers, nor one that was cut off"
                )
            os.truncate(self._path, end)  # a run was killed within a line


def _cut_off(line: bytes) -> bool:
    """Whether it may be the beginning of a row that was written here."""
    begins, name = line[: len(BEGINS)], line[len(BEGINS) : len(BEGINS) + NAME]
    return BEGINS.startswith(begins) and re.fullmatch(rb"[0-9a-f]*", name) is not None


def to_ask(prompts: Iterable[Messages], answers: Answers, teacher: Teacher) -> list[Messages]:
    """The prompts that have no row yet, each once, and those that were refused, or dropped on other terms than this
    teacher's. What is no single turn gets a row without being asked.

    Raises ValueError where another model's answers were kept.
    """
    others = Counter(row["asked"]["model"] for row in answers.rows.values() if "asked" in row and "left" not in row)
    del others[teacher.model]
    if others:
        told = ", ".join(f"{count} of {name!r}" for name, count in sorted(others.items()))
        raise ValueError(
            f"answers of another teacher are kept there ({told}), and {teacher.model!r} is to be asked now; choose "
            f"another folder, or the same model"
        )
    left, seen = [], {name for name, row in answers.rows.items() if not _open_again(row, teacher)}
    for messages in prompts:
        name = name_of(messages)
        if name in seen:
            continue
        seen.add(name)
        if len(messages) != 1 or messages[0]["role"] != "user" or not text_of(messages[0]).strip():
            answers.add({"prompt": name, "left": "not single-turn"})
        else:
            left.append(messages)
    return left


def _open_again(row: dict[str, Any], teacher: Teacher) -> bool:
    """Whether it was refused, which cost nothing and may have been the server's or the command's fault, or dropped on
    other terms, such as a lower limit of tokens."""
    why = row.get("left", "")
    return why.startswith(REFUSED) or bool(why and "asked" in row and row["asked"] != teacher.terms)


def estimate(prompts: Sequence[Messages], mean_tokens: int) -> Estimate:
    """About what asking them uses; `mean_tokens`: of an answer, its thought included."""
    fixed = len(INSTRUCTIONS) // CHARACTERS_PER_TOKEN
    read = sum(len(text_of(messages[0])) // CHARACTERS_PER_TOKEN + fixed for messages in prompts)
    return Estimate(len(prompts), read, len(prompts) * mean_tokens)


def teach(
    teacher: Teacher,
    prompts: Sequence[Messages],
    answers: Answers,
    tell: Callable[[Told], None] = lambda told: None,
) -> Told:
    """Ask all of them, `connections` at once. `tell` hears of each answer.

    Raises RemoteError where the server refuses everybody, or each of the first FIRST prompts, or is gone for too long;
    what came by then is kept.
    """
    told, refused = Told(0, Counter()), 0
    with connection(teacher.url, teacher.key, 600.0) as http:

        def ask(messages: Messages) -> dict[str, Any]:
            row = _row(http, teacher, messages)
            answers.add(row)  # by whoever asked: what is under way when a run is broken off is kept as well
            return row

        with closing(_in_parallel(ask, prompts, teacher.connections)) as rows:
            for row in rows:
                usage = row.get("usage") or {}
                told.prompt_tokens += usage.get("prompt_tokens") or 0
                told.completion_tokens += usage.get("completion_tokens") or 0
                if "left" in row:
                    told.left[row["left"]] += 1
                    refused += "said" in row
                    if refused == FIRST == told.kept + told.left.total():
                        raise RemoteError(
                            f"each of the first {FIRST} prompts was refused, the newest so: {row['said']}"
                        )
                else:
                    told.kept += 1
                tell(told)
    return told


def as_folder(answers: Answers, folder: Path) -> int:
    """Write the examples that were kept as a `datasets` folder, which `teacher_data` takes. Returns how many.

    Raises FileExistsError where the folder is there, ValueError where nothing was kept.
    """
    from datasets import Dataset

    kept = [row for row in answers.rows.values() if "left" not in row]
    if not kept:
        said = next((f"; its server said: {row['said']}" for row in answers.rows.values() if "said" in row), "")
        raise ValueError(f"no example was kept: see the reasons, and the teacher's model and settings{said}")
    rows = [{name: row[name] for name in ("messages", "thought", "response")} for row in kept]
    aside = fresh_folder(folder.with_name(f".{folder.name}.aside"))
    Dataset.from_list(rows).save_to_disk(str(aside))
    publish_folder(aside, folder)
    return len(rows)


def judged(choice: dict[str, Any], languages: str) -> dict[str, str]:
    """`thought` and `response` of an API's answer; or `left`, why it is dropped."""
    message = choice.get("message") or {}
    said = text_of(message)
    if choice.get("finish_reason") == "length":
        return {"left": "cut off"}
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":  # the server tells it apart
        return {"left": "a refusal"}
    apart = message.get("reasoning") or message.get("reasoning_content") or ""
    if ZERO.open in said or not apart:
        found = re.fullmatch(r"\s*<think>(.*?)</think>\s*<response>(.*?)</response>\s*", said, re.S)
        if found is None:
            return {"left": "a refusal" if declines(said) else "stray tags"}
        thought, response = (part.strip() for part in found.groups())
    else:  # it thinks by itself
        thought = apart.strip()
        response = said.strip().removeprefix("<response>").removesuffix("</response>").strip()
    if not thought or not response or TAGS.search(thought) or TAGS.search(response):
        return {"left": "stray tags"}
    if declines(response):
        return {"left": "a refusal"}
    if LET_SLIP.search(response):
        return {"left": "says that planning was asked for"}
    if surely_other(thought, languages) or surely_other(response, languages):
        return {"left": "another language"}
    return {"thought": thought, "response": response}


def name_of(messages: Messages) -> str:
    """A prompt's hash: of its roles and exact words."""
    return wording(messages)


def _row(http: httpx.Client, teacher: Teacher, messages: Messages) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": teacher.model,
        "messages": [{"role": "system", "content": INSTRUCTIONS}, *messages],
        "max_tokens": teacher.max_tokens,
        **({} if teacher.temperature is None else {"temperature": teacher.temperature}),
        **dict(teacher.extra),
    }
    name = name_of(messages)
    try:
        reply = call(http, "/chat/completions", body, patience=PATIENCE)
    except RemoteError as error:
        if error.status not in REFUSED_ONE:
            raise
        return {"prompt": name, "left": f"{REFUSED} ({error.status})", "said": str(error), "asked": teacher.terms}
    choices = reply.get("choices") or [{}]
    found = judged(choices[0], teacher.languages)
    kept = {} if "left" in found else {"messages": messages}
    return {"prompt": name, **kept, **found, "asked": teacher.terms, "usage": reply.get("usage") or {}}


def _in_parallel(
    work: Callable[[Messages], dict[str, Any]], items: Sequence[Messages], at_once: int
) -> Generator[dict[str, Any]]:
    """Results as they come, never more than `at_once` under way.

    After an error, or when it is closed, no more is begun, and what is under way is waited for.
    """
    left = iter(items)
    pool = ThreadPoolExecutor(at_once)
    try:
        under_way: set[Future[dict[str, Any]]] = {pool.submit(work, one) for one in islice(left, at_once)}
        error: BaseException | None = None
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                error = error or future.exception()
                if future.exception() is None:
                    yield future.result()
            if error is None:
                under_way |= {pool.submit(work, one) for one in islice(left, len(done))}
        if error is not None:
            raise error
    finally:
        pool.shutdown(cancel_futures=True)
