"""What a chat leaves behind: a turn in the record, tokens in the counts, and the engines that died under it.

The turn is made here, before an engine is asked, and ended here; `server.recording` writes it.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from db.ids import new_id
from db.values import ASIDE, Turn
from server.asking import Ask
from server.auth import Identity
from server.catalog import ALIAS, Weights
from server.ends import completion_of, deaths, decisive
from server.errors import FAILED, ApiError
from server.limiting import Allowance, Limiter
from server.metrics import Metrics
from server.outcome import Outcome, Times, split_texts
from server.pickup import HIDES
from server.placing import Place
from server.recording import Recorder, numbered
from server.relay import Failure
from server.repeats import BODY, STOP, Key
from server.tracing import CURRENT
from thinking.format import ThinkingFormat


class Books:
    """Kept of every form of request by the gateway of this name."""

    def __init__(
        self, recorder: Recorder, limiter: Limiter, metrics: Metrics, fmt: ThinkingFormat, gateway: str
    ) -> None:
        self._recorder, self._limiter, self._metrics = recorder, limiter, metrics
        self._fmt, self._gateway = fmt, gateway

    def turn(self, ask: Ask, place: Place, identity: Identity, weights: Weights, key: Key | None) -> Turn:
        """What is asked, as it is recorded: with as much of it as may be kept. The request's trace learns its names."""
        consent = place.consent
        if ask.kind == "text" and consent == "train":
            consent = "history"  # a raw prompt is no conversation: kept, but not learnt from
        kept = consent != "none"
        trace, generation = CURRENT.get(), new_id()
        own = trace.id if trace is not None and not trace.given else new_id()
        if trace is not None:
            trace.model, trace.generation = weights.model, generation
        return Turn(
            request_id=own if key is None else key.request_id,
            generation_id=generation,
            user_id=identity.user_id,
            messages=ask.messages if kept else (),
            checkpoint_id=weights.id,
            model=weights.model,
            started_at=datetime.now(UTC),
            conversation_id=place.conversation if kept else None,
            sampling=ask.sampling
            | ({ASIDE: True} if ask.model != ALIAS or ask.kind == "text" else {})
            | ({} if key is None else {BODY: key.body})
            | ({HIDES: True} if ask.detached and ask.hides_thought else {}),
            origin=ask.origin,
            consent=consent,
            gateway=self._gateway,
        )

    async def record(
        self,
        ask: Ask,
        turn: Turn,
        outcome: Outcome,
        allowance: Allowance,
        times: Times,
        ending: str | None = None,
    ) -> None:
        """Make the turn durable, one generation for each choice, and count its tokens."""
        tokens = {
            "prompt": outcome.prompt_tokens,
            "completion": outcome.completion_tokens,
            "reasoning": outcome.reasoning_tokens,
        }
        seconds = (datetime.now(UTC) - turn.started_at).total_seconds()
        self._metrics.answer(turn.model, turn.engine, seconds, tokens)
        if ask.kind == "text":
            split_texts(outcome, self._fmt)
        if BODY in turn.sampling and outcome.choices and outcome.choices[0].stop is not None:  # a repeat is to say so
            turn = replace(turn, sampling={**turn.sampling, STOP: outcome.choices[0].stop})
        records = []
        for index in range(max(1, len(outcome.choices))):
            one = numbered(turn, index, turn.generation_id if index == 0 else new_id())
            records.append((one, completion_of(one, outcome, index, times, ending)))
        completing = [self._recorder.complete(one, completion) for one, completion in records]
        if self._limiter.is_quick:
            await self._limiter.spend(allowance, outcome.tokens)
        elif allowance.counts_tokens:
            completing.append(self._limiter.spend(allowance, outcome.tokens))
        # One is with the recorder before its first wait; of several, none has begun when the client leaves just now.
        await (completing[0] if len(completing) == 1 else asyncio.shield(asyncio.gather(*completing)))

    async def refused(
        self, error: ApiError, ask: Ask, turn: Turn, failures: list[Failure], allowance: Allowance
    ) -> None:
        """Record that an engine's error, or its death, was all that came of a request. Any other refusal is no turn."""
        last, ended = decisive(failures) if error.status >= 500 else None, turn
        if last is None or BODY in turn.sampling:  # a key stays free for another try
            self._recorder.abandon(turn)
            ended = replace(turn, request_id=new_id())
        if last is not None:
            ended = replace(ended, engine=last.engine.url)
            await self.record(ask, ended, Outcome(error=last.words, lost=not last.told), allowance, Times())
        await self.record_deaths(turn, [one for one in failures if last is None or one.engine is not last.engine])

    async def failed(self, ask: Ask, turn: Turn, allowance: Allowance, begun: bool) -> None:
        """Record that something unforeseen ended a request, unless what came of it is recorded by now. `begun`: an
        answer had; else a key stays free for another try."""
        if not self._recorder.is_open(turn):
            return
        if not begun and BODY in turn.sampling:
            self._recorder.abandon(turn)
            turn = replace(turn, request_id=new_id())
        await self.record(ask, turn, Outcome(error=FAILED), allowance, Times())

    async def record_deaths(self, turn: Turn, failures: list[Failure]) -> None:
        """Record each engine that died under a request, beside what came of it."""
        for died, how in deaths(turn, failures):
            await self._recorder.complete(died, how)
