"""`ruminate teach`: a teacher's thoughts and responses for a warm start, from any OpenAI-compatible API."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

LOCAL = "the gateway of this house"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(teach)


def teach(
    prompts: Annotated[str, typer.Argument(help="What to ask: jsonl, parquet, a `datasets` folder, or a hub's name.")],
    out: Annotated[Path, typer.Argument(help="The `datasets` folder to write, for RUMINATE_TRAINER_TEACHER_DATA.")],
    model: Annotated[str, typer.Option(help="The teacher's name at its API.")] = "ruminate",
    url: Annotated[str, typer.Option(help="The API's base URL.", show_default=LOCAL)] = "",
    key_variable: Annotated[
        str, typer.Option(help="Environment variable that holds the API's key.")
    ] = "RUMINATE_TEACHER_KEY",
    limit: Annotated[int, typer.Option(min=0, help="Only so many of the prompts; 0: all.")] = 0,
    connections: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 8,
    max_tokens: Annotated[int, typer.Option(min=64, help="Longest answer.")] = 4096,
    temperature: Annotated[float | None, typer.Option(help="The API's own by default.", show_default=False)] = None,
    languages: Annotated[str, typer.Option(help="Codes with commas; answers surely in others are dropped.")] = "en",
    mean_tokens: Annotated[int, typer.Option(min=1, help="Of an answer, for the estimate.")] = 1200,
    price_prompt: Annotated[float, typer.Option(min=0, help="Of a million tokens read.")] = 0.0,
    price_completion: Annotated[float, typer.Option(min=0, help="Of a million tokens written.")] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before it costs something.")] = False,
) -> None:
    """Ask a teacher for a thought and a response to each prompt; run it again to go on where it ended."""
    import os
    from collections import Counter
    from itertools import islice

    from cli import settings
    from trainer.llm_judge import Prices
    from trainer.prompts import read_mix
    from trainer.remote import RemoteError
    from trainer.teach import Answers, Teacher, as_folder, estimate, name_of, to_ask
    from trainer.teach import teach as ask

    if out.exists():
        raise typer.BadParameter(f"{out} exists; choose another folder", param_hint="OUT")
    prices = Prices(price_prompt, price_completion)
    try:
        held = Answers(out.with_name(f"{out.name}.jsonl"))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    own = "" if url else os.environ.get("RUMINATE_API_KEY", "")
    teacher = Teacher(
        url or f"{settings.gateway_url(settings.load())}/v1",
        model,
        os.environ.get(key_variable) or own,
        connections,
        max_tokens,
        temperature,
        extra=() if url else (("store", False),),  # no prompts for a round to train on
        languages=languages,
    )
    with held as answers:
        try:
            mix = (prompt.messages for prompt in read_mix(prompts))
            left = to_ask(islice(mix, limit or None), answers, teacher)
        except (ValueError, OSError) as error:  # no such file, no such hub, or not what it should be
            raise typer.BadParameter(str(error)) from None
        about = estimate(left, mean_tokens)
        money = f", which costs about {about.cost(prices):.2f}" if about.cost(prices) else ""
        known = len(answers.rows.keys() - map(name_of, left))
        _say(
            f"{about.prompts} prompts to ask, {known} known already: about {about.prompt_tokens:,} tokens "
            f"to read and {about.completion_tokens:,} to write{money}"
        )
        if left and not yes and sys.stdin.isatty() and not typer.confirm("Go on?", err=True):
            raise typer.Exit(1)
        progress = _Progress(len(left), prices)
        try:
            told = ask(teacher, left, answers, progress)
        except (RemoteError, ValueError) as error:
            _say(
                f"{progress.words}\nruminate: {error}\nwhat came is kept in {out}.jsonl; run the same command to go on"
            )
            raise typer.Exit(1) from None
        progress(told, last=True)
        try:
            count = as_folder(answers, out)
        except ValueError as error:
            _say(f"ruminate: {error}")
            raise typer.Exit(1) from None
    reasons = Counter(row["left"] for row in answers.rows.values() if "left" in row)
    dropped = ", ".join(f"{why} {number}" for why, number in sorted(reasons.items())) or "none"
    print(
        f"{count} examples in {out} (dropped in all: {dropped}); "
        f"learn from them with RUMINATE_TRAINER_TEACHER_DATA={out} and --algorithm sft"
    )


class _Progress:
    """A line now and then: how far it is, what was dropped and why, what it used and cost."""

    def __init__(self, total: int, prices: Any) -> None:
        self._total, self._prices, self._next = total, prices, 0.0
        self.words = "nothing was asked"

    def __call__(self, told: Any, last: bool = False) -> None:
        import time

        done = told.kept + sum(told.left.values())
        left = ", ".join(f"{why} {count}" for why, count in sorted(told.left.items()))
        cost = f", cost {told.cost(self._prices):.2f}" if told.cost(self._prices) else ""
        self.words = (
            f"{done} of {self._total}: kept {told.kept}; dropped: {left or 'none'}; "
            f"{told.prompt_tokens:,} tokens read, {told.completion_tokens:,} written{cost}"
        )
        if last or time.monotonic() >= self._next:
            self._next = time.monotonic() + 5.0
            _say(self.words)


def _say(words: str) -> None:
    print(words, file=sys.stderr)
