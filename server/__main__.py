"""Starts the gateway: `python -m server`. Settings come from the environment; a wrong one ends it with one sentence."""

import ctypes
import re
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from server.settings import ServerSettings


_M_ARENA_MAX = -8  # of glibc's malloc.h
MOST_FILES = 65_536  # and connections; more than any machine answers at once
GRACE_SECONDS = 5  # in which answers may come to their end once this process is told to end; `ruminate` kills after 7
IDLE_SECONDS = 75  # clients and proxies reuse a connection that was idle for 5 to 60 s; it must not end under a request


def main() -> int:
    """Exit code 0 after a signal, 2 when a setting, the port or the database is not usable, 1 after a failure."""
    from server.settings import ServerSettings

    try:
        settings = ServerSettings()
    except ValidationError as error:
        return _refuse(_sentence(error))
    except Exception as error:  # noqa: BLE001  a list that is no JSON is pydantic-settings' own kind of error
        return _refuse(f"RUMINATE_SERVER settings: {error}")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        return _refuse(
            f"RUMINATE_SERVER_PORT={settings.port}: can't listen on {settings.host}:{settings.port} "
            f"({error.strerror}); stop what uses it, or choose another port"
        )
    return _serve(settings.model_copy(update={"port": listener.getsockname()[1]}), listener)


def _serve(settings: "ServerSettings", listener: socket.socket) -> int:
    import uvicorn

    from db.errors import StorageError
    from db.session import Database
    from server import logs
    from server.app import create_app
    from server.tensors import Unfit

    _share_memory()
    _open_many()
    sys.setswitchinterval(0.0005)  # the thread that records must not keep answers waiting for 5 ms at a time
    logs.set_up(settings.log_format, settings.access_log)
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        database = Database(settings.database)
        database.migrate()
        app = create_app(settings, database)
        config = uvicorn.Config(
            app, loop="uvloop", http="httptools", lifespan="on", log_config=None, access_log=False,
            backlog=2048, timeout_keep_alive=IDLE_SECONDS, timeout_graceful_shutdown=GRACE_SECONDS, server_header=False,
            proxy_headers=False,
        )  # fmt: skip
        server = _server(config, app)
        _end_by_ourselves(server)
        print(f"gateway on http://{settings.host}:{settings.port}", flush=True)
        server.run(sockets=[listener])
        if isinstance(app.state.failure, (StorageError, OSError, Unfit)):
            raise app.state.failure
    except StorageError as error:
        return _refuse(str(error))
    except Unfit as error:
        return _refuse(f"RUMINATE_SERVER_BASE_MODEL={settings.base_model}: {error}; make it readable for this user")
    except OSError as error:
        return _refuse(f"RUMINATE_HOME={settings.home}: {error}")
    database.close()
    return 0 if server.started else 1


def _server(config: "uvicorn.Config", app: "FastAPI") -> "uvicorn.Server":
    """uvicorn's, which lets the application know until when answers may go on once it is told to end."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.ends_at = time.monotonic() + GRACE_SECONDS
            await super().shutdown(sockets)

    return Server(config)


def _end_by_ourselves(server: Any) -> None:
    """Have a signal that ended the server, which uvicorn raises once more at its very end, end nothing else."""

    def ended(*_: object) -> None:
        if not server.should_exit:  # it came before the server had begun to listen for signals
            raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ended)


def _share_memory() -> None:
    """Let all threads take memory from one place, where the C library is glibc.

    By default each has its own, and what one thread frees is no help to another: memory grew for as long as answers
    were recorded. One thread runs at a time anyhow.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def _open_many() -> None:
    """Have as many files and connections as the system allows: an answer takes two, and a shell often allows 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # a system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    field = str(first["loc"][0])
    key = field.upper() if field.upper().startswith("RUMINATE_") else f"RUMINATE_SERVER_{field.upper()}"
    given = re.sub(r"//[^/@]*@", "//…@", repr(first["input"]))  # a URL's password goes to no log
    return f"{key} is {given}: {first['msg'].removeprefix('Value error, ')}"


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
