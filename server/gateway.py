"""The gateway's parts, wired: made from settings, started and stopped in order. Parts don't know the whole."""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import Context
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from db.base import NOTES, weights_hash
from db.errors import DatabaseUnavailable
from db.queries import checkpoints, deployments, users
from db.session import Database
from server.auth import FIRST_ADMIN, LOCAL, Door, Identity, first_admin, service_key
from server.bookkeeping import Books
from server.catalog import Catalog
from server.claim import claim_free, has_ended
from server.engine import new_session, settle
from server.everybody import Everybody
from server.expiry import Expiry
from server.feed import Feeds
from server.fleet import Fleet
from server.forms.form import Form, Plain
from server.forms.messages import Messages
from server.forms.responses import Responses
from server.holding import Holding
from server.journal import Journal
from server.keeper import Keeper
from server.lease import Lease
from server.limiting import Caps, Limiter
from server.lookups import Lookups
from server.manifest import config_hash, if_readable
from server.metrics import Metrics, State
from server.moved import follow
from server.notices import Notices
from server.pace import Pace
from server.pickup import Pickup
from server.placing import Places
from server.pool import Pool
from server.prompt_counts import PromptCounts
from server.prompts import Longest
from server.recording import Recorder, interrupted
from server.relay import Relay
from server.repeats import Repeats
from server.rollouts import Rollouts
from server.serving import Serving
from server.settings import ServerSettings
from server.spool import Spool, inherit
from server.streams import Streams
from server.swap import Swap
from server.watcher import Rules, Watcher
from thinking.format import FORMATS

log = logging.getLogger(__name__)

END_SECONDS = 2.0  # longer than an answer waits for a slow database; containers are killed ten seconds after the signal
LEARN_SECONDS = 0.05  # between two looks whether an engine has said what it serves, for which a first start waits
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  addresses that name no machine


class Gateway:
    """One gateway process. Build it inside a running event loop with `start`."""

    def __init__(self, settings: ServerSettings, database: Database) -> None:
        self.settings, self.database = settings, database
        self._session = new_session()
        self.catalog = Catalog(database)
        self.pool = Pool(settings.max_waiting, settings.engine_requests, settings.room_wait_seconds)
        self._claim = claim_free(settings.spool)
        folder = self._claim.folder
        me = self._claim.name
        self.lease = Lease(database, me, settings.lease_seconds, has_ended)
        self.lookups = Lookups(database.url, settings.lookup_seconds)
        self.notices = Notices(settings.redis_url, me)
        self.swap = Swap(
            database,
            self.catalog,
            self.pool,
            self.lease,
            self.lookups,
            self.notices,
            settings.watch_seconds,
            settings.load_seconds,
            settings.drain_seconds,
            settings.max_lora_rank,
        )
        self.pool.changing = lambda: self.swap.ground.changing
        self.pool.patience = settings.drain_seconds + 2 * settings.load_seconds
        self.fleet = Fleet(settings.engines, self.catalog, self.swap, self._session, self._keep)
        rules = Rules(**{field.name: getattr(settings, field.name) for field in fields(Rules)})
        self.watcher = Watcher(database, self.catalog, self.pool, self.lease, self.swap, rules, settings.judge_seconds)
        self.journal, self.spool = Journal(folder), Spool(folder)
        self.recorder = Recorder(
            database, self.journal, self.spool, settings.record_patience_seconds, lambda: end_process()
        )
        self.pace = Pace(self.pool, settings.rollout_slower_ms / 1000)
        self.everybody = Everybody(self.pace, settings.redis_url, me)
        self.rollouts = Rollouts(
            self.pool,
            self.everybody,
            settings.rollout_sequences,
            settings.rollout_sequences_while_chatting,
            settings.engine_wait_seconds,
        )
        self.places = Places(database, self.lookups)
        self.prompts = PromptCounts(database)
        days = (settings.history_days, settings.train_days)
        self.expiry = Expiry(database, self.lease, self.places, self.spool, *days)
        self.relay = Relay(
            self.pool,
            self.swap.hurry,
            settings.engine_wait_seconds,
            settings.engine_silence_seconds,
            lambda: self.catalog.has_full,
        )
        self.door = Door(
            database,
            self.lookups,
            service_key(settings.service_key, settings.home),
            self._local_user(),
            settings.key_cache_seconds,
            settings.key_trust_seconds,
            settings.key_refresh_seconds,
        )
        caps = Caps(
            settings.requests_per_minute,
            settings.tokens_per_minute,
            settings.concurrent_answers,
            settings.max_choices,
        )
        self.limiter = Limiter(caps, settings.redis_url)
        self.metrics = Metrics(self._states)
        serving = (self.door, self.catalog, self.swap, self.pool, self.pace, self.relay, self.recorder, self.places)
        pending = lambda: not self.spool.empty or self.recorder.trouble is not None  # noqa: E731
        self.streams = Streams(settings.redis_url)
        self.feeds = Feeds(self.recorder.open, self.streams.share, self.streams.drop)
        mirror = settings.mirror_reasoning_content
        self.pickup = Pickup(database, self.lookups, self.feeds, self.streams, pending, mirror)
        longest = Longest(self.relay, settings.max_prompt_tokens)
        # Its own threads: it writes, and those who look up what every request needs don't stand behind it.
        self._keys = Lookups(database.url, settings.lookup_seconds, threads=2)
        behind = lambda: self.recorder.is_behind  # noqa: E731
        self.holding = Holding(database, self._keys, me, has_ended, behind)
        repeats = Repeats(database, self._keys, self.holding, behind)
        parts = (*serving, self.limiter, self.metrics, repeats, self.feeds, longest)
        host = socket.gethostname() if settings.host in EVERYWHERE else settings.host
        name = f"{host}:{settings.port}"
        fmt = FORMATS[settings.thinking_format]
        forms: list[Form] = [
            Plain("chat", mirror),
            Plain("text"),
            Responses(database, self.lookups, pending),
            Messages(),
        ]
        books = Books(self.recorder, self.limiter, self.metrics, fmt, name)
        more = (fmt, books, settings.max_body_bytes, settings.client_silence_seconds)
        self.answering = {form.path: Serving(form, *parts, *more) for form in forms}
        """The endpoints that write answers, by path."""
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Begin to look after engines and to record. Raises DatabaseUnavailable, BaseChanged, Unfit, OSError."""
        if self.settings.base_model:
            await asyncio.to_thread(self.found_base, self.settings.base_model)
        await asyncio.to_thread(follow, self.database, self.settings.home)
        await self.catalog.refresh()
        inherit(self.spool, self.settings.spool.parent, interrupted, self.recorder.keep_back)
        self.recorder.start()
        self.prompts.begin()
        await self.lease.beat()
        await self.swap.start()
        self._go(self.lease.run(), "lease")
        self._go(self.notices.run(), "notices")
        self._go(self.everybody.run(), "people")
        self._go(self.limiter.run(), "limits")
        self.fleet.start()
        self._go(self.swap.run(), "swap")
        self._go(self.watcher.run(), "watcher")
        self._go(self.holding.run(), "keys")
        self._go(self.expiry.run(), "retention", endless=False)
        if self.catalog.wanted is None:
            self._go(self._learn_base(), "base", endless=False)

    async def stop(self, ends_at: float = 0.0) -> None:
        """End the tasks, write the last turns, let the connections go. Answers that nobody listens to just now go on
        until `ends_at`, by `time.monotonic`, as those do that somebody does."""
        unheard = partial(self.feeds.stop, ends_at - time.monotonic())
        ends: list[Callable[[], Awaitable[None]]] = [unheard, self._answers_end, self.streams.stop]
        ends += [partial(settle, self._tasks), self.everybody.stop, self.limiter.stop, self.lease.release]
        for end in ends:
            try:
                await end()
            except Exception:  # as of a Redis that hangs: turns are written all the same
                log.exception("a part of the gateway did not end in order")
        await asyncio.to_thread(self.recorder.close)
        self.lookups.close()
        self._keys.close()
        self._claim.release()
        for engine in self.pool.engines:
            engine.let_go()
        await self._session.close()

    async def _answers_end(self) -> None:
        """Wait for those that were broken off just now: what was said is on its way to the recorder."""
        until = time.monotonic() + END_SECONDS
        while not self.journal.is_empty and time.monotonic() < until:  # noqa: ASYNC110  it signals nothing
            await asyncio.sleep(0.01)

    def found_base(self, base: str, told: bool = False) -> None:
        """Make sure of checkpoint v0 and a first deployment. `told`: an engine says that this is its base.

        Raises BaseChanged when the database has another base, and, unless it was `told`, Unfit or OSError for files
        that can't be read.
        """
        where, notes = Path(base), self.settings.home / NOTES
        found = if_readable(config_hash, where) if told else config_hash(where)
        weights = None
        if found is not None:
            weights = if_readable(weights_hash, where, notes) if told else weights_hash(where, notes)
        known = {"name": Path(base).name, "config_hash": found} | ({"weights_hash": weights} if weights else {})
        manifest = {"format": 1, "name": "v0", "kind": "base", "base": known}
        with self.database.transaction() as session:
            row = checkpoints.ensure_base(session, f"sha256:{found}" if found else str(base), manifest)
            if deployments.current(session) is None:
                deployments.propose(session, row.id, "gateway", "the first start", None)

    @property
    def ready(self) -> bool:
        """Whether a request for the live checkpoint would be answered."""
        return self.catalog.wanted is not None and self.pool.pick(self.catalog.wanted.live.model) is not None

    @property
    def trouble(self) -> str | None:
        """What does not work as it should just now, in words; answers are given all the same."""
        parts = (self.recorder, self.catalog, self.limiter, self.notices, self.watcher)
        return next((part.trouble for part in parts if part.trouble), None)

    def _states(self) -> Iterator[State]:
        """What is true just now, for the metrics."""
        live = self.catalog.live
        singles = (
            ("gauge", "ruminate_chats", "Answers being written for people.", self.pool.chats),
            ("gauge", "ruminate_waiting", "Requests that wait for an engine, or for room on one.", self.pool.waiting),
            ("gauge", "ruminate_rollouts_running", "Sequences being sampled for the trainer.", self.rollouts.running),
            ("gauge", "ruminate_rollouts_waiting", "Calls of the trainer that wait.", self.rollouts.waiting),
            ("gauge", "ruminate_spool_turns", "Turns that wait for the database.", self.recorder.waiting),
            ("gauge", "ruminate_trouble", "1 while /health names a trouble.", float(self.trouble is not None)),
            ("gauge", "ruminate_looks_after_engines", "1 while this gateway holds the lease on the engines.",
             float(self.lease.role == "holds")),
            ("counter", "ruminate_recorded_turns", "Turns written to the database.", self.recorder.recorded),
            ("counter", "ruminate_spooled_turns", "Turns that went to the spool first.", self.recorder.spooled),
            ("counter", "ruminate_swaps", "Checkpoints made live by this gateway.", self.swap.swaps),
        )  # fmt: skip
        for kind, name, words, value in singles:
            yield kind, name, words, [({}, float(value))]
        engines = self.pool.engines
        in_flight = [({"engine": engine.url}, float(engine.in_flight)) for engine in engines]
        yield "gauge", "ruminate_engine_in_flight", "Requests that an engine works on for this gateway.", in_flight
        up = [({"engine": engine.url}, float(engine.healthy)) for engine in engines]
        yield "gauge", "ruminate_engine_up", "1 while an engine answers.", up
        if live is not None:
            yield "gauge", "ruminate_live", "1 for the checkpoint that is live.", [({"checkpoint": live.model}, 1.0)]

    def _local_user(self) -> Identity | None:
        if not self.settings.loopback_without_key:
            made = first_admin(self.database, self.settings.home, self.settings.default_consent)
            if made is not None:
                log.warning("nobody was administrator; %r is now, and their key is in %s", FIRST_ADMIN, made)
            return None
        with self.database.transaction() as session:
            user = users.ensure_user(session, LOCAL, "admin", self.settings.default_consent)
            return Identity(user.id, user.name, user.role, user.consent)

    async def _learn_base(self) -> None:
        """Without a base model in the settings: what the first engine says it serves."""
        while self.catalog.wanted is None:
            await asyncio.sleep(min(self.settings.watch_seconds / 4, LEARN_SECONDS))
            base = next((engine.base for engine in self.pool.engines if engine.base is not None), None)
            if base is not None:
                try:
                    await asyncio.to_thread(self.found_base, base.root, True)
                except DatabaseUnavailable as error:
                    log.error("%s", error)
                await self.catalog.refresh()

    def _keep(self, keeper: Keeper) -> asyncio.Task[None]:
        return self._go(keeper.run(), f"keeper of {keeper.engine.url}")

    def _go(self, work: Coroutine[Any, Any, None], name: str, endless: bool = True) -> asyncio.Task[None]:
        """Run a background task; if it ends by itself, so does the process, which its supervisor restarts."""

        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled() or (task.exception() is None and not endless):
                return
            log.critical("%s ended; this gateway ends too", name, exc_info=task.exception())
            end_process()

        task = asyncio.create_task(work, name=name, context=Context())  # of no request, though one may have begun it
        task.add_done_callback(ended)
        self._tasks.append(task)
        return task


def end_process() -> None:
    """As its supervisor would: requests in flight end, turns are written."""
    os.kill(os.getpid(), signal.SIGTERM)
