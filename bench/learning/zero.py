"""Zero mode: from a base that writes in tags only now and then, with a thought and, as the control, without one.

The same experiment as `thinking`, in which the base is told by its template alone how to answer: the first thing to
learn is the form, which the malformed share shows. Gold is asked about unseen prompts before and after. Run it again to
go on. Writes `zero.png`, `lengths.png` and `zero.json`; JSON is the last line.
"""

from collections.abc import Sequence

from bench.learning.arms import Arm
from bench.learning.report import experiment
from cli.profiles import TINY

ARMS = (Arm("zero"), Arm("zero-rlhf", config={"rlhf": True}))
PAIRS = (("zero-rlhf", "zero"),)
"""(first, second): by how much is the second better?"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not done yet, and print the figures."""
    return experiment("zero", __doc__ or "", ARMS, PAIRS, arguments, TINY.in_zero_mode())
