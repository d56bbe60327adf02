"""When a round starts by itself: so many new prompts, a time of a schedule, or a house that nobody uses.

Settings and rules; `trainer.wake` reads the record and asks for the round.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, Field, field_validator

LATE = timedelta(minutes=10)
"""How long after a time of the schedule its round may still start; one that passed while no trainer ran is gone."""


class TriggerSettings(BaseModel):
    """What makes a round start without anybody asking. All of it is off unless set; a profile may set some."""

    automatic: bool = Field(
        True, description="Whether rounds may start by themselves at all; by hand they always can be started."
    )
    trigger_prompts: int = Field(
        0, ge=0, description="A round starts when so many new prompts may be trained on; 0: never for that reason."
    )
    trigger_schedule: str = Field(
        "", description="A round starts at these times, in cron's five fields such as `0 3 * * *`; empty: none."
    )
    trigger_zone: str = Field(
        "", description="The schedule's time zone, such as `Europe/Berlin`; empty: the machine's own."
    )
    trigger_idle_minutes: float = Field(
        0.0, ge=0, description="A round starts when nobody was answered for so long; 0: never for that reason."
    )
    trigger_min_prompts: int = Field(
        1,
        ge=0,
        description="No round starts by itself with fewer new prompts since the last one, whatever the trigger.",
    )

    @field_validator("trigger_schedule")
    @classmethod
    def _cron(cls, value: str) -> str:
        if value:
            from croniter import CroniterError, croniter

            try:
                if len(value.split()) != 5 and not value.startswith("@"):
                    raise ValueError("it has not five fields")
                # a day that no year has, such as 30 February, is found out by looking for one alone
                croniter(value).get_prev(datetime)
            except (CroniterError, ValueError) as error:
                raise ValueError(
                    f"expected cron's five fields, such as `0 3 * * *` for three at night ({error})"
                ) from None
        return value

    @field_validator("trigger_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        if value:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError("expected the name of a time zone, such as `Europe/Berlin`") from None
        return value

    @property
    def counts_to(self) -> int:
        """How many new prompts matter at most to any trigger."""
        return max(self.trigger_prompts, self.trigger_min_prompts, 1)

    @property
    def any_trigger(self) -> bool:
        """Whether a round can start by itself."""
        return self.automatic and bool(self.trigger_prompts or self.trigger_schedule or self.trigger_idle_minutes)

    @property
    def in_words(self) -> str:
        """When rounds start by themselves, in one sentence."""
        if not self.any_trigger:
            return "rounds start when somebody asks for one"
        reasons = []
        if self.trigger_prompts:
            reasons.append(f"{self.trigger_prompts} new prompts came in")
        if self.trigger_schedule:
            reasons.append(f"the schedule `{self.trigger_schedule}` says so")
        if self.trigger_idle_minutes:
            reasons.append(f"nobody was answered for {self.trigger_idle_minutes:g} minutes")
        least = f", with {self.trigger_min_prompts} new prompts or more" if self.trigger_min_prompts > 1 else ""
        return f"a round starts by itself when {' or '.join(reasons)}{least}"


@dataclass(frozen=True)
class Seen:
    """What the record says. `last`: when the newest round was asked for, None before the first.

    `new`: prompts since then that may be trained on, counted up to `TriggerSettings.counts_to`.
    """

    now: datetime
    last: datetime | None
    new: int
    idle: bool


@dataclass(frozen=True)
class Reason:
    """Why a round starts: the trigger's name, as the row keeps it, and a sentence."""

    trigger: Literal["prompts", "schedule", "idle"]
    words: str


def due(settings: TriggerSettings, seen: Seen) -> Reason | None:
    """Why a round should start now; None when it should not. Asks nobody whether one is open already."""
    if not settings.automatic or seen.new < settings.trigger_min_prompts:
        return None
    return next(_reasons(settings, seen), None)


def _reasons(settings: TriggerSettings, seen: Seen) -> Iterator[Reason]:
    more = " or more" if seen.new >= settings.counts_to else ""
    new = f"{seen.new}{more} new prompts since the last round"
    if settings.trigger_prompts and seen.new >= settings.trigger_prompts:
        yield Reason("prompts", new)
    time = scheduled(settings, seen.now)
    if time is not None and (seen.last is None or seen.last < time):
        yield Reason("schedule", f"`{settings.trigger_schedule}` was due at {time:%Y-%m-%d %H:%M} UTC; {new}")
    if settings.trigger_idle_minutes and seen.idle and seen.new:  # else one would follow the other all night
        yield Reason("idle", f"nobody was answered for {settings.trigger_idle_minutes:g} minutes; {new}")


def scheduled(settings: TriggerSettings, now: datetime) -> datetime | None:
    """The newest time of the schedule (UTC) that is not longer ago than LATE; None when there is none."""
    if not settings.trigger_schedule:
        return None
    from croniter import croniter

    local = now.astimezone(ZoneInfo(settings.trigger_zone) if settings.trigger_zone else None)
    time: datetime = croniter(settings.trigger_schedule, local + timedelta(seconds=1)).get_prev(datetime)
    return time.astimezone(UTC) if now - time <= LATE else None
