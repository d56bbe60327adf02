"""The command `ruminate`: one short function per command, each a client of the gateway, but for `up`."""

import sys
from typing import Annotated, Any

import typer

from cli import __version__, engines, people, regressions, teach, trust

HELP = """Starts a house (`up`), chats with it, and looks after it.

All but `up`, `engine` and `budget` ask the gateway that runs: the one of RUMINATE_HOME on this machine, or that of
RUMINATE_GATEWAY, with the key in RUMINATE_API_KEY.

Exit codes: 0 done, 1 failed, 2 wrong use or a start that cannot be, 3 a round that the gate rejected after training,
130 ended by Ctrl-C.
"""
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=HELP,
    rich_markup_mode="markdown",  # which fills the lines of a paragraph anew, whatever the terminal's width
)
app.add_typer(people.users, name="users")
app.add_typer(people.keys, name="keys")
app.add_typer(engines.engines, name="engines")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the change.")]


def main() -> None:
    """Entry point: turns what the rooms refuse into one sentence and an exit code."""
    from cli.checks import CannotStart
    from cli.client import GatewayError
    from cli.connect import misunderstood
    from cli.settings import BadSetting

    try:
        app()
    except (CannotStart, BadSetting) as error:
        print(f"ruminate: {error}", file=sys.stderr)
        sys.exit(2)
    except GatewayError as error:
        print(f"ruminate: {error.message}", file=sys.stderr)
        sys.exit(1)
    except (LookupError, TypeError, AttributeError) as error:
        if (sentence := misunderstood(error)) is None:
            raise
        print(f"ruminate: {sentence}", file=sys.stderr)
        sys.exit(1)


def _client() -> Any:
    from cli import settings
    from cli.connect import connect

    return connect(settings.own_key)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"ruminate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None: ...


@app.command()
def up(
    profile: Annotated[
        str | None, typer.Option(help="tiny, small, single-gpu or paper; by default what the machine has.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the gateway; 0 lets the system choose.")] = None,
    ui_port: Annotated[int | None, typer.Option(help="Port of the page; 0 lets the system choose.")] = None,
) -> None:
    """Start the engine, the gateway, the trainer and the page; Ctrl-C stops all.

    They listen on this machine alone, unless RUMINATE_HOST names another address. docs/settings.md lists all settings,
    docs/operations.md says what it takes to let others in.
    """
    from rich.console import Console

    from cli import settings
    from cli.house import House

    chosen = settings.load(profile=profile, port=port, ui_port=ui_port)
    sys.exit(House(chosen, chosen.chosen_profile(), Console()).run())


@app.command()
def budget(
    profile: Annotated[str | None, typer.Option(help="tiny, small, single-gpu or paper.")] = None, as_json: Json = False
) -> None:
    """What the house would need of the card or of memory, part by part; starts nothing.

    Exit code 2: it can't fit, and a start would be refused.
    """
    from rich.console import Console

    from cli import settings
    from cli.sizing import check_budget

    chosen = settings.load(profile=profile)
    check_budget(chosen, chosen.chosen_profile(), Console(stderr=as_json), sys.stdout if as_json else None)


@app.command()
def engine(
    host: Annotated[str, typer.Option(help="Address; the control endpoints have no password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8100,
    profile: Annotated[str | None, typer.Option(help="tiny, small, single-gpu or paper.")] = None,
) -> None:
    """Run one engine alone, in the foreground, as a container does; `up` starts one by itself."""
    import os

    from cli import settings
    from cli.engine import engine_command, engine_environment

    chosen = settings.load(profile=profile)
    model = chosen.chosen_profile()
    os.environ.update(engine_environment(model, offline=model.name == "tiny" and not chosen.hub))
    command = engine_command(model, port, host)
    os.execv(command[0], command)


@app.command()
def chat(
    prompt: Annotated[str | None, typer.Argument(help="What to ask; without it, a conversation.")] = None,
    model: Annotated[str, typer.Option(help="ruminate is the live checkpoint, ruminate-v3 pins one.")] = "ruminate",
    think: Annotated[bool, typer.Option(help="Whether the model thinks before it answers.")] = True,
    show: Annotated[bool, typer.Option(help="Whether to print the thought.")] = True,
) -> None:
    """Ask the live model; the thought is dimmed, the response follows."""
    from cli.talk import converse

    with _client() as client:
        converse(client, prompt, model, think, show)


@app.command()
def train(
    now: Annotated[bool, typer.Option("--now", help="Ask for a round at once (the default; said for clarity).")] = True,
    algorithm: Annotated[
        str, typer.Option(help="grpo, dpo, ppo or sft; without it, as the trainer is set.", show_default=False)
    ] = "",
    preset: Annotated[str | None, typer.Option(help="Settings under one name, such as paper.")] = None,
    weights: Annotated[str | None, typer.Option(help="What is trained: lora or full.")] = None,
    rlhf: Annotated[bool, typer.Option("--rlhf", help="The control: the same round without a thought.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the round.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the round.")] = None,
    reason: Reason = "asked for on the command line",
    as_json: Json = False,
) -> None:
    """Run one round, or go on with the open one, and watch it to its end."""
    from cli.rounds import run_round

    wished = {"steps": steps, "preset": preset, "weights": weights, "rlhf": rlhf or None}
    config = {name: value for name, value in wished.items() if value is not None}
    with _client() as client:
        sys.exit(run_round(client, algorithm, config, reason, as_json, seed))


@app.command()
def rounds(
    round_id: Annotated[int | None, typer.Argument(metavar="ROUND", help="One of them, whole.")] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A round's figures, a line for each step.")] = False,
) -> None:
    """All rounds, newest first; or one: what it ran with, what the gate checked, and its figures by step."""
    from cli import rounds, tables

    if as_csv and (as_json or round_id is None):
        raise typer.BadParameter("of one round alone: ruminate rounds ROUND --csv", param_hint="--csv")
    with _client() as client:
        if round_id is None:
            tables.show(client.rounds(), tables.ROUND, as_json)
        elif as_csv:
            rounds.write_steps(client.round(round_id), sys.stdout)
        else:
            tables.show_round(client.round(round_id), as_json)


@app.command()
def cancel(
    round_id: Annotated[int | None, typer.Argument(metavar="ROUND", help="A round; by default the open one.")] = None,
    reason: Reason = "on the command line",
) -> None:
    """Stop a round; nothing of what it has trained is published."""
    from cli.rounds import cancel_round

    with _client() as client:
        sys.exit(cancel_round(client, round_id, reason))


@app.command()
def prompts(
    round_id: Annotated[int | None, typer.Argument(metavar="ROUND", help="A round; by default the newest.")] = None,
    as_json: Json = False,
) -> None:
    """What curation made of a round's prompts: how many were kept and left, and why."""
    from cli.rounds import funnel

    with _client() as client:
        funnel(client, round_id, as_json)


@app.command()
def checkpoints(as_json: Json = False) -> None:
    """All checkpoints, newest first."""
    from cli import tables

    with _client() as client:
        tables.show(client.checkpoints(manifests=as_json), tables.CHECKPOINT, as_json)


@app.command()
def status(as_json: Json = False) -> None:
    """What is live since when and why, the engines, the open round, the prompts."""
    from cli import tables

    with _client() as client:
        tables.show_status(client.status(), as_json)


@app.command()
def promote(
    checkpoint: Annotated[str, typer.Argument(help="A published checkpoint, such as v3.")],
    reason: Reason = "promoted on the command line",
) -> None:
    """Make a checkpoint live; answers in flight finish on the weights that they began with."""
    with _client() as client:
        done = client.deploy(checkpoint.removeprefix("ruminate-"), reason)
    print(f"{done['live']} is live; {done['previous'] or 'nothing'} stays loaded for rollback")


@app.command()
def rollback(reason: Reason = "rolled back on the command line") -> None:
    """Make the previous checkpoint live again; refused when something else became live meanwhile."""
    with _client() as client:
        live = client.status()["live"]
        done = client.deploy("previous", reason, live and live["name"])
    print(f"{done['live']} is live again; {done['previous'] or 'nothing'} stays loaded")


trust.add_to(app, lambda: _client())
regressions.add_to(app, lambda: _client())
teach.add_to(app)

if __name__ == "__main__":
    main()
