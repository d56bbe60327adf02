"""`ruminate users …` and `ruminate keys …`: who may come in, kept by the gateway's administration.

Asks with RUMINATE_API_KEY (an administrator's key), else with the service key of the house, which makes the first one.
"""

import json
import sys
from typing import Annotated, Any

import typer

users = typer.Typer(no_args_is_help=True, help="Who may come in.")
keys = typer.Typer(no_args_is_help=True, help="The keys that they come with.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Requests = Annotated[
    int | None, typer.Option("--requests", min=0, help="Requests a minute, in place of the house's limit; 0: none.")
]
Tokens = Annotated[int | None, typer.Option("--tokens", min=0, help="Tokens a minute, read and written, likewise.")]
Answers = Annotated[int | None, typer.Option("--answers", min=0, help="Answers written at once, likewise.")]
PromptTokens = Annotated[
    int | None, typer.Option("--prompt-tokens", min=1, help="Tokens of a prompt with its history, below the house's.")
]
BodyBytes = Annotated[int | None, typer.Option("--body-bytes", min=1024, help="Bytes of a request, below the house's.")]
Name = Annotated[str, typer.Argument(help="The user's name.")]


def client() -> Any:
    """The gateway, as its administrator."""
    from cli import settings
    from cli.connect import connect

    return connect(settings.admin_key)


@users.command("list")
def list_users(as_json: Json = False) -> None:
    """Everybody, with how many valid keys they have."""
    from cli import tables

    with client() as gateway:
        tables.show(gateway.get("/api/admin/users")["data"], tables.USER, as_json)


@users.command("add")
def add_user(
    name: Name,
    admin: Annotated[bool, typer.Option("--admin", help="Whether they administrate the house.")] = False,
    consent: Annotated[
        str | None, typer.Option(help="none, history or train; by default what the gateway gives new users.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a user; `ruminate keys add` gives them a key."""
    wish = {"name": name, "role": "admin" if admin else "user", "consent": consent}
    with client() as gateway:
        made = gateway.call("POST", "/api/admin/users", wish)
    print(
        json.dumps(made, indent=2) if as_json else f"{made['name']} is a {made['role']} with consent {made['consent']}"
    )


@users.command("disable")
def disable_user(name: Name, as_json: Json = False) -> None:
    """Revoke all keys of a user; what they said stays."""
    with client() as gateway:
        done = gateway.call("POST", f"/api/admin/users/{_quoted(name)}/disable", {})
    print(
        json.dumps(done, indent=2) if as_json else f"{name} can't get in any more; {done['revoked']} keys were revoked"
    )


@keys.command("list")
def list_keys(
    user: Annotated[str | None, typer.Option(help="Of this user alone.")] = None, as_json: Json = False
) -> None:
    """All keys, by their first characters."""
    from cli import tables

    with client() as gateway:
        found = gateway.get("/api/admin/keys", **({"user": user} if user else {}))["data"]
    tables.show(found, tables.KEY, as_json)


@keys.command("add")
def add_key(
    name: Name,
    scope: Annotated[
        list[str] | None, typer.Option(help="chat, app or admin; again for several. By default all that the user may.")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires; by default never.")] = None,
    requests: Requests = None,
    tokens: Tokens = None,
    answers: Answers = None,
    prompt_tokens: PromptTokens = None,
    body_bytes: BodyBytes = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is printed once, on standard output, and can't be shown again."""
    with client() as gateway:
        limits = _limits(requests, tokens, answers, prompt_tokens, body_bytes)
        wish = {"scopes": scope or [], "expires_in_days": days} | limits
        made = gateway.call("POST", f"/api/admin/users/{_quoted(name)}/keys", wish)
    if as_json:
        print(json.dumps(made, indent=2))
        return
    purpose = ", ".join(made["scopes"]) or "everything they may do"
    print(
        f"a key of {name} for {purpose}, valid until {made['expires_at'] or 'revoked'}; keep it now:", file=sys.stderr
    )
    print(made["key"])


@keys.command("limit")
def limit_key(
    key_id: Annotated[str, typer.Argument(help="Its id, as `ruminate keys list` shows it.")],
    requests: Requests = None,
    tokens: Tokens = None,
    answers: Answers = None,
    prompt_tokens: PromptTokens = None,
    body_bytes: BodyBytes = None,
    as_the_house: Annotated[bool, typer.Option("--as-the-house", help="Take back what it has of its own.")] = False,
    as_json: Json = False,
) -> None:
    """Give a key limits of its own; what is not named stays as it is."""
    given = _limits(requests, tokens, answers, prompt_tokens, body_bytes)
    wish = {name: value for name, value in given.items() if as_the_house or value is not None}
    with client() as gateway:
        done = gateway.call("PATCH", f"/api/admin/keys/{_quoted(key_id)}", wish)
    own = {name: value for name, value in done["limits"].items() if value is not None}
    said = ", ".join(f"{name} {value or 'without limit'}" for name, value in own.items())
    print(json.dumps(done, indent=2) if as_json else f"key {key_id}: {said or 'the limits of the house'}")


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="Its id, as `ruminate keys list` shows it.")]) -> None:
    """Make a key open nothing any more."""
    with client() as gateway:
        gateway.call("DELETE", f"/api/admin/keys/{_quoted(key_id)}")
    print(f"key {key_id} is revoked")


def _limits(
    requests: int | None, tokens: int | None, answers: int | None, prompt_tokens: int | None, body_bytes: int | None
) -> dict[str, int | None]:
    return {
        "requests_per_minute": requests,
        "tokens_per_minute": tokens,
        "concurrent_answers": answers,
        "max_prompt_tokens": prompt_tokens,
        "max_body_bytes": body_bytes,
    }


def _quoted(part: str) -> str:
    from urllib.parse import quote

    return quote(part, safe="")
