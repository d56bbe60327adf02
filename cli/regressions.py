"""`ruminate regressions …`: answers that a person keeps an eye on, for which the gate asks again."""

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

from cli.people import Json

Generation = Annotated[str, typer.Argument(help="An answer's id, as the header x-ruminate-generation has it.")]
SHOWN = 60  # characters of an answer


def add_to(app: typer.Typer, client: Callable[[], Any]) -> None:
    """Add these commands; `client` opens a connection to the gateway."""
    own = typer.Typer(
        no_args_is_help=True, help="Answers that later checkpoints must not fall behind, or come back to."
    )
    app.add_typer(own, name="regressions")

    @own.command("list")
    def list_own(as_json: Json = False) -> None:
        """Your own, newest first."""
        with client() as gateway:
            found = gateway.get("/api/regressions")["data"]
        print(json.dumps(found, indent=2) if as_json else "\n".join(line(one) for one in found) or "none")

    @own.command()
    def good(generation: Generation, as_json: Json = False) -> None:
        """This answer was good: a later checkpoint must answer as well."""
        keep(generation, "good", as_json)

    @own.command()
    def never(generation: Generation, as_json: Json = False) -> None:
        """Never again: a later checkpoint must not answer so."""
        keep(generation, "never", as_json)

    @own.command()
    def drop(generation: Generation) -> None:
        """Keep no eye on it any more."""
        with client() as gateway:
            gateway.call("DELETE", f"/api/generations/{generation}/regression")
        print(f"{generation} is kept no more")

    def keep(generation: str, kind: str, as_json: bool) -> None:
        with client() as gateway:
            made = gateway.call("PUT", f"/api/generations/{generation}/regression", {"kind": kind})
        print(
            json.dumps(made, indent=2) if as_json else f"{generation} is kept as `{kind}`; the gate asks for it again"
        )


def line(one: dict[str, Any]) -> str:
    """One answer in a line."""
    said = " ".join((one["response"] or "").split())
    return f"{one['kind']:5}  {one['generation_id']}  {one['model']}  {said[:SHOWN]}"
