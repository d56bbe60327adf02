"""The services of a compose file, each started with its own command, environment and health check.

Ours run from their images (here), PostgreSQL and Redis as this machine's own binaries (`images.natives`).
What a Docker engine would do besides is left out: networks, restarts, limits, an init process.
"""

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from images.buildah import Buildah, Failed

_GRACE_S = 10.0  # what Docker gives a container between SIGTERM and SIGKILL
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Service(ABC):
    """One service of the compose file; `spec` is what the file says."""

    def __init__(self, name: str, spec: dict[str, Any], folder: Path) -> None:
        self.name, self.spec, self.folder = name, spec, folder
        self.log = folder / "logs" / f"{name}.log"
        self.process: subprocess.Popen[str] | None = None
        self.environment = {key: str(value) for key, value in (spec.get("environment") or {}).items()}

    @abstractmethod
    def start(self) -> None:
        """Start its command, and return at once."""

    @abstractmethod
    def check(self) -> subprocess.CompletedProcess[str]:
        """Run its health check once."""

    @property
    @abstractmethod
    def health(self) -> dict[str, Any] | None:
        """Its health check as compose writes it; None: it has none."""

    def until_healthy(self) -> float:
        """Wait as Docker does; returns the seconds. Raises Failed when it has ended or counts as unhealthy."""
        health = self.health
        if health is None:
            raise Failed(f"{self.name} has no health check, and others wait for one")
        begun, interval = time.monotonic(), seconds_of(health.get("interval", "30s"))
        patience = seconds_of(health.get("start_period", 0)) + int(health.get("retries", 3)) * interval
        while True:
            self.alive()
            if (done := self.check()).returncode == 0:
                return time.monotonic() - begun
            if time.monotonic() - begun > patience:
                raise Failed(f"{self.name} is unhealthy after {patience:.0f} s: {done.stdout[-800:]}\n{self.said()}")
            time.sleep(min(1.0, interval))  # more often than Docker, to tell the time

    def until_ended(self, seconds: float) -> int:
        """Wait for its end and return how it ended."""
        assert self.process is not None
        return self.process.wait(seconds)

    def alive(self) -> None:
        """Raises Failed if it has ended."""
        if self.process is not None and self.process.poll() is not None:
            raise Failed(f"{self.name} ended with {self.process.returncode}:\n{self.said()}")

    def stop(self) -> tuple[float, int | None]:
        """End it as Docker does: the seconds, and its exit code, or None where it had to be killed."""
        if self.process is None or self.process.poll() is not None:
            return 0.0, self.process.returncode if self.process else None
        begun, below = time.monotonic(), psutil.Process(self.process.pid).children(recursive=True)
        self.served_by(psutil.Process(self.process.pid)).send_signal(self.stop_signal)
        try:
            code: int | None = self.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            code = None
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if code is None:
            self.process.wait(_GRACE_S)
        return time.monotonic() - begun, code

    stop_signal = signal.SIGTERM

    def served_by(self, started: psutil.Process) -> psutil.Process:
        """Which process runs its command, of the one that was started and those below."""
        return started

    def said(self, characters: int = 2000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-characters:]


class Contained(Service):
    """A service of ours, from its image."""

    def __init__(self, name: str, spec: dict[str, Any], folder: Path, buildah: Buildah, hosts: Sequence[str]) -> None:
        super().__init__(name, spec, folder)
        self._buildah, self._container = buildah, f"proof-{name}"
        self._config = buildah.config(f"localhost/{spec['image']}")
        buildah.create(self._container, f"localhost/{spec['image']}", hosts)

    def start(self) -> None:
        words = self.spec.get("command") or self._config["Cmd"]
        with self.log.open("w") as log:
            self.process = self._buildah.start(
                self._container, words, log, user=self.spec["user"], env=self.environment, volumes=self._volumes()
            )

    @property
    def health(self) -> dict[str, Any] | None:
        ours = self.spec.get("healthcheck") or {}
        if ours.get("disable"):
            return None
        if ours.get("test"):
            return ours
        image = self._config.get("Healthcheck")
        return image and {
            "test": image["Test"],
            "interval": image["Interval"] / 1e9,
            "timeout": image["Timeout"] / 1e9,
            "start_period": image.get("StartPeriod", 0) / 1e9,
            "retries": image["Retries"],
        }

    def check(self) -> subprocess.CompletedProcess[str]:
        assert self.health is not None
        return self._buildah.run(
            self._container, *command_of(self.health["test"]), user=self.spec["user"], env=self.environment
        )

    def served_by(self, started: psutil.Process) -> psutil.Process:
        # buildah itself would end at a signal and take the command with it, killed
        return next((one for one in started.children(recursive=True) if Path(one.exe()).name != "buildah"), started)

    def remove(self) -> None:
        """The container, once it has ended."""
        self._buildah.remove(self._container)

    def _volumes(self) -> list[str]:
        """Its named volumes, as folders; a new one is its first user's folder in the image, as Docker makes it."""
        found = []
        for volume in self.spec.get("volumes") or ():
            name, inside = volume.split(":")
            outside = self.folder / "volumes" / name
            if not outside.exists():
                with self._buildah.tree(self._container) as tree:
                    outside.parent.mkdir(exist_ok=True)
                    subprocess.run(["cp", "-a", str(tree / inside.lstrip("/")), str(outside)], check=True)
            found.append(f"{outside}:{inside}")
        return found


def in_order(specs: dict[str, dict[str, Any]]) -> list[str]:
    """The services, each after those that it depends on."""
    order: list[str] = []

    def add(name: str, above: tuple[str, ...] = ()) -> None:
        if name in above:
            raise Failed(f"{name} depends on itself: {' -> '.join((*above, name))}")
        for needed in specs[name].get("depends_on") or ():
            add(needed, (*above, name))
        if name not in order:
            order.append(name)

    for name in specs:
        add(name)
    return order


def bring_up(services: dict[str, Service], tell: Callable[[str], None]) -> None:
    """Start all in order, each once the conditions of its `depends_on` hold. Raises Failed."""
    healthy: dict[str, float] = {}
    for service in services.values():
        for needed, how in (service.spec.get("depends_on") or {}).items():
            other = services[needed]
            if how["condition"] == "service_completed_successfully":
                if code := other.until_ended(300):
                    raise Failed(f"{needed} ended with {code}:\n{other.said()}")
            elif needed not in healthy:
                healthy[needed] = other.until_healthy()
                tell(f"{needed} is healthy after {healthy[needed]:.1f} s")
        service.start()
    for name, service in services.items():
        if name not in healthy and service.health:
            tell(f"{name} is healthy after {service.until_healthy():.1f} s")


def command_of(test: str | list[str]) -> list[str]:
    """A health check's command, from compose's three ways to write it."""
    if isinstance(test, str):
        return ["/bin/sh", "-c", test]
    return list(test[1:]) if test[0] == "CMD" else ["/bin/sh", "-c", *test[1:]]


def seconds_of(value: str | float) -> float:
    """A duration such as `5s` or `1m`."""
    if isinstance(value, str):
        unit = value.lstrip("0123456789.")
        return float(value.removesuffix(unit)) * _UNITS[unit]
    return float(value)
