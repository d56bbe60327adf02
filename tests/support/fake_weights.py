"""What the fake engine has loaded: adapters, and full weights that take the place of its base."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

BASE, ROOT = "ruminate-v0", "/base"
IN_CHANGE = "in-change"  # what gateways call weights that are being replaced
BASE_LOGPROB = -1.0  # of every token, by the base; an adapter's folder says its own in `logprob.txt`


class FakeWeights:
    """What an engine has, and the calls by which that changes, as vLLM takes them."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.root = ROOT  # the folder of the base, as it tells
        self.adapters: dict[str, str] = {}
        self.ignores_adapters = False
        self.load_delay = 0.0  # seconds that loading an adapter takes
        self.unload_delay = 0.0
        self.loading = 0
        self.loads = self.unloads = 0
        self.weights = ""  # the folder of the full weights that took the place of the base
        self.version = "default"
        self.ignores_reloads = False
        self.reload_delay = 0.0  # seconds that replacing the weights takes
        self.paused = False
        self.pauses = self.reloads = 0
        self.running = 0  # answers that are being written
        self.mixed = 0  # of them, those that were while the weights changed
        self.at = ""  # the point of a call, as in the calls of _reach, at which `then` is called once
        self.then: Callable[[], None] = lambda: None

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        app.router.add_get("/weight_info", self._weight_info)
        app.router.add_post("/update_weight_version", self._call_weights)
        app.router.add_post("/pause", self._pause)
        app.router.add_post("/resume", self._resume)
        app.router.add_get("/is_paused", self._is_paused)
        app.router.add_post("/collective_rpc", self._collective_rpc)

    def forget_weights(self) -> None:
        """What a restart does to them."""
        self.adapters.clear()
        self.weights, self.version, self.paused = "", "default", False

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._reach("load")
        self.loading += 1
        await asyncio.sleep(self.load_delay)
        if body["lora_name"] in self.adapters:
            return refused(400, f"The lora adapter '{body['lora_name']}' has already been loaded.")
        if not (Path(body["lora_path"]) / "adapter_config.json").is_file():
            return refused(404, f"Loading lora {body['lora_name']} failed: No adapter found for {body['lora_path']}")
        self.adapters[body["lora_name"]] = body["lora_path"]
        self.loads += 1
        self._reach("loaded")
        return web.Response(text="Success")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        self._reach("unload")
        await asyncio.sleep(self.unload_delay)
        if self.adapters.pop(name, None) is None:
            return refused(404, f"The lora adapter '{name}' cannot be found.")
        self.unloads += 1
        self._reach("unloaded")
        return web.Response(text="Success")

    async def _weight_info(self, _: web.Request) -> web.Response:
        return web.json_response({"weight_version": self.version})

    async def _call_weights(self, request: web.Request) -> web.Response:
        self.version = (await request.json())["new_version"]
        self._reach("in change" if self.version == IN_CHANGE else "named")
        return web.json_response({"success": True, "new_version": self.version})

    async def _pause(self, request: web.Request) -> web.Response:
        assert request.query["mode"] == "wait"
        self.paused = True
        self.pauses += 1
        while self.running:  # noqa: ASYNC110  as vLLM, answers end first
            await asyncio.sleep(0.005)
        self._reach("paused")
        return web.json_response({"status": "paused"})

    async def _resume(self, _: web.Request) -> web.Response:
        self.paused = False
        self._reach("resumed")
        return web.json_response({"status": "resumed"})

    async def _is_paused(self, _: web.Request) -> web.Response:
        return web.json_response({"is_paused": self.paused})

    async def _collective_rpc(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body["method"] == "reload_weights"
        self.mixed += self.running
        await asyncio.sleep(self.reload_delay)
        path = body["kwargs"]["weights_path"]
        if not self.ignores_reloads:
            self.weights = "" if path == self.root else path
        self.reloads += 1
        self._reach("reloaded")
        return web.json_response({"results": [None]})

    async def _resumed(self) -> None:
        while self.paused:  # noqa: ASYNC110  as vLLM, which keeps what comes meanwhile
            await asyncio.sleep(0.005)

    def _logprob(self, model: str) -> float:
        if model == BASE and self.weights:
            return float((Path(self.weights) / "logprob.txt").read_text())
        if model == BASE or self.ignores_adapters:
            return BASE_LOGPROB
        said = Path(self.adapters[model]) / "logprob.txt"
        return float(said.read_text()) if said.is_file() else -2.0

    def _reach(self, point: str) -> None:
        if self.at == point:
            self.at = ""
            self.then()


def refused(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    return web.json_response({"error": error}, status=status)
