"""`ruminate engines …`: the vLLM servers behind the gateway, added and removed while people chat."""

import json
from typing import Annotated

import typer

from cli.people import Json, client

engines = typer.Typer(no_args_is_help=True, help="The engines behind the gateway.")
Url = Annotated[str, typer.Argument(help="Base URL, such as http://10.0.0.7:8100.")]


@engines.command("list")
def list_engines(as_json: Json = False) -> None:
    """Every engine, its state and what it has loaded."""
    from cli import tables

    with client() as gateway:
        tables.show(gateway.get("/api/admin/engines")["data"], tables.ENGINE, as_json)


@engines.command("add")
def add_engine(url: Url, as_json: Json = False) -> None:
    """Add an engine that runs already; it takes requests once it has what is live."""
    with client() as gateway:
        made = gateway.call("POST", "/api/admin/engines", {"url": url})
    print(json.dumps(made, indent=2) if as_json else f"engine {made['url']} is added and {made['state']}")


@engines.command("remove")
def remove_engine(url: Url) -> None:
    """Send an engine nothing more; what it writes goes on to its end."""
    from urllib.parse import urlencode

    with client() as gateway:
        gateway.call("DELETE", f"/api/admin/engines?{urlencode({'url': url})}")
    print(f"engine {url} is removed; stop it when the answers that it writes have ended")
