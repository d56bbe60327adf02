"""Tells other gateways at once, over Redis, that rows have changed; they read them then instead of at their next tick.

A notice holds nothing but its sender. The rows are the truth and are read every second anyway, so a notice that is
lost, or a Redis that is gone, costs that second and nothing else.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

log = logging.getLogger(__name__)

CHANNEL = "ruminate:changed"
RETRY_SECONDS = 1.0  # how often a Redis that is gone is tried again
ANSWER_SECONDS = 1.0  # beside the gateway it answers in a millisecond
LISTEN_SECONDS = 5.0  # how long to listen in one go; then Redis is asked whether it is still there
ENDING_SECONDS = 0.5  # between two cancellations of what does not end
TROUBLE = "Redis does not answer; gateways hear of changes within a second or so, by reading the rows"


class Notices:
    """One gateway's ear and voice. Without a URL it is deaf and mute. `heard` is called for others' notices."""

    def __init__(self, url: str, sender: str) -> None:
        self._url, self._sender = url, sender.encode()
        self._news = asyncio.Event()
        self.heard: Callable[[], None] = lambda: None
        self.connected = False
        self.trouble: str | None = None

    def send(self) -> None:
        """Rows have changed. Costs nothing here: it goes out by itself, several at once as one."""
        self._news.set()

    async def run(self) -> None:
        """Listen and tell until cancelled."""
        if not self._url:
            await asyncio.Event().wait()
        await _first([self._run()])

    async def _run(self) -> None:
        from redis.exceptions import RedisError  # only where there is a Redis

        while True:
            try:
                await self._connected()
            except (RedisError, OSError, TimeoutError) as error:
                if self.trouble is None:
                    log.error("no notices between gateways: %r", error)
                self.connected, self.trouble = False, TROUBLE
            await asyncio.sleep(RETRY_SECONDS)

    async def _connected(self) -> None:
        from redis.asyncio import Redis

        limits: dict[str, Any] = {"socket_connect_timeout": ANSWER_SECONDS, "socket_timeout": ANSWER_SECONDS}
        client = Redis.from_url(self._url, **limits)
        try:
            async with client.pubsub() as ear:
                await ear.subscribe(CHANNEL)
                await _first([self._listen(ear), self._speak(client)])
        finally:
            await client.aclose()

    async def _listen(self, ear: Any) -> None:
        while True:
            message = await ear.get_message(timeout=LISTEN_SECONDS)
            if message is None:
                await ear.ping()
            elif message["type"] == "subscribe":
                self.connected, self.trouble = True, None
                self.heard()  # what was missed while it was not connected
            elif message["type"] == "message" and message["data"] != self._sender:
                self.heard()

    async def _speak(self, client: Any) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await client.publish(CHANNEL, self._sender)
            except BaseException:
                self._news.set()  # told once there is a connection again
                raise


async def _first(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run them until one raises, and raise that; then, or when cancelled, end all.

    redis-py swallows a cancellation now and then, where Redis answers in the same moment, and goes on. So it is said
    again: a TaskGroup says it once, and waits for ever.
    """
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left = set(tasks)
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=ENDING_SECONDS)
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
