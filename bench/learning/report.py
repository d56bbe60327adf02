"""An experiment of arms from its command line to its pictures and its JSON."""

import json
from collections.abc import Sequence
from typing import Any

from bench.learning.arm_plots import plot_gold, plot_lengths
from bench.learning.arms import Arm, options, run
from bench.learning.contrasts import summary
from bench.learning.notes import Notes
from cli.profiles import TINY, Profile


def experiment(
    name: str,
    about: str,
    arms: Sequence[Arm],
    pairs: Sequence[tuple[str, str]],
    arguments: Sequence[str] | None,
    profile: Profile = TINY,
) -> int:
    """Run what is not done yet; write the pictures and the figures, and print them."""
    asked = options(name, about, arms, arguments)

    def told(notes: Notes) -> dict[str, Any]:
        title = f"{name}, {len(asked.seeds)} seed{'s' if len(asked.seeds) > 1 else ''}"
        pictures = [
            plot_gold(notes, arms, title, asked.out / f"{name}.png"),
            plot_lengths(notes, arms, title, asked.out / "lengths.png"),
        ]
        found = {
            "bench": f"learning.{name}",
            "settings": dict(asked.common),
            "own": asked.own,
            "prompts": asked.prompts,
            "samples": asked.samples,
            **summary(notes, arms, pairs),
            "pictures": [str(path) for path in pictures],
        }
        (asked.out / f"{name}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
        return found

    print(json.dumps(told(run(name, arms, asked, profile, told))))
    return 0
