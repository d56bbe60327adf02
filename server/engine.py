"""One vLLM server: the few calls that this gateway makes to it, and what was last seen of it.

Decides nothing: `server.keeper` says what an engine should have, `server.pool` which engine a request goes to. No path
or header of a user's ever reaches an engine; the paths below are all there are.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import orjson

from server.wire import CONNECT_SECONDS, KEEPALIVE_SECONDS, Wire, Wires, probe

HEALTH_SECONDS = 5.0  # an engine whose event loop is busy with a long prompt answers late, but not this late
DOWN_SECONDS = 10.0
"""How long an engine may be down until the answers that it has not begun are asked for elsewhere: one that was only
busy is back after a look or two, and still has them."""

IMAGE = (  # 64 x 64, white
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAAAAACPAi4CAAAAKUlEQVR42u3MQREAAAwCIPuX"
    "1hD77SAA6VEEAoFAIBAIBAKBQCAQfA8Gpwvw4qrwDDIAAAAASUVORK5CYII="
)

AS_STARTED = "default"  # vLLM's word for the version of weights that nobody has replaced
STARTED = "process_start_time_seconds "  # of Prometheus; where vLLM has several API servers, it says nothing of it

State = Literal["starting", "ready", "behind", "down"]
"""starting: never answered yet. behind: healthy, without a wanted adapter. down: ejected until it answers again."""


class EngineFailed(Exception):
    """The engine can't be reached, answered late or what can't be read, or refused a call that it should not refuse.

    `status` is the HTTP status of a refusal.
    """

    def __init__(self, url: str, what: str, status: int | None = None) -> None:
        super().__init__(f"engine {url}: {what}")
        self.url, self.what, self.status = url, what, status


class EngineDown(EngineFailed):
    """There is no working engine: nothing listens, the connection broke, or it says itself that it died.

    `asked`: it had been sent a request for an answer by then, so that this may be what took it down.
    """

    def __init__(self, url: str, what: str, status: int | None = None, *, asked: bool = False) -> None:
        super().__init__(url, what, status)
        self.asked = asked


@dataclass(frozen=True)
class Card:
    """A model as the engine lists it: `root` is the path it was loaded from, `parent` None for the base."""

    id: str
    root: str
    parent: str | None
    max_model_len: int | None


class Engine:
    """A connection pool to one engine and its observed state."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session, self._wires = session, Wires(url)
        self.state: State = "starting"
        self.detail = "not seen yet"
        self.healthy = False
        self.base: Card | None = None
        self.takes_images: bool | None = None  # None: not found out yet
        self.loaded: dict[str, str] = {}  # adapters that are loaded and verified: name → path
        self.version = AS_STARTED  # of the weights under them, as last seen; `server.full` says what it reads
        self.in_place: str | None = None  # the checkpoint that these weights are, once that is sure
        self.reloading = False
        self.in_flight = 0
        self.freed: Callable[[], None] = lambda: None
        """Called when it has one request less."""
        self.since = time.time()
        self._unbegun: set[asyncio.Timeout] = set()  # answers that were asked for and have not begun

    @property
    def base_id(self) -> str:
        """The name that it was started with."""
        return "" if self.base is None else self.base.id

    def serves(self, model: str) -> bool:
        return self.healthy and (model in self.loaded or model == self.in_place)

    def mark_down(self, why: str) -> None:
        """Send it nothing more. What it had loaded is forgotten: it may come back as another process."""
        if self.healthy:
            self._give_up(asyncio.get_running_loop().time() + DOWN_SECONDS)
        self.healthy = False
        if self.state != "starting":
            self.state = "down"
        self.detail = why
        self.loaded.clear()
        self.in_place = None
        self.takes_images = None
        self.let_go()

    def mark_up(self) -> None:
        """It answers."""
        self.healthy, self.since = True, time.time()
        self._give_up(None)

    def remove(self) -> None:
        """Send it nothing more; what it was asked for goes on to its end."""
        self.mark_down("removed")
        self._give_up(None)

    def _give_up(self, when: float | None) -> None:
        """Answers that have not begun are waited for until then (of the event loop's clock); None: without a limit."""
        for limit in self._unbegun:
            if not limit.expired():  # given up just now
                limit.reschedule(when)

    async def observe(self, versions: bool = False) -> list[Card]:
        """The models it has. `versions`: and which weights these stand on, which is asked at a first look in any case.

        Raises EngineFailed when it is late, EngineDown when it is gone.
        """
        # both at once, since a busy one is slow at each
        _, answer = await asyncio.gather(self._call("GET", "/health"), self._call("GET", "/v1/models"))
        try:
            listed = orjson.loads(answer)["data"]
            cards = [Card(m["id"], m.get("root") or "", m.get("parent"), m.get("max_model_len")) for m in listed]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise self.unlike("/v1/models", error) from error
        self.base = next((card for card in cards if card.parent is None), None)
        if versions or not self.healthy:
            try:
                version = await self.weights_version()
                if version != self.version:  # nobody may take them for those before, until it is known which they are
                    self.version, self.in_place = version, None
            except EngineDown:
                raise
            except EngineFailed:
                if not self.healthy:
                    raise  # else it is busy: each answer is compared with the version that was seen last
        return cards

    async def weights_version(self, seconds: float = HEALTH_SECONDS) -> str:
        """Which weights it has, by the name that it was last given for them; a restart forgets that. It answers between
        two steps of its work."""
        try:
            answer = await self._call("GET", "/weight_info", seconds=seconds)
        except EngineFailed as error:
            if error.status == 404:  # started without control endpoints: nobody can have replaced them
                return AS_STARTED
            raise
        try:
            return str(orjson.loads(answer)["weight_version"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise self.unlike("/weight_info", error) from error

    async def started_at(self) -> str | None:
        """When its process began, as its metrics have it; None where they don't."""
        try:
            answer = await self._call("GET", "/metrics")
        except EngineDown:
            raise
        except EngineFailed:
            return None
        said = (line.split() for line in answer.decode(errors="replace").splitlines() if line.startswith(STARTED))
        return next((words[1] for words in said if len(words) == 2), None)

    async def call_weights(self, version: str) -> None:
        """Name the weights that it has from now on."""
        await self._call("POST", "/update_weight_version", {"new_version": version})

    async def pause(self, seconds: float) -> None:
        """Let answers end, for `seconds` at most, and begin none until `resume`; those that come meanwhile wait."""
        try:
            await self._call("POST", "/pause?mode=wait", seconds=seconds)
        except EngineFailed as error:
            if error.status == 404:
                what = "can't be paused, so its weights can't be replaced; start it with VLLM_SERVER_DEV_MODE=1"
                raise EngineFailed(self.url, what, 404) from error
            raise

    async def resume(self) -> None:
        """Go on. Does nothing to an engine that is not paused, or can't be."""
        try:
            await self._call("POST", "/resume")
        except EngineFailed as error:
            if error.status != 404:
                raise

    async def paused(self) -> bool:
        try:
            return bool(orjson.loads(await self._call("GET", "/is_paused"))["is_paused"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise self.unlike("/is_paused", error) from error

    async def reload(self, path: str, seconds: float) -> None:
        """Replace all of its weights by those at `path` (as it can read them), in place. Only while it is paused."""
        body = {"method": "reload_weights", "kwargs": {"weights_path": path}}
        await self._call("POST", "/collective_rpc", body, seconds)

    async def find_out_images(self) -> None:
        """Whether its model takes images: vLLM's list of models doesn't say, but it refuses to count one's tokens for a
        model that reads text only. Stays unknown where it gives no answer."""
        if self.base is None:
            return
        part = {"type": "image_url", "image_url": {"url": IMAGE}}
        body = {"model": self.base.id, "messages": [{"role": "user", "content": [part]}]}
        try:
            await self._call("POST", "/tokenize", body)
            self.takes_images = True
        except EngineDown:
            raise
        except EngineFailed as error:
            if error.status is not None:
                self.takes_images = False

    async def load(self, name: str, path: str, seconds: float) -> None:
        """Register the adapter at `path` (a folder that the engine can read) under `name`."""
        await self._call("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, seconds)

    async def unload(self, name: str, seconds: float) -> None:
        """Forget the name. Requests in flight on it finish."""
        await self._call("POST", "/v1/unload_lora_adapter", {"lora_name": name}, seconds)

    async def complete(self, body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """A non-streaming completion of token ids, for the trainer and for probes. Returns vLLM's own answer, which has
        `choices`. Raises EngineFailed."""
        self.in_flight += 1
        try:
            answer = await self._call("POST", "/v1/completions", body, seconds)
        finally:
            self.release()
        try:
            found = orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise self.unlike("/v1/completions", error) from error
        if not isinstance(found, dict) or not isinstance(found.get("choices"), list):
            raise self.unlike("/v1/completions", answer[:200])
        return found

    def release(self) -> None:
        """A request that was counted by `in_flight` has ended."""
        self.in_flight -= 1
        self.freed()

    def unlike(self, path: str, what: object) -> EngineFailed:
        """For an answer that can't be read; `what` shows why."""
        return EngineFailed(self.url, f"{path} is not what vLLM answers ({what!r})")

    async def open(self, path: str, body: bytes, stream: bool) -> tuple[Wire, bytes]:
        """Begin a request: the way of its answer, which the caller gives to `done`, and the first piece of it, or all
        of it without `stream`. That may take any time while the engine is healthy.

        Raises EngineDown when there is no engine (any more).
        """
        limit = asyncio.timeout(None if self.healthy else DOWN_SECONDS)
        self._unbegun.add(limit)
        asked = False
        try:
            async with limit:
                wire = await self._wires.ask(path, body, whole=not stream)
                asked = True
                try:
                    return wire, await wire.first()
                except BaseException:
                    wire.close()
                    raise
        except (OSError, TimeoutError) as error:
            if limit.expired():
                what = f"is down ({self.detail}), and an answer had not begun"
                raise EngineDown(self.url, what, asked=asked) from error
            raise _down(self.url, error, asked) from error
        finally:
            self._unbegun.discard(limit)

    def done(self, wire: Wire) -> None:
        """Nothing more is wanted of an answer. An engine that still writes it sees the connection close, and stops."""
        self._wires.give_back(wire)

    def let_go(self) -> None:
        """Close the connections that nothing is asked over just now."""
        self._wires.close()

    async def _call(self, method: str, path: str, body: Any = None, seconds: float = HEALTH_SECONDS) -> bytes:
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": "application/json"}
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with self._session.request(
                method, self.url + path, data=data, headers=headers, timeout=limits
            ) as got:
                answer = await got.read()
        except TimeoutError as error:
            raise EngineFailed(self.url, f"{path} gave no answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _down(self.url, error) from error
        if got.status == 503 or (got.status == 500 and b"EngineDeadError" in answer):
            raise EngineDown(self.url, f"{path} says {got.status}: its engine process died")
        if got.status >= 400:
            raise EngineFailed(self.url, f"{path} says {got.status}: {message_of(answer)}", got.status)
        return answer


def _down(url: str, error: BaseException, asked: bool = False) -> EngineDown:
    return EngineDown(url, str(error) or type(error).__name__, asked=asked)


def message_of(answer: bytes) -> str:
    """The words of an error body, whatever its form."""
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return answer[:200].decode(errors="replace")
    error = body.get("error", body) if isinstance(body, dict) else body
    return str(error.get("message", error) if isinstance(error, dict) else error)


def status_of(answer: bytes) -> int:
    """The HTTP status that an error body tells as its code; 500 where it tells none."""
    try:
        code = orjson.loads(answer)["error"]["code"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return 500
    return code if isinstance(code, int) else 500


def new_session() -> aiohttp.ClientSession:
    """One HTTP client for the calls to all engines; answers go another way (`server.wire`)."""
    connector = aiohttp.TCPConnector(
        limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ttl_dns_cache=60, socket_factory=_probed
    )
    return aiohttp.ClientSession(
        connector=connector, auto_decompress=False, skip_auto_headers=("User-Agent", "Accept-Encoding"), trust_env=False
    )


def _probed(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    probe(made)
    return made


async def settle(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
