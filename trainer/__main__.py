"""`python -m trainer`: work on rounds as they are asked for. `--once`: on one, and exit by how it ended.

Exit codes of `--once`: 0 published, 3 trained but rejected, 1 failed or interrupted; of `--refresh-reward`: 0 accepted,
3 trained but put away, 1 too few preferences. In any mode 2: a setting is wrong. That the database can't be used is 2
in these modes, and 1 for the process that works on and on, which is worth starting again.
"""

import argparse
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.settings import TrainerSettings


def main() -> int:
    """Read the settings, lower the priority, and work."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__.split("\n")[0])
    parser.add_argument("--once", action="store_true", help="work on one round, claimed or resumed, and exit")
    parser.add_argument(
        "--refresh-reward", action="store_true", help="train the reward model on what people preferred, and exit"
    )
    arguments = parser.parse_args()

    from trainer.settings import BadSetting, read_settings

    try:
        settings = read_settings()
    except BadSetting as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "alembic"):  # a line for every request would hide what happens
        logging.getLogger(chatty).setLevel(logging.WARNING)
    give_way(settings.nice)
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    from db.errors import DatabaseUnavailable
    from trainer.loop import run

    try:
        if arguments.refresh_reward:
            return refresh_reward(settings)
        return run(settings, once=arguments.once)
    except DatabaseUnavailable as error:
        print(error, file=sys.stderr)
        # no 2 for the supervisor, which would end the whole house for it: it starts us again, and the round is resumed
        return 2 if arguments.once or arguments.refresh_reward else 1


def refresh_reward(settings: "TrainerSettings") -> int:
    """Refresh the reward model once, and say what became of it."""
    from db.session import Database
    from trainer.refresh import in_words, refresh
    from trainer.settings import BadSetting

    database = Database(settings.database)
    try:
        database.migrate()
        record = refresh(settings, database)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, BadSetting) else 1
    finally:
        database.close()
    print(in_words(record))
    return 0 if record["accepted"] else 3


def give_way(nice: int) -> None:
    """Lower this process's priority to `nice`, and that of its session where the kernel schedules by session.

    Linux with autogroups weighs sessions against each other, and `nice` within one only: a trainer that was started in
    a session of its own would else get as much of the processor as the engine that people wait for.
    """
    os.nice(max(0, nice - os.nice(0)))
    autogroup = Path("/proc/self/autogroup")
    if os.getsid(0) == os.getpid() and autogroup.exists():
        with suppress(OSError):  # a kernel lets one process do so in a tenth of a second, and some containers none
            autogroup.write_text(str(nice))


if __name__ == "__main__":
    sys.exit(main())
