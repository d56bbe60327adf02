"""`python -m bench.learning EXPERIMENT`: what each of them does is said by its own `--help`."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

EXPERIMENTS = ("month", "thinking", "algorithms", "zero", "overfit", "choices")
"""Each is the module of its name, with a `main`; it is imported when it is asked for."""


def main() -> int:
    """Run the experiment that was named."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in EXPERIMENTS:
        print(f"experiment {name!r}: there is none of this name; known are {', '.join(EXPERIMENTS)}", file=sys.stderr)
        return 2
    run: Callable[[Sequence[str]], int] = import_module(f"bench.learning.{name}").main
    return run(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
