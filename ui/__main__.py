"""`python -m ui`: check the settings and the port, then serve the page until told to stop."""

import socket
import sys

from ui.settings import PREFIX, BadSetting, UiSettings, load_settings

IDLE_SECONDS = 75  # proxies reuse a connection that was idle for up to 60 s; it must not end under a request


def main() -> int:
    """Run the page. Returns the exit code: 2 for a setting that cannot be used or a port that is taken."""
    try:
        settings = load_settings()
        listening = listen(settings)
        _words_exist(settings)
    except BadSetting as error:
        print(f"ui: {error}", file=sys.stderr)
        return 2

    import uvicorn

    from ui.app import create_app

    host, port = listening.getsockname()[:2]
    print(f"ui: the page is at http://{host}:{port}", flush=True)
    config = uvicorn.Config(
        create_app(settings), log_level="warning", timeout_keep_alive=IDLE_SECONDS, timeout_graceful_shutdown=3
    )
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def listen(settings: UiSettings) -> socket.socket:
    """A socket bound to the address of the settings. Raises BadSetting, naming what to change."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise BadSetting(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error}); "
            f"free it or set {PREFIX}PORT to another (0 lets the system choose)."
        ) from error
    return listening


def _words_exist(settings: UiSettings) -> None:
    from ui.words import load_words

    try:
        load_words(settings.language)
    except FileNotFoundError as error:
        raise BadSetting(f"{PREFIX}LANGUAGE={settings.language!r} cannot be used: {error}.") from error


if __name__ == "__main__":
    sys.exit(main())
