"""Builds every image of the compose files with buildah, runs the house from them, and says what ran.

    make prove-images IMAGES="--help"

Needs root, Debian's packages buildah, debootstrap, postgresql, redis-server and chromium, and the environment of
`make test`. It takes no port of the machine: the house has a network of its own, in which every service finds the
others by the names and ports of the compose file. No part of the tests: see docs/compose.md for its last result.
"""

import argparse
import ctypes
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from images import checks
from images.buildah import BASE, Buildah, Failed, missing_tools
from images.natives import Native, Postgres
from images.services import Contained, Service, bring_up, in_order
from support.compose_file import read_services

from cli.client import GatewayClient

ROOT = Path(__file__).parents[2]
TEAM = [ROOT / "docker-compose.yml"]
CPU = [*TEAM, ROOT / "docker-compose.cpu.yml"]
NATIVE = {"postgres": Postgres, "redis": Native}
_CLONE_NEWNET = 0x40000000


class Proof:
    """What has been done, as lines and, at the end, as JSON."""

    def __init__(self) -> None:
        self.result: dict[str, Any] = {"images": {}, "steps": []}
        self._begun = time.monotonic()

    def tell(self, text: str) -> None:
        print(f"{time.monotonic() - self._begun:6.0f} s  {text}", flush=True)

    def step(self, name: str, work: Callable[[], object]) -> Any:
        """Do one step and note how long it took and what came of it. What it raises ends the proof."""
        begun = time.monotonic()
        seen = work()
        seconds = round(time.monotonic() - begun, 1)
        self.result["steps"].append({"step": name, "seconds": seconds, "seen": str(seen or "")})
        self.tell(f"{name}: {seen or 'done'} ({seconds} s)")
        return seen


def main() -> int:
    """Exit code 0 when all that was asked for went well, 1 when a step failed, 2 when this machine lacks something."""
    wish = _arguments().parse_args()
    if lacking := missing_tools():
        print(f"missing: {', '.join(lacking)}", file=sys.stderr)
        return 2
    (wish.folder / "logs").mkdir(parents=True, exist_ok=True)
    buildah, proof = Buildah(wish.folder, wish.driver, wish.mount), Proof()
    try:
        _build(wish, buildah, proof)
        if wish.run:
            _house(wish.folder, buildah, proof)
    except Failed as error:
        proof.tell(f"FAILED: {error}")
        return 1
    finally:
        print(json.dumps(proof.result))
        if not wish.keep:
            buildah.clean()
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make prove-images", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/ruminate-images"), help="where all of it lies")
    parser.add_argument("--driver", default="overlay", help="buildah's storage: overlay, or vfs where that can't be")
    parser.add_argument("--mirror", default="", help="where debootstrap fetches Debian; by default its own choice")
    parser.add_argument(
        "--mount", action="append", default=[], metavar="HERE:THERE",
        help="shown to the build's commands, such as a pip.conf, a uv.toml or certificates of this network",
    )  # fmt: skip
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="of the Dockerfile, such as WHEELS"
    )
    parser.add_argument("--only", nargs="+", metavar="TARGET", help="build these targets only")
    parser.add_argument("--no-run", dest="run", action="store_false", help="build, and start nothing")
    parser.add_argument("--keep", action="store_true", help="leave images and layers for the next time")
    return parser


def _targets() -> dict[str, str]:
    """Each target of the Dockerfile and its image's name; the small ones come first."""
    blank = {"POSTGRES_PASSWORD": "none", "RUMINATE_SERVICE_KEY": "none"}
    ours = [spec for paths in (CPU, TEAM) for spec in read_services(paths, blank).values() if "build" in spec]
    return {spec["build"]["target"]: spec["image"] for spec in ours}


def _build(wish: argparse.Namespace, buildah: Buildah, proof: Proof) -> None:
    if not (wish.keep and buildah.has(BASE)):
        proof.step("base", lambda: buildah.make_base(wish.mirror))
    arguments = dict(one.split("=", 1) for one in wish.build_arg)
    base = checks.mebibytes(buildah, BASE)
    proof.tell(f"the base is {base} MiB")
    proof.result["images"]["base"] = base
    for target, name in _targets().items():
        image = f"localhost/{name}"
        if wish.only is None or target in wish.only:
            proof.step(
                f"build {target}",
                lambda target=target, image=image: buildah.build(ROOT, target, image, arguments, wish.keep),
            )
        elif not buildah.has(image):
            continue
        proof.result["images"][target] = checks.mebibytes(buildah, image)
        proof.step(
            f"{target} is {proof.result['images'][target]} MiB",
            lambda target=target, image=image: "; ".join(checks.look_into(buildah, target, image)),
        )


def _house(folder: Path, buildah: Buildah, proof: Proof) -> None:
    """Run the CPU house: everything that the two compose files say, but for the Docker engine's own part."""
    _own_network()
    subprocess.run(["rm", "-rf", *(str(folder / name) for name in ("volumes", "sockets"))], check=True)
    secret = {"POSTGRES_PASSWORD": secrets.token_hex(16), "RUMINATE_SERVICE_KEY": secrets.token_hex(32)}
    specs = read_services(CPU, secret)
    services: dict[str, Service] = {}
    try:
        for name in in_order(specs):
            if name in NATIVE:
                services[name] = NATIVE[name](name, specs[name], folder)
            else:
                services[name] = Contained(name, specs[name], folder, buildah, list(specs))
        proof.step("start", lambda: bring_up(services, proof.tell))

        def alive() -> None:
            for name in ("vllm", "server", "trainer", "ui"):
                services[name].alive()

        gateway, page = "http://127.0.0.1:8000", "http://127.0.0.1:7860"
        key = checks.first_administrator(gateway, secret["RUMINATE_SERVICE_KEY"])
        with GatewayClient(gateway, key) as client:
            proof.step("chat", lambda: checks.chat(client))
            proof.step("page", lambda: checks.page(page, key))
            proof.step("record", lambda: checks.recorded(client, 3))
            proof.step("round", lambda: checks.round_of_training(client, alive))
            proof.step("chat after the round", lambda: checks.chat(client))
        alive()
    finally:
        for name, service in reversed(services.items()):
            seconds, code = service.stop()
            proof.step(f"end {name}", lambda s=seconds, c=code: "had to be killed" if c is None else f"{c}, {s:.1f} s")
            if isinstance(service, Contained):
                service.remove()


def _own_network() -> None:
    """From here on this process and all that it starts have a network of their own: a loopback and nothing else."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise Failed(f"no network of its own could be made: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


if __name__ == "__main__":
    sys.exit(main())
