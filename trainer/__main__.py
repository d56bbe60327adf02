"""`python -m trainer`: work on rounds as they are asked for. `--once`: on one, and exit by how it ended.

Exit codes of `--once`: 0 published, 3 trained but rejected, 1 failed or interrupted; 2 a bad setting, in any mode.
"""

import argparse
import logging
import os
import sys


def main() -> int:
    """Read the settings, lower the priority, and work."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__.split("\n")[0])
    parser.add_argument("--once", action="store_true", help="work on one round, claimed or resumed, and exit")
    arguments = parser.parse_args()

    from trainer.settings import BadSetting, read_settings

    try:
        settings = read_settings()
    except BadSetting as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    os.nice(max(0, settings.nice - os.nice(0)))
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.threads))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    from trainer.loop import run

    return run(settings, once=arguments.once)


if __name__ == "__main__":
    sys.exit(main())
