"""Starts and supervises the processes of one machine: engine, gateway, trainer and page.

Wires the rooms by environment variables and drives them; it knows none of their insides.
"""

import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console

from cli.checks import CannotStart, check_all, free_port
from cli.engine import engine_command, engine_environment
from cli.process import Supervised
from cli.profiles import Profile
from cli.settings import HouseSettings
from cli.sizing import check_budget

_TICK_S = 0.2
_END_S = 7.0  # after so long SIGKILL follows SIGTERM, which keeps Ctrl-C within 10 s
_TRIES = 3  # so many failed starts of one process before the first readiness give up
_HTTP = httpx.Timeout(1.0)
SAMPLER_GIB = 3.5  # main memory of a second engine, with 1 GiB of KV cache


class House:
    """All processes of one machine. `run` returns the exit code."""

    def __init__(self, settings: HouseSettings, profile: Profile, console: Console) -> None:
        self._samples = settings.trainer and _wants_own_engine(profile)
        if self._samples:
            profile = replace(profile, memory_gib=profile.memory_gib + SAMPLER_GIB)
        self.settings, self.profile, self.console = settings, profile, console
        self.processes: list[Supervised] = []
        self._stop = False
        self._gateway = self._ui = self._rounds = ""

    def run(self) -> int:
        """Check, start, announce, supervise, end. Exit code 0 after a signal, 1 if a process never came up."""
        check_all(self.settings, self.profile)
        check_budget(self.settings, self.profile, self.console)
        self._prepare_database()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        begun = time.monotonic()
        try:
            self._wire()
            for process in self.processes:
                process.start()
            if not self._wait_until_ready(begun):
                return 0 if self._stop else 1
            self._announce(time.monotonic() - begun)
            while not self._stop:
                self._tick()
        finally:
            self._end()
        return 0

    # -- the steps

    def _prepare_database(self) -> None:
        from db.errors import DatabaseUnavailable
        from db.session import Database

        database = Database(self.settings.database)
        try:
            database.migrate()
        except DatabaseUnavailable as error:
            raise CannotStart(str(error)) from error
        finally:
            database.close()

    def _wire(self) -> None:
        settings, profile = self.settings, self.profile
        key = _service_key(settings.home)
        engine_port = free_port("127.0.0.1")
        port = settings.port or free_port(settings.host)
        ui_port = settings.ui_port or free_port(settings.host)
        engine, self._gateway = f"http://127.0.0.1:{engine_port}", f"http://{settings.host}:{port}"
        self._ui = f"http://{settings.host}:{ui_port}"
        common = {
            "RUMINATE_HOME": str(settings.home.resolve()),
            "RUMINATE_DATABASE_URL": settings.database,
            "RUMINATE_SERVICE_KEY": key,
            "RUMINATE_PROFILE": profile.name,
            "PYTHONUNBUFFERED": "1",
        }
        if settings.redis_url:
            common["RUMINATE_REDIS_URL"] = settings.redis_url
        if profile.name == "tiny" and not settings.hub:
            common |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        server = {
            "RUMINATE_SERVER_HOST": settings.host,
            "RUMINATE_SERVER_PORT": str(port),
            "RUMINATE_SERVER_ENGINES": json.dumps([engine]),
            "RUMINATE_SERVER_BASE_MODEL": profile.base_model,
            "RUMINATE_SERVER_THINKING_FORMAT": profile.thinking_format,
            **_defaults("RUMINATE_SERVER_", profile.server),
        }
        trainer = {
            "RUMINATE_TRAINER_GATEWAY": self._gateway,
            "RUMINATE_TRAINER_BASE_MODEL": profile.base_model,
            "RUMINATE_TRAINER_THINKING_FORMAT": profile.thinking_format,
            "RUMINATE_TRAINER_TEMPLATE": profile.template,
            "RUMINATE_TRAINER_REWARD_MODEL": profile.reward_model,
            "RUMINATE_TRAINER_JUDGE_MODEL": profile.judge_model,
            "RUMINATE_TRAINER_BASE_MIX": profile.base_mix,
            **_defaults("RUMINATE_TRAINER_", profile.trainer),
        }
        ui = {
            "RUMINATE_UI_GATEWAY": self._gateway,
            "RUMINATE_UI_HOST": settings.host,
            "RUMINATE_UI_PORT": str(ui_port),
        }
        environment = {**common, **engine_environment(profile, "HF_HUB_OFFLINE" in common)}
        self._add("engine", engine_command(profile, engine_port), environment, f"{engine}/health")
        if self._samples:
            port_of_its_own = free_port("127.0.0.1")
            sampler = f"http://127.0.0.1:{port_of_its_own}"
            trainer["RUMINATE_TRAINER_SAMPLING_ENGINE"] = sampler
            self._add("sampler", engine_command(profile, port_of_its_own), environment, f"{sampler}/health")
        self._add("server", [sys.executable, "-m", "server"], _keep_set(common | server), f"{self._gateway}/health")
        if settings.trainer:
            self._add("trainer", [sys.executable, "-m", "trainer"], _keep_set(common | trainer), None)
            self._rounds = _when_rounds_start(os.environ | trainer)
        if settings.ui:
            self._add("ui", [sys.executable, "-m", "ui"], _keep_set(common | ui), self._ui)

    def _add(self, name: str, command: list[str], env: dict[str, str], url: str | None) -> None:
        log = self.settings.logs / f"{name}.log"
        ready = (lambda: _answers(url)) if url else (lambda: True)
        self.processes.append(Supervised(name, command, env, log, ready, self._say))

    def _wait_until_ready(self, begun: float) -> bool:
        console = self.console
        console.print(f"profile [bold]{self.profile.name}[/], home {self.settings.home}, logs in {self.settings.logs}/")
        told: set[str] = set()
        with console.status("starting") as spinner:
            while not self._stop:
                self._tick()
                now = time.monotonic()
                waiting = []
                for process in self.processes:
                    if process.is_ready and process.name not in told:
                        told.add(process.name)
                        console.print(f"  {process.name:8} ready after {now - begun:4.0f} s")
                    if not process.is_ready:
                        waiting.append(process.name)
                        if process.failed_starts >= _TRIES:
                            return self._give_up(process, f"failed {_TRIES} times in a row")
                        if now - begun > self.settings.start_timeout_s:
                            return self._give_up(process, f"is not ready after {now - begun:.0f} s")
                if not waiting:
                    return True
                spinner.update(f"waiting for {', '.join(waiting)} ({now - begun:.0f} s)")
        return False

    def _give_up(self, process: Supervised, why: str) -> bool:
        self.console.print(f"[red]{process.name} {why}[/]; the end of {process.log}:", highlight=False)
        self.console.print(process.last_lines(), markup=False, highlight=False)
        return False

    def _announce(self, seconds: float) -> None:
        run_file = self.settings.run_file
        pids = {process.name: process.pid for process in self.processes}
        state = {"gateway": self._gateway, "ui": self._ui, "pid": os.getpid(), "processes": pids}
        aside = run_file.with_suffix(".new")
        aside.write_text(json.dumps(state))
        aside.replace(run_file)
        self.console.print(f"up after {seconds:.0f} s; OpenAI base URL {self._gateway}/v1; Ctrl-C stops all")
        if self._rounds:
            self.console.print(self._rounds, highlight=False)
        self.console.print(f"[bold green]Ruminate is at {self._ui if self.settings.ui else self._gateway}[/]")

    def _tick(self) -> None:
        for process in self.processes:
            process.tick()
        time.sleep(_TICK_S)

    def _end(self) -> None:
        self.settings.run_file.unlink(missing_ok=True)
        for process in self.processes:
            process.ask_to_end()
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline and not all(process.ended() for process in self.processes):
            time.sleep(0.05)
        for process in self.processes:
            if not process.ended():
                process.kill()
        self.console.print("stopped")

    # -- small things

    def _say(self, text: str) -> None:
        self.console.print(f"[yellow]{time.strftime('%H:%M:%S')}[/] {text}", highlight=False)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True


def _wants_own_engine(profile: Profile) -> bool:
    """Whether rounds of full weights are to sample on a second engine of this machine.

    Raises CannotStart on a GPU: how it is shared between two engines and full training is for a person to say.
    """
    wanted = os.environ.get("RUMINATE_TRAINER_WEIGHTS") or profile.trainer.get("WEIGHTS")
    if wanted != "full" or os.environ.get("RUMINATE_TRAINER_SAMPLING_ENGINE"):
        return False
    if profile.gpu:
        raise CannotStart(
            "RUMINATE_TRAINER_WEIGHTS is 'full', and rounds of full weights sample on an engine of their own: start "
            "another vLLM with the same base model and set RUMINATE_TRAINER_SAMPLING_ENGINE to its URL"
        )
    return True


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=_HTTP).status_code == 200
    except httpx.TransportError:
        return False  # not there yet: the caller asks again


def _keep_set(env: dict[str, str]) -> dict[str, str]:
    """What a person set in the environment wins over the profile, except for what the house decides for all rooms."""
    fixed = (
        *("_HOST", "_PORT", "_ENGINES", "_GATEWAY", "_SERVICE_KEY", "_HOME", "_DATABASE_URL", "_PROFILE"),
        *("_THINKING_FORMAT", "_TEMPLATE"),  # engine, gateway and trainer must have the same
    )
    return {k: v if k.endswith(fixed) else os.environ.get(k, v) for k, v in env.items()}


def _defaults(prefix: str, values: dict[str, str]) -> dict[str, str]:
    """A profile's settings of a room, without those that the operator's environment sets itself."""
    return {prefix + name: value for name, value in values.items() if prefix + name not in os.environ}


def _when_rounds_start(env: Mapping[str, str]) -> str:
    """What the trainer will do unasked, in one sentence, and how to keep it from it; empty where nothing is set.

    A wrong value is the trainer's to refuse, at its start.
    """
    from pydantic import ValidationError

    from trainer.triggers import TriggerSettings

    prefix = "RUMINATE_TRAINER_"
    values = {
        name: env[prefix + name.upper()] for name in TriggerSettings.model_fields if env.get(prefix + name.upper())
    }
    try:
        triggers = TriggerSettings.model_validate(values)
    except ValidationError:
        return ""
    return f"{triggers.in_words}; {prefix}AUTOMATIC=false turns that off" if triggers.any_trigger else ""


def _service_key(home: Path) -> str:
    """The key between gateway and trainer: made once, readable by its owner only."""
    path = home / "service.key"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as sink:
            sink.write("rs-" + secrets.token_urlsafe(32))
    return path.read_text().strip()
