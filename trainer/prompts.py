"""Prompts as plain values: where they come from, when two are the same, and which are held out for good."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex

from thinking.format import ZERO

Messages = list[dict[str, Any]]
BUCKETS = 10_000  # resolution of the held-out share
FILES = (".jsonl", ".json", ".parquet")
WORDS_AND_SIGNS = regex.compile(
    r"[\w\p{M}]+"  # with the vowel signs of Hindi or Thai, without which its words are others
    r"|[\p{S}--[`´¨]]"  # < + = $ and emoji
    r"|(?<=\d\s*)[-–−*/%]|[-–−*/%](?=\s*\d)",  # between figures, where they are no punctuation
    regex.VERSION1,
)
COLUMNS = ("messages", "prompt")  # where a row may have what was asked; the first of them that is there counts


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
    """Letters and digits only, lower case. For good, flaws included: which prompts are held out hangs on it. It takes
    7 - 5 for 7 + 5, which only puts both on one side; `words_of` tells them apart."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", folded))


def words_of(text: str) -> list[str]:
    """Its words, lower case, and the signs without which something else would be asked: case, spacing and punctuation
    don't make a new prompt."""
    return WORDS_AND_SIGNS.findall(unicodedata.normalize("NFKC", text).casefold())


def identity(messages: Messages) -> str:
    """Equal for prompts that say the same, turn for turn."""
    said = [[message["role"], " ".join(words_of(text_of(message)))] for message in messages]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def wording(messages: Messages) -> str:
    """Equal for prompts of the same words and signs alone, case, spacing and punctuation included."""
    said = [[message["role"], text_of(message)] for message in messages]
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

    jsonl, parquet, a folder, or the split `train` of a data set, with `messages` or `prompt` (text or messages; a null
    is a prompt without words). Raises ValueError, naming the file and the line or column, when it is neither.
    """
    return (Prompt(row["messages"], "mix") for _, row in read_rows(name))


def read_rows(name: str | Path, more: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of what `read_mix` reads, each with where it stands: `messages`, and those of `more` that it has."""
    path = Path(name)
    if not path.exists():
        if path.suffix in FILES or len(path.parts) != 2:
            raise ValueError(f"{name}: there is no such file or folder (a hub's data set is named owner/name)")
        from datasets import load_dataset  # only who names a hub's data set pays for the import

        return _table_rows(str(name), load_dataset(str(name), split="train"), more)
    if path.is_dir():
        return _table_rows(str(path), saved_table(path), more)
    return _parquet_rows(path, more) if path.suffix == ".parquet" else _json_rows(path, more)


def up_to_user(messages: Messages) -> Messages:
    """The messages without what follows the last user's, as `role` and text only; thoughts are cut out of answers."""
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
    return [{"role": message["role"], "content": _said(message)} for message in messages[: last + 1]]


def answered(text: str) -> str:
    """An assistant's text without a thought that stands in it, as clients send it back that know no reasoning field.

    A thought is at the beginning, closed; one that was never closed leaves nothing, and one whose opening the template
    had written begins at once. Tags in the middle of a text are what it is about.
    """
    start = text.lstrip()
    opened = start.startswith(ZERO.open)
    before, closed, after = start.partition(ZERO.close)
    if opened and not closed:
        return ""
    if not closed or (not opened and ZERO.open in before):
        return text
    return after.strip().removeprefix(ZERO.response_open or "").removesuffix(ZERO.response_close or "").strip()


def _said(message: dict[str, Any]) -> str:
    text = text_of(message)
    return answered(text) if message["role"] == "assistant" else text


def _json_rows(path: Path, more: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                where = f"{path}, line {number}"
                try:
                    row = json.loads(line)
                    column = next(name for name in COLUMNS if name in row)
                except (ValueError, TypeError, StopIteration) as error:
                    raise ValueError(f"{where}: expected an object with `messages` or `prompt` ({error!r})") from None
                yield where, _from_row(where, row, column, [name for name in more if name in row])


def _parquet_rows(path: Path, more: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    from pyarrow import parquet  # only who sets a parquet file pays for the import

    file = parquet.ParquetFile(path)
    names = file.schema_arrow.names
    column, beside = _column(str(path), names), [name for name in more if name in names]
    number = 0
    for batch in file.iter_batches(columns=[column, *beside]):
        for row in batch.to_pylist():
            number += 1
            where = f"{path}, row {number}"
            yield where, _from_row(where, row, column, beside)


def saved_table(path: Path) -> Any:
    """The table that `save_to_disk` wrote; of several splits, `train`. Raises ValueError where there is none."""
    from datasets import DatasetDict, load_from_disk

    table = load_from_disk(str(path))
    if isinstance(table, DatasetDict):
        if "train" not in table:
            raise ValueError(f"{path}: expected a split `train`, found {', '.join(table)}")
        table = table["train"]
    return table


def _table_rows(source: str, table: Any, more: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    column, beside = _column(source, table.column_names), [name for name in more if name in table.column_names]
    for number, row in enumerate(table.select_columns([column, *beside]), 1):
        where = f"{source}, row {number}"
        yield where, _from_row(where, row, column, beside)


def _column(source: str, names: list[str]) -> str:
    column = next((name for name in COLUMNS if name in names), None)
    if column is None:
        raise ValueError(f"{source}: expected a column `messages` or `prompt`, found {', '.join(names)}")
    return column


def _from_row(where: str, row: dict[str, Any], column: str, beside: Sequence[str]) -> dict[str, Any]:
    asked: str | Messages | None = row[column]
    try:
        messages = up_to_user([{"role": "user", "content": asked}] if isinstance(asked, str) else asked or [])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{where}: expected `{column}` as text or messages with role and content ({error!r})"
        ) from None
    return {"messages": messages} | {name: row[name] for name in beside}
