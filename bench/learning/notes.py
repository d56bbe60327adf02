"""What an experiment has done so far, on disk: an experiment that was cut off goes on from it. Knows no experiment."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Notes:
    """A file of JSON lines: the experiment's settings, then one line for each piece of work that is done.

    Raises ValueError where it was begun with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path, first = path, {"what": "settings", **settings}
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.entries: list[Entry] = [json.loads(line) for line in lines] or [first]
        if self.entries[0] != first:
            raise ValueError(f"{path} was begun with {self.entries[0]}, and now it is {first}; choose another --out")

    def all(self, **key: Any) -> list[Entry]:
        """The lines that have these values, in the order in which they were written; None: that lack the name."""
        return [one for one in self.entries if all(one.get(name) == value for name, value in key.items())]

    def find(self, **key: Any) -> Entry | None:
        """The first of them; None where there is none."""
        return next(iter(self.all(**key)), None)

    def add(self, entry: Entry) -> Entry:
        """Note this piece of work. The file is whole at any time."""
        self.entries.append(entry)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_name(f".{self._path.name}.aside")
        aside.write_text("".join(json.dumps(one) + "\n" for one in self.entries), encoding="utf-8")
        aside.replace(self._path)
        return entry
