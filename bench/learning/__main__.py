"""`python -m bench.learning EXPERIMENT`: what each of them does is said by its own `--help`."""

import sys

from bench.learning import month

EXPERIMENTS = {"month": month.main}


def main() -> int:
    """Run the experiment that was named."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in EXPERIMENTS:
        print(f"experiment {name!r}: there is none of this name; known are {', '.join(EXPERIMENTS)}", file=sys.stderr)
        return 2
    return EXPERIMENTS[name](sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
