"""What a side's answers look like: malformed, thoughtless, repetitive, long, declining. Judges nothing.

The gate compares the two sides' habits: training can win score by habits that no person wants.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from thinking.format import Parsed
from thinking.splitter import Ending
from trainer.refusals import declines

ANSWERED = (Ending.COMPLETE, Ending.NO_THOUGHT)
WINDOW = 4
"""Words in a row that count as repeated when they come again in the same response."""


@dataclass(frozen=True)
class Habits:
    """Shares are of all outputs, 0 to 1; lengths are means in tokens."""

    malformed: float
    """Outputs that are not a closed thought and a finished response."""
    empty_thoughts: float
    """Outputs that answered without a thought: none was begun (malformed as well), or it was opened and closed."""
    repetition: float
    """Mean over well-formed responses of the share of their word windows that came before."""
    thought_tokens: float
    response_tokens: float
    refusals: float = 0.0
    """Share of the well-formed responses that decline to do what was asked."""

    def as_json(self) -> dict[str, float]:
        """For a row."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


def habits(outputs: Sequence[Parsed], thought_tokens: float, response_tokens: float) -> Habits:
    """Of one side's outputs, in any order. There must be at least one."""
    well = [parsed for parsed in outputs if parsed.well_formed]
    return Habits(
        malformed=1 - len(well) / len(outputs),
        empty_thoughts=sum(parsed.ending in ANSWERED and not parsed.reasoning for parsed in outputs) / len(outputs),
        repetition=fmean(repetition(parsed.response) for parsed in well) if well else 0.0,
        thought_tokens=thought_tokens,
        response_tokens=response_tokens,
        refusals=fmean(declines(parsed.response) for parsed in well) if well else 0.0,
    )


def repetition(text: str) -> float:
    """Share of the windows of WINDOW words that stand earlier in the text as well; 0 for a text too short for two."""
    words = text.split()
    windows = [tuple(words[at : at + WINDOW]) for at in range(len(words) - WINDOW + 1)]
    return 1 - len(set(windows)) / len(windows) if windows else 0.0
