"""What is checked before anything starts, so that a start fails in one sentence with the value and the remedy."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import psutil

from cli.cards import visible
from cli.profiles import Profile
from cli.running import lock_file
from cli.settings import HouseSettings

_PROBE = 2**16  # bytes that must go into each folder: a start writes a key, a database and logs
_TRIES, _PAUSE_S = 10, 0.1  # a command that looks holds the lock for a moment


class CannotStart(Exception):
    """The house cannot start as things are; the message says why and what to do."""


def check_all(settings: HouseSettings, profile: Profile) -> None:
    """Run every check. Raises CannotStart at the first that fails."""
    check_home(settings.home)
    check_port(settings.host, settings.port, "RUMINATE_PORT")
    if settings.ui:
        check_port(settings.host, settings.ui_port, "RUMINATE_UI_PORT")
    check_exposure(settings, profile)
    check_cards(profile, [card.total / 2**30 for card in visible() if card.total is not None])
    check_memory(profile.memory_gib if settings.min_memory_gib < 0 else settings.min_memory_gib, profile.name)
    check_model(profile)


def check_home(home: Path) -> None:
    """The home folder exists and can be written, with what an earlier start left in it."""
    folders = (home, home / "logs", home / "run")
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(
            f"RUMINATE_HOME is {str(home)!r}, which cannot be made ({error.strerror}); choose another"
        ) from error
    for folder in folders:
        try:
            with TemporaryFile(dir=folder) as probe:
                probe.write(bytes(_PROBE))
        except OSError as error:
            raise CannotStart(
                f"RUMINATE_HOME is {str(home)!r}, and {folder} cannot be written ({error.strerror}); "
                "choose another, make room, or mend its rights"
            ) from error
    for path in (*folders[1].glob("*.log"), *home.glob("ruminate.db*"), *home.glob("service.key")):
        if not os.access(path, os.R_OK if path.name == "service.key" else os.R_OK | os.W_OK):
            raise CannotStart(
                f"RUMINATE_HOME is {str(home)!r}, and {path} is not this user's to write; "
                "start as the user who owns it, or mend its rights"
            )


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the home. Raises CannotStart while another `ruminate up` does."""
    with lock_file(home).open("ab") as file:
        for number in range(_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if number == _TRIES - 1:
                    raise CannotStart(
                        f"RUMINATE_HOME is {str(home)!r}, and another `ruminate up` runs there; "
                        "stop that one, or choose another home"
                    ) from None
                time.sleep(_PAUSE_S)
            except OSError:
                break  # a file system without locks: as good as it was
        yield


def check_port(host: str, port: int, key: str) -> None:
    """Nobody listens on the port yet."""
    free_port(host)
    if port == 0:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"{key} is {port}, and {host}:{port} cannot be used ({error.strerror}); "
                f"stop what uses it, or set {key} to another port (0 lets the system choose)"
            ) from error


def check_exposure(settings: HouseSettings, profile: Profile) -> None:
    """A page that others can reach stands before no gateway that takes everybody on this machine for its admin."""
    keyless = os.environ.get("RUMINATE_SERVER_LOOPBACK_WITHOUT_KEY") or profile.server.get("LOOPBACK_WITHOUT_KEY", "")
    private = settings.host == "localhost" or settings.host.startswith("127.") or settings.host == "::1"
    if settings.ui and not private and keyless.lower() in ("true", "1", "yes", "on"):
        raise CannotStart(
            f"RUMINATE_HOST is {settings.host!r}, where others can reach the page, and the gateway asks nobody on this "
            "machine for a key, so that every visitor would be its admin; set "
            "RUMINATE_SERVER_LOOPBACK_WITHOUT_KEY=false (people then log in with a key), or leave "
            "RUMINATE_HOST at 127.0.0.1"
        )


def check_memory(needed_gib: float, profile: str) -> None:
    """Enough memory is free for the profile's processes."""
    free = psutil.virtual_memory().available / 2**30
    if free < needed_gib:
        raise CannotStart(
            f"{free:.1f} GiB of memory are free and the profile {profile!r} needs {needed_gib:.1f} GiB; "
            "close other programs, or set RUMINATE_MIN_MEMORY_GIB to a lower figure to try all the same"
        )


def check_cards(profile: Profile, found: Sequence[float]) -> None:
    """The GPUs that the profile divides among its processes are there. `found`: memory in GiB of each."""
    large = [gib for gib in found if gib >= profile.card_gib]
    if len(large) < profile.cards:
        sizes = ", ".join(f"{gib:.0f}" for gib in found) or "none"
        raise CannotStart(
            f"the profile {profile.name!r} needs {profile.cards} GPUs of {profile.card_gib:.0f} GiB or more, and there "
            f"are {len(large)} (GiB of each GPU: {sizes}); choose RUMINATE_PROFILE=single-gpu, and "
            f"`ruminate train --preset paper --weights lora` with rates for an adapter, or a larger machine"
        )


def check_model(profile: Profile) -> None:
    """A model given as a folder is there."""
    for name in (profile.base_model, profile.reward_model, profile.judge_model):
        if name.startswith(("/", ".")) and not (Path(name) / "config.json").is_file():
            raise CannotStart(
                f"the profile {profile.name!r} needs the model {name!r}, which is not there; run `make models`"
            )


def free_port(host: str) -> int:
    """A port that the system says is free now. Raises CannotStart where `host` is no address of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise CannotStart(
                f"RUMINATE_HOST is {host!r}, where nothing can listen ({error.strerror}); expected an IPv4 address of "
                "this machine, such as 127.0.0.1, or 0.0.0.0 for all"
            ) from error
        return int(probe.getsockname()[1])
