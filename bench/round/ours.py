"""Our side: a round by the trainer's own process on a running stack, timed from its rows and its saved states."""

from pathlib import Path
from typing import Any

from bench.kept import Keeper
from bench.round.figures import PARTS, Side
from bench.round.setups import Setup
from bench.rounds import Bench, Ended, Wanted, ask, database_of
from bench.stack import Stack


def ours(
    name: str, stack: Stack, bench: Bench, setup: Setup, wanted: Wanted, kept: Path
) -> tuple[Side, list[list[dict[str, Any]]]]:
    """The round of `wanted`, with its adapters in `kept`; and the prompts that it trained on, in their order."""
    bench.start_from_base()
    round_id = ask(stack, wanted)
    with Keeper(stack.home / "rounds" / str(round_id), kept, setup.every) as keeper:
        ended = bench.run(wanted)
    if ended.row.step != setup.steps or ended.checkpoint is None:
        raise RuntimeError(f"the round ended after {ended.row.step} of {setup.steps} steps: {ended.row.error}")
    return side(name, setup, ended, keeper.saved), prompts_of(stack, round_id, setup)


def side(name: str, setup: Setup, ended: Ended, saved: dict[int, float]) -> Side:
    """From the round's figures, and from when each step's state was whole, which counts as the step's end.

    What the trainer does before its first step is in no step. Raises RuntimeError where a state was not seen.
    """
    unseen = [step for step in range(1, setup.steps + 1) if step not in saved]
    if unseen:
        raise RuntimeError(f"the states of steps {unseen} were not seen; was the machine too busy to look?")
    values = {told: dict(points) for told, points in ended.series.items()}
    steps = range(1, setup.steps + 1)
    wall = [values["seconds_step"][1], *(saved[step] - saved[step - 1] for step in steps[1:])]
    parts = {part: [values[f"seconds_{part}"][step] for step in steps] for part in PARTS}
    tokens = [values["sampled_tokens"][step] for step in steps]
    return Side(name, setup.prompts_per_step * setup.group_size, wall, parts, tokens)


def prompts_of(stack: Stack, round_id: int, setup: Setup) -> list[list[dict[str, Any]]]:
    """What the round trained on, in its order."""
    from db.queries import curation

    database = database_of(stack)
    try:
        with database.reading() as session:
            rows = curation.round_prompts(session, round_id)[: setup.steps * setup.prompts_per_step]
            found = [row.prompt for row in rows if (row.split, row.verdict) == ("train", "kept")]
    finally:
        database.close()
    if len(found) != setup.steps * setup.prompts_per_step or not all(found):
        raise RuntimeError(f"the round has {len(found)} prompts for {setup.steps} steps of {setup.prompts_per_step}")
    return [list(prompt or []) for prompt in found]
