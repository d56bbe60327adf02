"""What a round carries through its phases, the interface of an algorithm, and the algorithms by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trainer.prompts import Prompt
from trainer.round_config import RoundConfig
from trainer.settings import TrainerSettings

PLAN = "plan.json"
"""In a round's folder: what was decided at its first claim (parent, config, which reward model)."""
ATTEMPT_STRIDE = 100_000  # above any round's steps

if TYPE_CHECKING:
    from trainer.gateway import Gateway
    from trainer.ledger import Ledger
    from trainer.rewards import Reader, RewardModel


@dataclass(frozen=True)
class Parent:
    """The checkpoint that a round starts from and is measured against. `path` is None for the base."""

    id: int
    name: str
    path: Path | None
    kind: str = "adapter"

    @property
    def served_as(self) -> str:
        """The name by which the gateway samples from it."""
        return f"ruminate-{self.name}"


@dataclass(frozen=True)
class TrainingPrompts:
    """What a round trains on, in order, and mix prompts that stand in where consent was withdrawn.

    `train` has (position in the record, prompt)."""

    train: Sequence[tuple[int, Prompt]]
    spares: Sequence[Prompt]


@dataclass(frozen=True)
class Work:
    """One round in the hands of one trainer. `folder` holds its state; `attempt` counts from 1; `step` are done."""

    round_id: int
    attempt: int
    step: int
    config: RoundConfig
    settings: TrainerSettings
    folder: Path
    parent: Parent
    ledger: "Ledger"
    gateway: "Gateway"
    reader: "Reader"

    def version(self, step: int) -> str:
        """The name of the policy after `step` updates. Never used twice: a resumed round counts from further up."""
        return f"round-{self.round_id}-step-{(self.attempt - 1) * ATTEMPT_STRIDE + step}"


class Algorithm(Protocol):
    """A way to learn. Resumes from what it saved in `work.folder`, and reports each step to `work.ledger`."""

    def train(self, work: Work, prompts: TrainingPrompts, reward: "RewardModel") -> Path:
        """Train to the end and return the folder of the final weights."""


ALGORITHMS = {
    "grpo": "trainer.grpo:Grpo",
    "dpo": "trainer.dpo:Dpo",
    "ppo": "trainer.ppo:Ppo",
    "sft": "trainer.sft:Sft",
}
"""By name, the default first; a module is imported when it is chosen."""


def algorithm(name: str) -> Algorithm:
    """The algorithm of this name. Raises ValueError for one that there is none of."""
    if name not in ALGORITHMS:
        raise ValueError(f"algorithm = {name!r}: there is none of this name; known are {', '.join(ALGORITHMS)}")
    module, _, attribute = ALGORITHMS[name].partition(":")
    return getattr(import_module(module), attribute)()
