"""When training ends before its last step: a budget is spent, or something goes wrong.

Called with each step's figures. What is stopped is not lost: the newest saved state, or the best that `trainer.lookout`
has seen, goes to the gate, which decides as always. Arithmetic on figures; trains nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from trainer.files import read_json
from trainer.round_config import RoundConfig
from trainer.work import Work

STOPPED = "stopped.json"
"""In a round's folder, when its training ended early: after how many steps, why, and which weights were taken."""
WINDOW = 5
"""Steps whose mean is compared with that of the first so many: one step of a few dozen samples tells little."""


BREAKS = {
    "loss": "the loss",
    "value_loss": "the critic's loss",
    "grad_norm": "the norm of the gradients",
    "value_grad_norm": "the norm of the critic's gradients",
}
"""Figures that must be numbers, and their names in words."""


class Enough(Exception):
    """Training ends here. `adapter`: a folder of better weights than the newest saved ones, which were of `updates`.

    `broken`: the weights as they are now are no good, so that they must not be saved.
    """

    def __init__(
        self, why: str, adapter: Path | None = None, updates: int | None = None, *, broken: bool = False
    ) -> None:
        super().__init__(why)
        self.adapter, self.updates, self.broken = adapter, updates, broken


class Brakes:
    """Those of one round. `known`: the figures of steps that were done before a restart, as the round's rows have them.

    `look`: asked after each step whether measured answers got worse; raises Enough when they did.
    """

    def __init__(
        self,
        config: RoundConfig,
        known: Mapping[str, Sequence[tuple[int, float]]],
        look: Callable[[int], None] | None = None,
    ) -> None:
        self._config, self._look = config, look
        self._series = {name: dict(points) for name, points in known.items()}

    def __call__(self, step: int, figures: Mapping[str, float]) -> None:
        """Raises Enough when training should end after `step`. The last step ends it anyway, unless it broke it."""
        for name, value in figures.items():
            self._series.setdefault(name, {})[step] = value
        if broken := self._broken(step):
            raise Enough(broken, broken=True)
        if step >= self._config.steps:
            return
        why = self._spent(step) or self._astray(step)
        if why is not None:
            raise Enough(why)
        if self._look is not None:
            self._look(step)

    def _broken(self, step: int) -> str | None:
        """By a loss; or by gradients, which break the step's weights while its loss is still a number."""
        for name, words in BREAKS.items():
            value = self._series.get(name, {}).get(step, 0.0)
            if not math.isfinite(value):
                return f"{words} of step {step} is {value}"
        return None

    def _spent(self, step: int) -> str | None:
        config = self._config
        minutes = sum(self._until("seconds_step", step)) / 60
        if config.max_minutes and minutes >= config.max_minutes:
            return f"its {config.max_minutes:g} minutes of training are used up (max_minutes)"
        tokens = sum(self._until("sampled_tokens", step))
        # dpo has sampled before it trains, within this budget (`trainer.pairs`)
        if config.algorithm != "dpo" and config.max_sampled_tokens and tokens >= config.max_sampled_tokens:
            return f"{tokens:.0f} tokens were sampled, and {config.max_sampled_tokens} may be (max_sampled_tokens)"
        return None

    def _astray(self, step: int) -> str | None:
        config = self._config
        for name, what, most, setting in (
            ("kl", "the divergence from the reference", config.stop_kl, "stop_kl"),
            ("malformed_share", "the share of malformed outputs", config.stop_malformed, "stop_malformed"),
        ):
            values = self._until(name, step)
            if most and len(values) >= 2 * WINDOW:
                before, now = fmean(values[:WINDOW]), fmean(values[-WINDOW:])
                if now - before > most:
                    return f"{what} rose from {before:.3f} to {now:.3f} ({setting} = {most:g})"
        return None

    def _until(self, name: str, step: int) -> list[float]:
        """A series up to `step`; later points are of an attempt that died, and will be measured again."""
        return [value for at, value in sorted(self._series.get(name, {}).items()) if at <= step]


def stopped(work: Work) -> dict[str, Any] | None:
    """Why training ended early, after how many steps, and after how many updates its weights were so; else None."""
    early = work.folder / STOPPED
    return {name: value for name, value in read_json(early).items() if name != "adapter"} if early.is_file() else None
