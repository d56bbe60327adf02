"""Prompts as plain values: where they come from, when two are the same, and which are held out for good."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Messages = list[dict[str, Any]]
BUCKETS = 10_000  # resolution of the held-out share


@dataclass(frozen=True)
class Prompt:
    """A conversation up to a user's message, thoughts of earlier turns removed. Ids are None for the base mix."""

    messages: Messages
    source: str  # recorded | mix
    message_id: str | None = None
    conversation_id: str | None = None
    user_id: str | None = None
    day: str | None = None  # on which it was asked
    pictures: bool = False  # whether something else than text was asked as well, which `messages` leave out


def text_of(message: dict[str, Any]) -> str:
    """A message's text; of content in parts, the text parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")


def has_pictures(messages: Messages) -> bool:
    """Whether a message holds other parts than text."""
    contents = [message["content"] for message in messages if isinstance(message.get("content"), list)]
    return any(part.get("type") != "text" for content in contents for part in content)


def normalised(text: str) -> str:
    """Letters and digits only, lower case: so that case, spacing and punctuation don't make a new prompt."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", folded))


def identity(messages: Messages) -> str:
    """Equal for prompts that say the same, turn for turn."""
    said = [[message["role"], normalised(text_of(message))] for message in messages]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def root(messages: Messages) -> str:
    """Equal for all branches and retries of a conversation: its normalised first user message, hashed."""
    first = next((text_of(message) for message in messages if message["role"] == "user"), "")
    return hashlib.sha256(normalised(first).encode()).hexdigest()


def is_heldout(messages: Messages, share: float) -> bool:
    """Whether this conversation is held out: for good, since it hangs on its first message alone.

    Raising the share adds conversations to the held-out ones and takes none away.
    """
    return int(root(messages)[:12], 16) % BUCKETS < share * BUCKETS


def read_mix(name: str | Path) -> Iterator[Prompt]:
    """The prompts of a file, of a folder written by `save_to_disk`, or of a hub's data set, in their order.

    jsonl with `messages`; parquet, a folder, or the split `train` of a data set, with `messages` or `prompt` (text or
    messages).
    Raises ValueError, naming the file and the line or column, when it is neither.
    """
    path = Path(name)
    if not path.exists():
        yield from _read_hub(str(name))
        return
    if path.is_dir():
        yield from _read_folder(path)
        return
    if path.suffix == ".parquet":
        yield from _read_parquet(path)
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    messages = json.loads(line)["messages"]
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(f"{path}, line {number}: expected an object with `messages` ({error!r})") from None
                yield Prompt(up_to_user(messages), "mix")


def up_to_user(messages: Messages) -> Messages:
    """The messages without what follows the last user's, as `role` and text only."""
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
    return [{"role": message["role"], "content": text_of(message)} for message in messages[: last + 1]]


def _read_parquet(path: Path) -> Iterator[Prompt]:
    from pyarrow import parquet  # only who sets a parquet file pays for the import

    file = parquet.ParquetFile(path)
    column = _column(str(path), file.schema_arrow.names)
    for batch in file.iter_batches(columns=[column]):
        for value in batch.column(0).to_pylist():
            yield _from_cell(value)


def _read_hub(name: str) -> Iterator[Prompt]:
    from datasets import load_dataset  # only who names a hub's data set pays for the import

    yield from _read_table(name, load_dataset(name, split="train"))


def _read_folder(path: Path) -> Iterator[Prompt]:
    from datasets import DatasetDict, load_from_disk

    table = load_from_disk(str(path))
    if isinstance(table, DatasetDict):
        if "train" not in table:
            raise ValueError(f"{path}: expected a split `train`, found {', '.join(table)}")
        table = table["train"]
    yield from _read_table(str(path), table)


def _read_table(source: str, table: Any) -> Iterator[Prompt]:
    for value in table[_column(source, table.column_names)]:
        yield _from_cell(value)


def _column(source: str, names: list[str]) -> str:
    column = next((name for name in ("messages", "prompt") if name in names), None)
    if column is None:
        raise ValueError(f"{source}: expected a column `messages` or `prompt`, found {', '.join(names)}")
    return column


def _from_cell(value: str | Messages) -> Prompt:
    return Prompt(up_to_user([{"role": "user", "content": value}] if isinstance(value, str) else value), "mix")
