"""A month as days: who talks on which of them, what was measured, and what it comes to. Serves and trains nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.world.users import Talk, users, week_of

DAYS = 7
RESAMPLES = 10_000


def talks_of(people: int, week: int, day: int, seed: int, conversations: int) -> list[Talk]:
    """The talks of one day: a week's talks of everybody, dealt out to its days in turn."""
    everyone = users(people, seed)
    week_long = [talk for user in everyone for talk in week_of(user, week, seed, conversations)]
    return week_long[day::DAYS]


def prompts_in(said: Sequence[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """Every prompt of a conversation that was held: the messages up to each of the user's."""
    for place, message in enumerate(said):
        if message["role"] == "user":
            yield list(said[: place + 1])


class Diary:
    """What is done of one month: a line of JSON with its settings, and one for each day and each round.

    A month that was cut off goes on from it. Raises ValueError where it was begun with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path, first = path, {"what": "settings", "week": -1, **settings}
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.entries: list[dict[str, Any]] = [json.loads(line) for line in lines] or [first]
        if self.entries[0] != first:
            raise ValueError(f"{path} was begun with {self.entries[0]}, and now it is {first}; choose another --out")

    def has(self, what: str, week: int, day: int | None = None) -> bool:
        """Whether this day ("day") or this week's round ("round") is done."""
        return any((one["what"], one["week"], one.get("day")) == (what, week, day) for one in self.entries)

    def write(self, what: str, week: int, day: int | None = None, **found: Any) -> None:
        """Note that it is done, with what was found."""
        entry = {"what": what, "week": week, **({} if day is None else {"day": day}), **found}
        self.entries.append(entry)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_name(f".{self._path.name}.aside")
        aside.write_text("".join(json.dumps(one) + "\n" for one in self.entries), encoding="utf-8")
        aside.replace(self._path)

    def days(self) -> list[dict[str, Any]]:
        """The measured days, in order: `served` and `frozen` hold the gold of each prompt."""
        found = [one for one in self.entries if one["what"] == "day"]
        return sorted(found, key=lambda one: (one["week"], one["day"]))

    def rounds(self) -> list[dict[str, Any]]:
        """The rounds, in order."""
        return sorted((one for one in self.entries if one["what"] == "round"), key=lambda one: one["week"])


def curve(months: Sequence[Diary]) -> list[dict[str, Any]]:
    """Per day: gold of the served and the frozen model and their difference with a 95 % interval, over all seeds.

    Only days that every month has. Seeds count alike, however many prompts a day of theirs had.
    """
    by_day: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for month in months:
        for entry in month.days():
            by_day.setdefault((entry["week"], entry["day"]), []).append(entry)
    return [
        {"week": week, "day": day, **pooled(found)}
        for (week, day), found in sorted(by_day.items())
        if len(found) == len(months)
    ]


def pooled(days: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means over seeds of the means over prompts; the interval by a bootstrap over seeds, then over their prompts.

    With few seeds it is too narrow rather than too wide; three are what the machine allows.
    """
    dice = np.random.default_rng(0)
    gaps = [np.array(day["served"]) - np.array(day["frozen"]) for day in days]
    drawn = np.stack([gap[dice.integers(0, len(gap), (RESAMPLES, len(gap)))].mean(1) for gap in gaps])
    seeds = dice.integers(0, len(gaps), (len(gaps), RESAMPLES))
    means = np.take_along_axis(drawn, seeds, axis=0).mean(0)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "served": round(float(np.mean([np.mean(day["served"]) for day in days])), 4),
        "frozen": round(float(np.mean([np.mean(day["frozen"]) for day in days])), 4),
        "difference": round(float(np.mean([gap.mean() for gap in gaps])), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def week_of_days(months: Sequence[Diary], week: int) -> dict[str, float] | None:
    """The same over all days of a week; None where no month has any."""
    found = []
    for month in months:
        days = [day for day in month.days() if day["week"] == week]
        if days:
            found.append({name: [x for day in days for x in day[name]] for name in ("served", "frozen")})
    return pooled(found) if found else None
