"""A month as days: who talks on which of them, what was measured, and what it comes to. Serves and trains nothing."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.learning import pooling
from bench.learning.notes import Notes
from models.world.users import Talk, users, week_of

DAYS = 7


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


class Diary(Notes):
    """What is done of one month: a line of JSON with its settings, and one for each day and each round."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        super().__init__(path, {"week": -1, **settings})

    def has(self, what: str, week: int, day: int | None = None) -> bool:
        """Whether this day ("day") or this week's round ("round") is done."""
        return self.find(what=what, week=week, day=day) is not None

    def write(self, what: str, week: int, day: int | None = None, **found: Any) -> None:
        """Note that it is done, with what was found."""
        self.add({"what": what, "week": week, **({} if day is None else {"day": day}), **found})

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
    """Gold of both models and their difference, over a day of each seed."""
    found = pooling.pooled([day["frozen"] for day in days], [day["served"] for day in days])
    return {"served": found.pop("after"), "frozen": found.pop("before"), **found}


def week_of_days(months: Sequence[Diary], week: int) -> dict[str, float] | None:
    """The same over all days of a week; None where no month has any."""
    found = []
    for month in months:
        days = [day for day in month.days() if day["week"] == week]
        if days:
            found.append({name: [x for day in days for x in day[name]] for name in ("served", "frozen")})
    return pooled(found) if found else None
