"""The way of a chat: who asks, of which weights, to which engine, back to the client byte for byte, into the record.

The hot path is here: plain ASGI, no parsing of what streams by. The end of an answer leaves once its turn is durable.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, MutableMapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from db.values import Turn
from server.asking import PATHS, Ask, narrowest
from server.auth import Door, Identity, address_of
from server.bookkeeping import Books
from server.catalog import ALIAS, Catalog, Weights
from server.errors import FAILED, ApiError, broken_off, invalid, unavailable
from server.exchange import Exchange, Receive, Send, read_request
from server.feed import Away, Feeds
from server.forms.form import Form, Renamed, Writer, read_whole
from server.limiting import Allowance, Limiter, lesser
from server.metrics import Metrics
from server.outcome import UNREADABLE, Outcome, Times, read_timed, unreadable
from server.pace import Pace
from server.placing import Place, Places
from server.pool import Moved, Pool
from server.prompts import Longest
from server.recording import Recorder
from server.relay import Answer, Broken, Failure, Relay, is_dead
from server.repeats import Key, Repeats, key_of
from server.stream import Tail
from server.swap import Swap
from server.tracing import HEADER, end, trace_of
from thinking.format import ThinkingFormat

log = logging.getLogger(__name__)

MOVES = 5  # swaps that one request may wait through
INLINE_BYTES = 256 * 1024  # reading an answer takes 2 ms per 256 KiB; longer ones are read on a thread


class Serving:
    """An ASGI endpoint for one form of request."""

    def __init__(
        self,
        form: Form,
        door: Door,
        catalog: Catalog,
        swap: Swap,
        pool: Pool,
        pace: Pace,
        relay: Relay,
        recorder: Recorder,
        places: Places,
        limiter: Limiter,
        metrics: Metrics,
        repeats: Repeats,
        feeds: Feeds,
        longest: Longest,
        fmt: ThinkingFormat,
        books: Books,
        max_body: int,
        patience: float,
    ) -> None:
        """`patience`: seconds that a client may take nothing of its answer."""
        self._form, self._door, self._catalog, self._swap = form, door, catalog, swap
        self._pool, self._pace, self._relay, self._recorder, self._places = pool, pace, relay, recorder, places
        self._limiter, self._metrics, self._repeats = limiter, metrics, repeats
        self._feeds, self._longest = feeds, longest
        self._fmt, self._books, self._max_body, self._patience = fmt, books, max_body, patience

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        status = 500
        try:
            status = await self._serve(scope, receive, send)
        except ApiError as error:
            status = error.status
            raise
        finally:
            self._metrics.request(self._form.path, "POST", status)
            end(scope, status)

    async def _serve(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> int:
        """Returns the HTTP status; 499 when the client left before its end."""
        headers, trace = dict(scope["headers"]), trace_of(scope)
        identity = await self._door.identify(headers, address_of(scope))
        trace.key, trace.user = identity.key_id, identity.user_id
        identity.require("chat")
        raw = await read_request(receive, headers, lesser(self._max_body, identity.limits.body_bytes))
        ask = await self._form.ask(raw, headers, identity)
        trace.model = str(ask.model)
        if ask.kind == "chat":
            ask = replace(ask, ends=self._fmt.stop)
        if ask.detached and self._form.path != PATHS["chat"]:
            raise invalid(f"ruminate.detached is for {PATHS['chat']}, not for {self._form.path}", "ruminate.detached")
        key = key_of(headers, identity.user_id, raw, self._form.path) if self._form.kind == "chat" else None
        if key is not None and not trace.given:
            trace.id = key.request_id  # the same for each try
        me = asyncio.current_task()
        assert me is not None
        exchange = Exchange(send, me, self._patience)
        exchange.headers += [(name, trace.id.encode()) for name in {HEADER, self._form.id_header}]
        watch = None
        if key is None or ask.stream:  # otherwise it is answered to its end: its client may come back for it
            watch = asyncio.create_task(exchange.watch(receive))
        try:
            if ask.detached:
                await self._attend(self._feeds.start(lambda away: self._alone(key, ask, identity, away)), exchange)
            else:
                await self._let_in(key, ask, identity, exchange)
        except asyncio.CancelledError:
            if not exchange.left:
                raise  # the gateway itself is ending
            me.uncancel()
            return 499
        finally:
            if watch is not None:
                watch.cancel()
        return 200

    async def _let_in(self, key: Key | None, ask: Ask, identity: Identity, exchange: Exchange | Away) -> None:
        self._pool.chats += 1
        try:
            who = identity.key_id or identity.user_id
            async with self._limiter.admit(who, ask.choices, identity.limits) as allowance:
                exchange.headers += [(name.encode(), value.encode()) for name, value in allowance.headers.items()]
                if key is None:
                    await self._answer(ask, identity, allowance, exchange)
                else:
                    await self._answer_once(key, ask, identity, allowance, exchange)
        finally:
            self._pool.chats -= 1

    async def _alone(self, key: Key | None, ask: Ask, identity: Identity, away: Away) -> None:
        """Answer a detached chat to its end, whoever listens."""
        error: ApiError | None = ApiError(500, FAILED, code="internal_error")
        try:
            await self._let_in(key, ask, identity, away)
            error = None
        except ApiError as refused:
            error = refused
        except asyncio.CancelledError:
            error = broken_off()
            raise
        except Exception:
            log.exception("a detached answer failed")
        finally:
            away.over(error)

    async def _attend(self, away: Away, exchange: Exchange) -> None:
        """Pass a detached answer on for as long as its client is there."""
        await away.begun()
        exchange.headers += away.headers
        async for event in away.feed.follow(0):
            await exchange.piece(event)
        await exchange.close()

    async def _answer_once(
        self, key: Key, ask: Ask, identity: Identity, allowance: Allowance, exchange: Exchange | Away
    ) -> None:
        async with self._repeats.once(key, ask) as stored:
            if stored is None:
                await self._answer(ask, identity, allowance, exchange, key)
            else:
                exchange.headers += stored.headers
                await exchange.whole(self._form.writer(ask, stored.generation_id).body(stored.body))

    async def _answer(
        self, ask: Ask, identity: Identity, allowance: Allowance, exchange: Exchange | Away, key: Key | None = None
    ) -> None:
        self._catalog.resolve(ask.model)  # what is unknown is refused before anything is looked up
        conversation, allowed = await self._places.place(identity, ask)
        place = Place(conversation, narrowest(ask.consent, allowed))
        for _ in range(MOVES):
            weights = self._weights(ask, place)
            try:
                return await self._answer_from(weights, place, ask, identity, allowance, exchange, key)
            except Moved:
                log.info("%s is not what answers %s any more; asked anew", weights.model, ask.model)
        raise unavailable(f"{ask.model!r} meant other weights {MOVES} times while it was asked for; try again")

    def _weights(self, ask: Ask, place: Place) -> Weights:
        """What answers now: the canary in its conversations, for as long as an engine has it. What is not kept can't be
        compared, and stays with live."""
        weights, state = self._catalog.resolve(ask.model), self._catalog.wanted
        if ask.model != ALIAS or ask.kind == "text" or place.consent == "none" or state is None:
            return weights
        canary = state.canary if state.canary is not None and state.canary.state != "rejected" else None
        if canary is not None and state.on_trial(place.conversation) and self._pool.pick(canary.model):
            return canary
        return weights

    async def _answer_from(
        self,
        weights: Weights,
        place: Place,
        ask: Ask,
        identity: Identity,
        allowance: Allowance,
        exchange: Exchange | Away,
        key: Key | None,
    ) -> None:
        def moved() -> bool:
            """Whether another gateway made a swap, of which this one heard while it waited for an engine."""
            if ask.model == ALIAS:
                return self._weights(ask, place).id != weights.id
            live = self._catalog.live
            elsewhere = live is not None and live.ground != weights.ground
            return elsewhere or (weights.path is not None and not self._swap.is_wanted(weights.model))

        with self._pool.using(weights.model):
            if ask.model != ALIAS:
                await self._swap.admit(weights)
            await self._longest.check(ask, identity.limits, weights, moved)
            turn = self._books.turn(ask, place, identity, weights, key)
            self._recorder.begin(turn)
            failures: list[Failure] = []
            try:
                answer = await self._relay.begin(
                    PATHS[ask.kind],
                    ask.payload(weights.asked_as),
                    weights.model,
                    ask.stream,
                    moved,
                    place.conversation if place.consent != "none" or ask.conversation_id else ask.opening,
                    failures,
                )
            except ApiError as error:
                await asyncio.shield(self._books.refused(error, ask, turn, failures, allowance))
                raise
            except Moved:
                self._recorder.abandon(turn)
                await asyncio.shield(self._books.record_deaths(turn, failures))
                raise
            except asyncio.CancelledError:
                await asyncio.shield(self._books.record(ask, turn, Outcome(), allowance, Times(), "interrupted"))
                await asyncio.shield(self._books.record_deaths(turn, failures))
                raise
            except Exception:
                await asyncio.shield(self._books.failed(ask, turn, allowance, begun=False))
                raise
            turn = replace(turn, engine=answer.engine.url)
            try:
                exchange.headers += _headers(turn, weights)
                exchange.opened(turn)
                writer: Writer = self._form.writer(ask, turn.generation_id)
                if weights.asked_as != weights.model:
                    writer = Renamed(writer, weights.asked_as, weights.model)
                if ask.stream:
                    await self._stream(ask, turn, answer, writer, allowance, exchange)
                else:
                    outcome, told = read_whole(answer.first, writer)
                    await self._books.record(ask, turn, outcome, allowance, Times(datetime.now(UTC)))
                    if outcome.error is not None:
                        raise ApiError(502, f"{answer.engine.url}: {outcome.error}", code="engine_error")
                    await exchange.whole(told)
            except Exception:
                await asyncio.shield(self._books.failed(ask, turn, allowance, begun=True))
                raise
            finally:
                answer.close()
                if failures:
                    await asyncio.shield(self._books.record_deaths(turn, failures))

    async def _stream(
        self, ask: Ask, turn: Turn, answer: Answer, writer: Writer, allowance: Allowance, exchange: Exchange | Away
    ) -> None:
        tail = Tail(ask.wants_usage)
        said: list[bytes] = []
        came: list[float] = []  # when each of them came
        first_at = datetime.now(UTC)
        self._metrics.first_token(turn.model, turn.engine, (first_at - turn.started_at).total_seconds())
        trouble: str | None = None
        last = b""

        async def finish(ending: str | None = None) -> None:
            nonlocal trouble, last
            read = (said, came, first_at)
            outcome, times = read_timed(*read) if short() else await self._recorder.aside(read_timed, *read)
            if ending is None:
                if trouble is None and outcome.garbled is not None:
                    trouble = f"engine {answer.engine.url}: {outcome.garbled}"
                if trouble is None and outcome.broken_off:
                    trouble = f"engine {answer.engine.url} broke the answer off, as one that is being stopped does"
                if trouble is None:
                    try:
                        last = writer.events(tail.held)
                    except UNREADABLE as error:
                        trouble = f"engine {answer.engine.url}: {unreadable(error)}"
                outcome.lost = trouble not in (None, FAILED) if outcome.error is None else is_dead(outcome.error)
                outcome.error = outcome.error or trouble
            await self._books.record(ask, turn, outcome, allowance, times, ending)

        def short() -> bool:
            return sum(map(len, said)) < INLINE_BYTES

        def take(data: bytes) -> Awaitable[None] | None:
            said.append(data)
            came.append(time.monotonic())
            try:
                now = writer.events(tail.feed(data))
            except UNREADABLE as error:
                raise Broken(f"engine {answer.engine.url}: {unreadable(error)}") from error
            if now:
                return exchange.push(now)
            return exchange.alive() if ask.hides_thought else None

        try:
            with self._pace.following(came):
                await answer.pass_on(take)
            if not tail.done:
                trouble = f"engine {answer.engine.url} ended the answer before its end"
        except Broken as error:
            trouble = str(error)
        except Exception:
            answer.cut()
            log.exception("answer %s failed", turn.generation_id)
            trouble = FAILED
        except asyncio.CancelledError:
            answer.cut()  # the record may take its time, and nobody wants what the engine goes on writing
            await asyncio.shield(finish("interrupted"))
            if not exchange.left:  # the gateway is ending
                await exchange.end(writer.broken(broken_off()))
            raise
        await (finish() if short() else asyncio.shield(finish()))  # its client may leave while a long one is read
        if trouble is None:
            await exchange.end(last)
        elif trouble == FAILED:
            await exchange.end(writer.broken(ApiError(500, FAILED, code="internal_error")))
        else:
            log.error("answer %s was broken off: %s", turn.generation_id, trouble)
            await exchange.end(writer.broken(ApiError(502, trouble, code="engine_lost")))


def _headers(turn: Turn, weights: Weights) -> list[tuple[bytes, bytes]]:
    found = [
        (b"x-ruminate-generation", turn.generation_id.encode()),
        (b"x-ruminate-checkpoint", weights.name.encode()),
    ]
    if turn.conversation_id is not None:
        found.append((b"x-ruminate-conversation", turn.conversation_id.encode()))
    return found
