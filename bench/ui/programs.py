"""The processes of the page's benchmark, each by itself on a free port, ended for sure.

The page, the gateway and the browser's driver share no interpreter: what one of them computes would stop the others.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from bench.screenshots import ROOT
from cli.checks import free_port
from cli.process import Supervised

START_SECONDS = 240.0  # Open WebUI imports for a minute on a busy machine, and makes its database
END_SECONDS = 10.0
KEY = "none"  # the gateway behind them lets everybody in


@dataclass(frozen=True)
class Program:
    """A process that runs and answers at `url`."""

    url: str
    pid: int

    def resident_mb(self) -> float:
        """Memory of this process and those that it started, in MB."""
        process = psutil.Process(self.pid)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 2**20


@contextmanager
def program(name: str, folder: Path, command: list[str], env: dict[str, str], path: str = "/") -> Iterator[Program]:
    """Start `command`, in which {port} stands for the port, and wait until it answers at `path`."""
    port = str(free_port("127.0.0.1"))
    url = f"http://127.0.0.1:{port}"
    words = [word.replace("{port}", port) for word in command]
    given = {key: value.replace("{port}", port) for key, value in env.items()}
    process = Supervised(name, words, given, folder / f"{name}.log", lambda: _answers(url + path), print)
    process.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not process.is_ready:
            process.tick()
            if process.failed_starts or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{process.last_lines(30)}")
            time.sleep(0.1)
        assert process.pid is not None
        yield Program(url, process.pid)
    finally:
        process.ask_to_end()
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline and not process.ended():
            time.sleep(0.1)
        process.kill()


@contextmanager
def the_gateway(folder: Path) -> Iterator[Program]:
    """The tests' gateway (bench.ui.gateway)."""
    command = [sys.executable, "-m", "bench.ui.gateway", "--port", "{port}"]
    with program("gateway", folder, command, {"PYTHONPATH": str(ROOT)}, "/v1/models") as found:
        yield found


@contextmanager
def the_page(folder: Path, gateway: str) -> Iterator[Program]:
    """The page as a house starts it."""
    env = {"RUMINATE_UI_GATEWAY": gateway, "RUMINATE_UI_PORT": "{port}", "PYTHONPATH": str(ROOT)}
    with program("ui", folder, [sys.executable, "-m", "ui"], env, "/health") as found:
        yield found


@contextmanager
def the_chatbot(folder: Path, gateway: str, turns: int) -> Iterator[Program]:
    """A plain gr.Chatbot (bench.ui.chatbot)."""
    command = [sys.executable, "-m", "bench.ui.chatbot", "--port", "{port}", "--gateway", gateway]
    with program("chatbot", folder, [*command, "--turns", str(turns)], {"PYTHONPATH": str(ROOT)}) as found:
        yield found


@contextmanager
def open_webui(folder: Path, gateway: str, environment: Path) -> Iterator[Program]:
    """Open WebUI from a virtual environment, without sign-in, on the same gateway, asking nothing but the answers."""
    home = folder / "open-webui"
    home.mkdir()
    off = (
        "WEBUI_AUTH", "ENABLE_OLLAMA_API", "ENABLE_TITLE_GENERATION", "ENABLE_TAGS_GENERATION",
        "ENABLE_FOLLOW_UP_GENERATION", "ENABLE_AUTOCOMPLETE_GENERATION", "ENABLE_EVALUATION_ARENA_MODELS",
        "ENABLE_VERSION_UPDATE_CHECK", "ENABLE_CODE_INTERPRETER", "ANONYMIZED_TELEMETRY",
    )  # fmt: skip
    env = {
        "DATA_DIR": str(home), "OPENAI_API_BASE_URL": f"{gateway}/v1", "OPENAI_API_KEY": KEY,
        "WEBUI_SECRET_KEY": "bench", "DEFAULT_MODELS": "ruminate", "RAG_EMBEDDING_ENGINE": "openai",
        "OFFLINE_MODE": "True", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "true", "SCARF_NO_ANALYTICS": "true",
        **dict.fromkeys(off, "False"),
    }  # fmt: skip
    command = [str(environment / "bin" / "open-webui"), "serve", "--host", "127.0.0.1", "--port", "{port}"]
    with program("open-webui", folder, command, env, "/health") as found:
        yield found


def open_webui_of(folder: str | None) -> Path | None:
    """The virtual environment that Open WebUI is in. Without it there is no such column, and that is said."""
    if folder is None:
        print("Open WebUI: not measured; --open-webui FOLDER names a virtual environment with `pip install open-webui`")
        return None
    if not (Path(folder) / "bin" / "open-webui").is_file():
        raise SystemExit(f"--open-webui {folder}: there is no bin/open-webui; make it with `pip install open-webui`")
    return Path(folder)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False  # not there yet: the caller asks again
