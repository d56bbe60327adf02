"""buildah, with a storage of its own: a base without a registry, the Dockerfile's targets, commands in containers.

Everything runs with `--isolation chroot`, which needs root but neither cgroups nor a daemon; a container has the
caller's network. All that is made lies in one folder and is gone with it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

BASE = "localhost/ruminate-base"
# as in python:3.11-slim-bookworm, with Debian's Python; Triton compiles against the headers
_PACKAGES = "python3,python3-venv,libpython3-dev,ca-certificates"


class Failed(Exception):
    """A step that did not go as it should; the text says which, and what was seen."""


class Buildah:
    """Images and containers under `folder`."""

    def __init__(self, folder: Path, driver: str, mounts: Sequence[str]) -> None:
        self.folder, self._mounts = folder, mounts
        self._command = [
            *("buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "run")),
            *("--storage-driver", driver),
        ]

    def __call__(self, *arguments: str) -> str:
        """Run one command and return what it printed. Raises Failed with the end of what it said."""
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"buildah {' '.join(arguments[:6])} … ended with {done.returncode}: {done.stderr[-1500:]}")
        return done.stdout.strip()

    # -- images

    def make_base(self, mirror: str) -> None:
        """An image of Debian bookworm with its Python 3.11. `mirror`: where debootstrap fetches; empty: its default."""
        tree = self.folder / "base"
        shutil.rmtree(tree, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(tree)]
        with (self.folder / "logs" / "debootstrap.log").open("w") as log:
            made = subprocess.run([*command, mirror] if mirror else command, stdout=log, stderr=log, check=False)
        if made.returncode:
            raise Failed(f"debootstrap ended with {made.returncode}; see {log.name}")
        self._take(tree)
        shutil.rmtree(tree)

    def _take(self, tree: Path) -> None:
        """The base image, of the files in `tree`."""
        container = self("from", "scratch")
        root = self("mount", container)
        subprocess.run(["cp", "-a", f"{tree}/.", root], check=True)
        for spare in ("var/cache/apt", "var/lib/apt/lists", "dev"):
            shutil.rmtree(Path(root) / spare)
            (Path(root) / spare).mkdir()
        self("umount", container)
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self("config", "--env", f"PATH={path}", "--cmd", "bash", container)
        self("commit", "--quiet", "--rm", "--format", "docker", container, BASE)

    def has(self, image: str) -> bool:
        """Whether there is such an image."""
        return any(name in (f"{image}:latest", image) for one in self.listed() for name in one.get("names") or ())

    def listed(self) -> list[dict[str, Any]]:
        """All images."""
        return list(json.loads(self("images", "--json") or "[]"))

    def build(self, context: Path, target: str, image: str, arguments: Mapping[str, str], cached: bool) -> None:
        """Build one target of the Dockerfile. `cached`: keep the build stages' layers for the next time."""
        log = self.folder / "logs" / f"build-{target}.log"
        command = [
            *("bud", "--isolation", "chroot", "--format", "docker", "--pull=never", f"--layers={str(cached).lower()}"),
            *("--build-arg", f"BASE={BASE}"),
            *(part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")),
            *(part for mount in self._mounts for part in ("--volume", f"{mount}:ro")),
            *("--target", target, "--tag", image, "--file", str(context / "Dockerfile"), str(context)),
        ]
        with log.open("w") as sink:
            done = subprocess.run(
                [*self._command, *command], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, check=False
            )
        if done.returncode:
            raise Failed(f"building {target} ended with {done.returncode}: {log.read_text()[-1500:]} ({log})")

    def config(self, image: str) -> dict[str, Any]:
        """What Docker would know of it: Cmd, Env, User, Healthcheck and so on."""
        return dict(json.loads(self("inspect", "--type", "image", image))["Docker"]["config"])

    # -- containers

    def create(self, name: str, image: str, hosts: Sequence[str] = ()) -> None:
        """A container of `image`, not running; the names in `hosts` are this machine's loopback in it."""
        added = [part for host in hosts for part in ("--add-host", f"{host}:127.0.0.1")]
        self("from", "--pull=never", "--name", name, *added, image)

    @contextmanager
    def tree(self, container: str) -> Iterator[Path]:
        """Its files, as long as the context is open."""
        yield Path(self("mount", container))
        self("umount", container)

    def command(
        self, container: str, words: Sequence[str], user: str = "", env: Mapping[str, str] | None = None,
        volumes: Sequence[str] = (),
    ) -> list[str]:  # fmt: skip
        """The command that runs `words` in a container."""
        return [
            *(*self._command, "run", "--isolation", "chroot"),
            *(("--user", user) if user else ()),
            *(part for name, value in (env or {}).items() for part in ("--env", f"{name}={value}")),
            *(part for volume in volumes for part in ("--volume", volume)),
            *(container, "--", *words),
        ]

    def run(self, container: str, *words: str, timeout: float = 600, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run `words` in a container to their end, whatever it is; output and errors come as one text."""
        return subprocess.run(
            self.command(container, words, **how), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False, start_new_session=True,
        )  # fmt: skip

    def start(self, container: str, words: Sequence[str], log: IO[str], **how: Any) -> subprocess.Popen[str]:
        """Run `words` in a container and return at once."""
        return subprocess.Popen(
            self.command(container, words, **how), stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True,
            start_new_session=True,
        )  # fmt: skip

    def remove(self, container: str) -> None:
        self("rm", container)

    def clean(self) -> None:
        """Everything under the folder, and the folder."""
        self("rm", "--all")
        self("rmi", "--all", "--force")
        subprocess.run(["umount", "--quiet", str(self.folder / "storage" / "overlay")], check=False)
        shutil.rmtree(self.folder)


def missing_tools() -> list[str]:
    """What this machine lacks of what is needed, in words."""
    lacking = [] if os.geteuid() == 0 else ["root"]
    return lacking + [name for name in ("buildah", "ip", "redis-server", "redis-cli") if shutil.which(name) is None]
