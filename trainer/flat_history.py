"""Prompts whose samples always earned the same: in which rounds, so that curation can leave them out.

One file in the home, HOME/flat.json. A prompt of the mix goes by the hash of its words, a person's by its message's id,
so that no trace of what somebody wrote outlives the record. A group that differed once takes its prompt off the list;
one without a single well-formed sample says nothing about its prompt.
"""

from collections.abc import Iterable
from pathlib import Path

from trainer.files import read_json, write_json
from trainer.prompts import Prompt, identity

FILE = "flat.json"


class FlatHistory:
    """The list of one home."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE

    def rounds(self) -> dict[str, list[int]]:
        """By a prompt's name, the rounds in which its samples earned all the same; none that ever differed."""
        return read_json(self._file) if self._file.is_file() else {}

    def note(self, round_id: int, groups: Iterable[tuple[Prompt, bool]]) -> None:
        """What a step of a round saw: prompts, and whether their groups were flat. A step done again may note again."""
        known = self.rounds()
        before = {name: list(seen) for name, seen in known.items()}
        for prompt, is_flat in groups:
            name = name_of(prompt)
            if not is_flat:
                known.pop(name, None)
            elif round_id not in known.get(name, []):
                known[name] = [*known.get(name, []), round_id]
        if known != before:
            write_json(self._file, known)


def name_of(prompt: Prompt) -> str:
    """Under which a prompt is listed."""
    return prompt.message_id or identity(prompt.messages)
