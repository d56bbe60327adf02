"""Does thinking pay? RLMT against RLHF without a thought, the paper's control, from the same base, several seeds.

Three arms a seed, with the same prompts and reward models: `think`; `rlhf` with as many steps (the same prompts in the
same order); and `rlhf-tokens` with as many sampled tokens as `think` took, and so with more steps. Gold is asked about
unseen prompts before and after. Run it again to go on. Writes `thinking.png`, `lengths.png` and `thinking.json`; JSON
is the last line.
"""

from collections.abc import Sequence

from bench.learning.arms import Arm
from bench.learning.report import experiment

ARMS = (
    Arm("think"),
    Arm("rlhf", config={"rlhf": True}),
    Arm("rlhf-tokens", config={"rlhf": True}, tokens_of="think"),
)
PAIRS = (("rlhf", "think"), ("rlhf-tokens", "think"))
"""(first, second): by how much is the second better?"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not done yet, and print the figures."""
    return experiment("thinking", __doc__ or "", ARMS, PAIRS, arguments)
