"""A command's connection to the gateway, and what to say where the two are of different versions."""

from collections.abc import Callable
from contextvars import ContextVar

from cli import __version__, settings
from cli.client import GatewayClient, GatewayError

_ASKED: ContextVar[str | None] = ContextVar("address of the gateway that this command asked", default=None)


def connect(key: Callable[[settings.HouseSettings], str | None]) -> GatewayClient:
    """The gateway that the settings name, with the key that `key` finds. Raises BadSetting."""
    chosen = settings.load()
    client = GatewayClient(settings.gateway_url(chosen), key(chosen))
    _ASKED.set(client.base_url)
    return client


def misunderstood(error: Exception) -> str | None:
    """What to say where a command stumbled over an answer of its gateway, since that is of another version.

    None where it asked none, or both are of one version: then the fault is the command's, and a traceback tells where.
    """
    url = _ASKED.get()
    if url is None or (theirs := _version(url)) == __version__:
        return None
    what = f"without {error}" if isinstance(error, KeyError) else "in another form"
    return (
        f"the gateway at {url} is of {f'version {theirs}' if theirs else 'a version that it does not tell'}, and this "
        f"command of version {__version__} does not understand what it answers ({what}); use the `ruminate` that "
        "belongs to that gateway"
    )


def _version(url: str) -> str | None:
    with GatewayClient(url) as client:
        try:
            return str(client.get("/openapi.json")["info"]["version"])
        except (GatewayError, LookupError, TypeError):
            return None
