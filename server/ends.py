"""What is recorded at the end of a request: of its answer, and of engines that failed before one began.

Writes nothing; `server.recording` does.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from db.ids import new_id
from db.values import LOST, Completion, Turn
from server.outcome import Outcome, Times, ending_of
from server.relay import Failure


def completion_of(turn: Turn, outcome: Outcome, index: int, times: Times, ending: str | None = None) -> Completion:
    """How the choice `index` of a turn ended. `ending`: where that is known without what the engine said."""
    choice = outcome.choice(index)
    kept = turn.consent != "none"
    reasoning, response = "".join(choice.reasoning), "".join(choice.response)
    counted = index == 0  # engines count all choices together; over all rows the sums are right so
    if ending is None:
        calls = bool(choice.tool_calls)
        ending = "error" if outcome.error else ending_of(reasoning, response, choice.finish_reason, calls)
    return Completion(
        request_id=turn.request_id,
        reasoning=reasoning if kept else "",
        response=response if kept else "",
        ending=ending,
        ended_at=datetime.now(UTC),
        finish_reason=LOST if outcome.lost else choice.finish_reason,
        prompt_tokens=outcome.prompt_tokens if counted else None,
        completion_tokens=outcome.completion_tokens if counted else None,
        reasoning_tokens=outcome.reasoning_tokens if counted else None,
        first_token_at=times.first,
        thought_ended_at=times.thought_ended,
        error=outcome.error,
        tool_calls=choice.tool_calls or None if kept else None,
    )


def decisive(failures: Sequence[Failure]) -> Failure | None:
    """By which of them a request came to nothing: the last that was no stale connection. None: by none of them."""
    return next((one for one in reversed(failures) if one.told or one.is_death), None)


def deaths(turn: Turn, failures: Sequence[Failure]) -> list[tuple[Turn, Completion]]:
    """A record of each engine that died under a request to which something else was the answer.

    It has no words and no conversation, which the answer has: only that these weights were asked for, and when it died.
    """
    found = []
    for url, one in {one.engine.url: one for one in reversed(failures) if one.is_death}.items():  # its first each
        died = replace(
            turn, request_id=new_id(), generation_id=new_id(), started_at=one.began, engine=url,
            messages=(), conversation_id=None, consent="none",
        )  # fmt: skip
        end = completion_of(died, Outcome(error=one.words, lost=True), 0, Times())
        found.append((died, replace(end, ended_at=one.ended)))
    return found
