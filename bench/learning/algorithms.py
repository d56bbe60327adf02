"""GRPO, DPO and PPO from the same base with the same prompts and reward models, several seeds; gold before and after.

All have as many steps of as many samples, dpo's drawn at once by the policy at the round's start. Their settings are
the trainer's defaults, which were chosen on grpo: `--set dpo:learning_rate=5e-4` sets another for one of them. Run it
again to go on. Writes `algorithms.png`, `lengths.png` and `algorithms.json`; JSON is the last line.
"""

from collections.abc import Sequence

from bench.learning.arms import Arm
from bench.learning.report import experiment

ARMS = (Arm("grpo"), Arm("dpo", "dpo"), Arm("ppo", "ppo"))
PAIRS = (("dpo", "grpo"), ("ppo", "grpo"), ("dpo", "ppo"))
"""(first, second): by how much is the second better?"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not done yet, and print the figures."""
    return experiment("algorithms", __doc__ or "", ARMS, PAIRS, arguments)
