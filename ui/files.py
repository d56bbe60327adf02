"""Text files within a message: one writer and one reader, each the other's inverse.

A file stands before the words, under its name, in a fence longer than any run of backticks inside: the model reads it
as Markdown, the record keeps it with the message, and the page draws it folded.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MOST_CHARACTERS = 400_000  # of all files of a message; what a model takes is far less, and says so itself

_FILE = re.compile(r"File: ([^\n]+)\n(`{3,})\n(.*?)\n\2(?:\n\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class File:
    """A name of one line, and the text."""

    name: str
    text: str


def joined(files: Sequence[File], words: str) -> str:
    """The message: each file, then the words."""
    return "\n\n".join([*map(_block, files), *([words] if words or not files else [])])


def parted(message: str) -> tuple[list[File], str]:
    """The files that a message begins with, and its words."""
    files: list[File] = []
    at = 0
    while found := _FILE.match(message, at):
        files.append(File(found[1], found[3]))
        at = found.end()
    return files, message[at:]


class TooLong(Exception):
    """The files of a message have `size` characters together."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} characters of files; expected up to {MOST_CHARACTERS}")
        self.size = size


def given(asked: object) -> list[File]:
    """Files as the page sends them. Names lose their line breaks. Raises TooLong."""
    files = [
        File(" ".join(str(one.get("name") or "file").split())[:200] or "file", str(one.get("text") or ""))
        for one in (asked if isinstance(asked, list) else [])
        if isinstance(one, dict)
    ]
    size = sum(len(file.text) for file in files)
    if size > MOST_CHARACTERS:
        raise TooLong(size)
    return files


def _block(file: File) -> str:
    longest = max((len(run) for run in re.findall("`+", file.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"File: {file.name}\n{fence}\n{file.text}\n{fence}"
