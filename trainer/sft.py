"""Supervised fine-tuning on a teacher's thoughts and responses, the warm start before the others: TRL's SFTTrainer.

The round's prompts are those of the teacher's folder that curation kept; here each gets its answer back, is written in
the policy's own format and tokenized as an engine would see and write it. The loss is on what the policy writes.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.dpo import Record
from trainer.personal import redacted, taken_out
from trainer.policy import policy_of, prompt_ids
from trainer.prompts import Messages, Prompt, saved_table, up_to_user, wording
from trainer.rewards import Reader, RewardModel
from trainer.states import Complete, trained
from trainer.work import TrainingPrompts, Work

log = logging.getLogger(__name__)

METRICS = {"loss": "loss", "grad_norm": "grad_norm", "entropy": "entropy", "mean_token_accuracy": "token_accuracy"}
"""TRL's names and ours."""


@dataclass(frozen=True)
class Lesson:
    """What a teacher thought and answered."""

    messages: Messages
    thought: str
    response: str


class Sft:
    """The algorithm `sft`. It samples nothing and asks no reward model; the gate does both."""

    def train(self, work: Work, prompts: TrainingPrompts, reward: RewardModel) -> Path:
        """Train from the last complete state, or from the parent; returns the folder of the final adapter."""
        return trained(work, lambda states, saved: self._run(work, prompts, states, saved))

    def _run(self, work: Work, prompts: TrainingPrompts, states: Path, saved: Path | None) -> None:
        from trainer.trl_offline import offline_sft, sft_trainer

        rows = tokenized(work, [prompt for _, prompt in prompts.train])
        config = work.config
        if len(rows) < config.prompts_per_step:
            raise ValueError(
                f"{len(rows)} of {len(prompts.train)} lessons fit max_completion_tokens = "
                f"{config.max_completion_tokens} and the format, and a step needs {config.prompts_per_step}; "
                f"raise the limit, or lower prompts_per_step"
            )
        complete = Complete(work)
        trainer = sft_trainer(
            rows,
            model=policy_of(work),
            processing_class=work.reader.tokenizer,
            args=offline_sft(work, states),
            callbacks=[Record(complete, METRICS, {"lessons": float(len(rows))}), complete],
        )
        complete.run(trainer, saved)


def tokenized(work: Work, prompts: list[Prompt]) -> list[dict[str, list[int]]]:
    """Rows of `input_ids` and `labels`, one for each prompt whose lesson can be written and is short enough.

    Raises ValueError where a prompt has no lesson.
    """
    lessons = by_prompt(read_lessons(work.settings.teacher_data))
    rows: list[dict[str, list[int]]] = []
    left = {"with a marker in it": 0, "too long": 0}
    for prompt in prompts:
        lesson = lessons.get(wording(prompt.messages))
        if lesson is None:
            raise ValueError(
                f"teacher_data = {work.settings.teacher_data!r} has no lesson any more for a prompt that this round "
                f"chose when it began; put its rows back, or cancel the round and start another one"
            )
        try:
            answer = completion(work.reader, as_left(lesson, prompt.messages))
        except ValueError:
            left["with a marker in it"] += 1
            continue
        if len(answer) > work.config.max_completion_tokens:
            left["too long"] += 1
            continue
        asked = prompt_ids(work.reader.tokenizer, prompt.messages)
        rows.append({"input_ids": asked + answer, "labels": [-100] * len(asked) + answer})
    log.info("round %d: %d lessons; left out: %s", work.round_id, len(rows), left)
    return rows


def by_prompt(lessons: Iterable[Lesson]) -> dict[str, Lesson]:
    """Lessons by the wording of their prompts: as the teacher was asked, and as curation leaves them."""
    found: dict[str, Lesson] = {}
    for lesson in lessons:
        found[wording(lesson.messages)] = found[wording(redacted(lesson.messages))] = lesson
    return found


def as_left(lesson: Lesson, messages: Messages) -> Lesson:
    """The lesson with its prompt as curation left it: what was taken out there does not stand in the answer, where it
    would be taught as something to say of one's own accord."""
    if wording(messages) == wording(lesson.messages):
        return lesson
    thought, response = lesson.thought, lesson.response
    for text, kind in taken_out(lesson.messages).items():
        thought, response = thought.replace(text, kind), response.replace(text, kind)
    return Lesson(messages, thought, response)


def completion(reader: Reader, lesson: Lesson) -> list[int]:
    """The tokens that the policy is to write, to the end of its turn. Raises ValueError for a marker in the text."""
    text = reader.format.render(lesson.thought, lesson.response)
    tokenizer: Any = reader.tokenizer
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def read_lessons(folder: str) -> Iterator[Lesson]:
    """The rows of a `datasets` folder (`save_to_disk`) or of a jsonl or parquet file.

    Columns: `messages` or `prompt` (text or messages), `thought`, `response`. Raises ValueError where one is missing.
    """
    for row in _rows(folder):
        missing = [name for name in ("thought", "response") if not isinstance(row.get(name), str)]
        asked = row.get("messages") or row.get("prompt")
        if missing or not asked:
            raise ValueError(
                f"{folder}: expected columns `messages` or `prompt`, `thought` and `response`, found {sorted(row)}"
            )
        said = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        yield Lesson(up_to_user(said), row["thought"], row["response"])


def lesson_prompts(folder: str) -> Iterator[Prompt]:
    """What the teacher was asked, for curation. Raises ValueError where no folder is set."""
    if not folder:
        raise ValueError("algorithm = 'sft' needs teacher_data: set it to a folder of thoughts and responses")
    return (Prompt(lesson.messages, "mix") for lesson in read_lessons(folder))


def _rows(folder: str) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    path = Path(folder)
    if path.is_dir():
        yield from saved_table(path)
        return
    kind = "parquet" if path.suffix == ".parquet" else "json"
    yield from load_dataset(kind, data_files=folder, split="train", streaming=True)
