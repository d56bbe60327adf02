"""Starts and supervises the processes of one machine: engine, gateway, trainer and page.

Wires the rooms by environment variables and drives them; it knows none of their insides.
"""

import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console
from rich.markup import escape

from cli.checks import CannotStart, check_all, check_home, free_port, only_one
from cli.engine import engine_command, engine_environment
from cli.names import unread
from cli.process import Supervised
from cli.profiles import Profile
from cli.settings import HouseSettings
from cli.sizing import check_budget

_TICK_S = 0.2
_END_S = 7.0  # after so long SIGKILL follows SIGTERM, which keeps Ctrl-C within 10 s
_ENGINE_S = 2.0  # of these an engine has at least, whatever the gateway takes
_TRIES = 3  # so many failed starts of one process before the first readiness give up
_HTTP = httpx.Timeout(1.0)
EVERYWHERE = "0.0.0.0"  # noqa: S104  an address to listen on, and none to open
SAMPLER_GIB = 3.5  # main memory of a second engine, with 1 GiB of KV cache


def end_all(processes: Sequence[Supervised]) -> None:
    """End every process, by SIGKILL what takes too long. The engine that people's answers come from writes on until the
    gateway has ended, which lets them come to their end."""
    gateways = [one for one in processes if one.name == "server"]
    last = [one for one in processes if one.name == "engine" and one.is_ready and gateways]
    for process in processes:
        if process not in last:
            process.ask_to_end()
    deadline = time.monotonic() + _END_S
    while time.monotonic() < deadline and not all(process.ended() for process in processes):
        if last and (all(one.ended() for one in gateways) or time.monotonic() > deadline - _ENGINE_S):
            last.pop().ask_to_end()
        time.sleep(0.05)
    for process in processes:
        if not process.ended():
            process.kill()


class House:
    """All processes of one machine. `run` returns the exit code."""

    def __init__(self, settings: HouseSettings, profile: Profile, console: Console) -> None:
        self._samples = settings.trainer and _wants_own_engine(profile)
        if self._samples:
            profile = replace(profile, memory_gib=profile.memory_gib + SAMPLER_GIB)
        self.settings, self.profile, self.console = settings, profile, console
        self.processes: list[Supervised] = []
        self._stop = False
        self._told: set[str] = set()
        self._gateway = self._ui = self._rounds = self._others = ""

    def run(self) -> int:
        """Check, start, announce, supervise, end. Exit code 0 after a signal, 1 if a process never came up.

        Raises CannotStart, which is exit code 2, when something is wrong as it is, be it only a room that says so.
        """
        check_home(self.settings.home)
        with only_one(self.settings.home):
            check_all(self.settings, self.profile)
            check_budget(self.settings, self.profile, self.console)
            self._prepare_database()
            return self._run()

    def _run(self) -> int:
        self._heed_signals()
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
                self._tell_ready(begun)
        finally:
            self._end()
        return 0

    # -- the steps

    def _prepare_database(self) -> None:
        from db.errors import DatabaseUnavailable
        from db.session import Database

        try:
            with closing(Database(self.settings.database)) as database:
                database.migrate()
        except DatabaseUnavailable as error:
            raise CannotStart(str(error)) from error

    def _wire(self) -> None:
        settings, profile = self.settings, self.profile
        key = os.environ.get("RUMINATE_SERVICE_KEY") or _service_key(settings.home)
        engine_port = free_port("127.0.0.1")
        port = settings.port or free_port(settings.host)
        ui_port = settings.ui_port or free_port(settings.host)
        here = "127.0.0.1" if settings.host == EVERYWHERE else settings.host
        engine, self._gateway = f"http://127.0.0.1:{engine_port}", f"http://{here}:{port}"
        self._ui = f"http://{here}:{ui_port}"
        if settings.host == EVERYWHERE:
            self._others = f"http://{socket.gethostname()}:{ui_port if settings.ui else port}"
        common = {
            "RUMINATE_HOME": str(settings.home.resolve()),
            "RUMINATE_DATABASE_URL": settings.database,
            "RUMINATE_SERVICE_KEY": key,
            "RUMINATE_PROFILE": profile.name,
            "RUMINATE_MAX_LORA_RANK": str(profile.engine.max_lora_rank),
            "CUDA_DEVICE_ORDER": os.environ.get(
                "CUDA_DEVICE_ORDER", "PCI_BUS_ID"
            ),  # cards are numbered as nvidia-smi does
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
            "RUMINATE_TRAINER_DEFAULTS": json.dumps(profile.trainer_defaults),
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
            ready = (settings.run_file.parent / "trainer.json").resolve()
            trainer["RUMINATE_TRAINER_READY_FILE"] = str(ready)
            self._add("trainer", [sys.executable, "-m", "trainer"], _keep_set(common | trainer), ready)
            self._rounds = _when_rounds_start(_defaults("RUMINATE_TRAINER_", profile.trainer) | os.environ | trainer)
        if settings.ui:
            self._add("ui", [sys.executable, "-m", "ui"], _keep_set(common | ui), self._ui)

    def _add(self, name: str, command: list[str], env: dict[str, str], sign: str | Path) -> None:
        """`sign` of readiness: a URL that answers, or a file in which the process has written its id."""
        if name in self.profile.devices:
            env = env | {"CUDA_VISIBLE_DEVICES": _visible(self.profile.devices[name])}
        log = self.settings.logs / f"{name}.log"
        process: Supervised = Supervised(name, command, env, log, lambda: _shows(sign, process.pid), self._say)
        self.processes.append(process)

    def _wait_until_ready(self, begun: float) -> bool:
        """Until people can chat. The trainer, which gives way to all others, may be ready later."""
        home, logs = escape(str(self.settings.home)), escape(str(self.settings.logs))
        self._print(f"profile [bold]{self.profile.name}[/], home {home}, logs in {logs}/")
        for sentence in unread(os.environ):
            self._say(sentence)
        with self.console.status("starting") as spinner:
            while not self._stop:
                self._tick()
                self._tell_ready(begun)
                now = time.monotonic()
                waiting = []
                for process in self.processes:
                    if not process.is_ready and process.name != "trainer":
                        waiting.append(process.name)
                        if process.failed_starts >= _TRIES:
                            return self._give_up(process, f"failed {_TRIES} times in a row")
                        if now - begun > self.settings.start_timeout_s:
                            return self._give_up(process, f"is not ready after {now - begun:.0f} s")
                if not waiting:
                    return True
                spinner.update(f"waiting for {', '.join(waiting)} ({now - begun:.0f} s)")
        return False

    def _tell_ready(self, begun: float) -> None:
        for process in self.processes:
            if process.is_ready and process.name not in self._told:
                self._told.add(process.name)
                self._print(f"  {process.name:8} ready after {time.monotonic() - begun:4.0f} s")

    def _give_up(self, process: Supervised, why: str) -> bool:
        self._print(f"[red]{process.name} {why}[/]; the end of {escape(str(process.log))}:", highlight=False)
        self._print(process.last_lines(), markup=False, highlight=False)
        return False

    def _announce(self, seconds: float) -> None:
        run_file = self.settings.run_file
        pids = {process.name: process.pid for process in self.processes}
        state = {"gateway": self._gateway, "ui": self._ui, "pid": os.getpid(), "processes": pids}
        aside = run_file.with_suffix(".new")
        aside.write_text(json.dumps(state))
        aside.replace(run_file)
        self._print(f"up after {seconds:.0f} s; OpenAI base URL {self._gateway}/v1; Ctrl-C stops all")
        if self._rounds:
            self._print(self._rounds, highlight=False)
        if self.settings.first_admin_key.exists():
            self._print(f"the administrator's key, to sign in with, is in {escape(str(self.settings.first_admin_key))}")
        if self._others:
            self._print(f"others reach it by this machine's name or address, such as {self._others}")
        self._print(f"[bold green]Ruminate is at {self._ui if self.settings.ui else self._gateway}[/]")

    def _tick(self) -> None:
        for process in self.processes:
            process.tick()
            if process.refused:
                said = process.last_sentence() or f"it gave no reason; see {process.log}"
                raise CannotStart(f"{process.name} can't start: {said.removeprefix(process.name + ': ')}")
        time.sleep(_TICK_S)

    def _end(self) -> None:
        self.settings.run_file.unlink(missing_ok=True)
        end_all(self.processes)
        self._print("stopped")

    # -- small things

    def _say(self, text: str) -> None:
        self._print(f"[yellow]{time.strftime('%H:%M:%S')}[/] {escape(text)}", highlight=False)

    def _print(self, text: str, markup: bool = True, highlight: bool = True) -> None:
        """Say it where somebody can hear. A terminal that is gone, or a full disk behind it, ends no house."""
        with suppress(OSError, SystemExit):  # what rich makes of a broken pipe is an exit
            self.console.print(text, markup=markup, highlight=highlight)

    def _heed_signals(self) -> None:
        """End on Ctrl-C, on SIGTERM, and when the terminal is closed, unless that is ignored, as under nohup."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True


def _wants_own_engine(profile: Profile) -> bool:
    """Whether rounds of full weights are to sample on a second engine of this machine.

    Raises CannotStart on a GPU: how it is shared between two engines and full training is for a person to say.
    """
    if not _trains_full(profile) or os.environ.get("RUMINATE_TRAINER_SAMPLING_ENGINE"):
        return False
    if profile.gpu and "sampler" not in profile.devices:
        raise CannotStart(
            "rounds are to train full weights (RUMINATE_TRAINER_WEIGHTS, or a preset) and then sample on an engine of "
            "their own: start another vLLM with the same base model and set RUMINATE_TRAINER_SAMPLING_ENGINE to its URL"
        )
    return True


def _trains_full(profile: Profile) -> bool:
    """Whether rounds train full weights unless they say otherwise: as a person set it, their preset, or the profile."""
    from trainer.presets import preset

    def value(name: str) -> str:
        return os.environ.get(f"RUMINATE_TRAINER_{name}") or profile.trainer.get(name, "")

    if own := os.environ.get("RUMINATE_TRAINER_WEIGHTS"):
        return own == "full"
    try:
        named = preset(value("PRESET"), value("ALGORITHM") or "grpo") if value("PRESET") else {}
    except ValueError:
        return False  # one that there is none of: the trainer refuses it, with those that there are
    return (named.get("weights") or value("WEIGHTS")) == "full"


def _visible(places: str) -> str:
    """Those of the GPUs that this process may use, by their places among them."""
    mine = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in mine.split(",") if name.strip()]
    chosen = [int(place) for place in places.split(",")]
    return ",".join(names[place] if place < len(names) else str(place) for place in chosen)


def _answers(url: str) -> bool:
    try:
        # its own process, asked several times a second beside its start: a proxy that the environment names does not
        # reach it, and without TLS it takes no certificates, which are long to read
        return httpx.get(url, timeout=_HTTP, trust_env=False, verify=False).status_code == 200
    except httpx.TransportError:
        return False  # not there yet: the caller asks again


def _shows(sign: str | Path, pid: int | None) -> bool:
    """Whether a process is ready by its sign. A file that an earlier start left doesn't count."""
    if isinstance(sign, str):
        return _answers(sign)
    try:
        return pid is not None and json.loads(sign.read_text())["pid"] == pid
    except FileNotFoundError:
        return False


def _keep_set(env: dict[str, str]) -> dict[str, str]:
    """What a person set in the environment wins over the profile, except for what the house decides for all rooms."""
    addresses = ("_HOST", "_PORT", "_ENGINES", "_GATEWAY", "_SERVICE_KEY", "_HOME", "_DATABASE_URL", "_PROFILE")
    alike = ("_THINKING_FORMAT", "_TEMPLATE", "_MAX_LORA_RANK")  # engine, gateway and trainer must have the same
    fixed = (*addresses, *alike, "_FILE")
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
    """The key between gateway and trainer: made once, whole or not at all, readable by its owner only."""
    path = home / "service.key"
    if not path.exists() or not path.read_text().strip():  # empty: a start that a full disk ended left it so
        aside = path.with_suffix(".new")
        aside.unlink(missing_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as sink:
            sink.write("rs-" + secrets.token_urlsafe(32))
            sink.flush()
            os.fsync(sink.fileno())
        aside.replace(path)
    return path.read_text().strip()
