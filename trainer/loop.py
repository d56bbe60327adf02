"""The trainer's loop: wait, claim, curate, train, judge, publish. Each verb is a module; this page is their order.

A round that dies anywhere is resumed where its rows and files say that it was. What fails inside of a round is tried
once more from its last step, and then ends the round with its cause; what fails outside of one (the database) ends the
process, which its supervisor restarts.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from db.errors import DatabaseUnavailable
from db.queries import replays, rounds
from db.schema import Round
from trainer.brakes import Brakes, stopped
from trainer.exam import examine
from trainer.files import read_json, write_json
from trainer.gateway import GatewayError
from trainer.house import House
from trainer.lease import Heartbeat, LeaseLost, Stopped, stop_on_signals
from trainer.ledger import Ledger
from trainer.lookout import lookout_of
from trainer.policy import let_go
from trainer.publish import make_live, write_checkpoint
from trainer.selection import Selection, select, still_held_out
from trainer.settings import TrainerSettings
from trainer.tidy import sweep, tidy
from trainer.wake import Wake
from trainer.work import Work, algorithm

log = logging.getLogger(__name__)

PUBLISHED, FAILED, REJECTED = 0, 1, 3
"""How a round ended, as an exit code."""
AGAIN = -1
"""It failed for the first time, has not ended, and waits to be claimed."""
ONCE_MORE = "tried once more after "
"""How the row's error begins then."""


def run(settings: TrainerSettings, once: bool = False) -> int:
    """Work on rounds until stopped. `once`: on one that waits; returns how it ended."""
    stop_on_signals()
    house = House(settings)
    try:
        house.database.migrate()
        log.info("waiting: %s", settings.in_words)
        if settings.ready_file is not None:
            write_json(settings.ready_file, {"pid": os.getpid()})
        wake = Wake(house.database, settings, house.owner)
        sweep(house.database, house.gateway, settings.home)
        while True:
            row = claim(house)
            if row is not None:
                ended = work_on(house, row)
                sweep(house.database, house.gateway, settings.home)
                if once and ended != AGAIN:
                    return ended
            elif once:
                log.error("no round is waiting, or it waits for a canary's trial to end; see `ruminate status`")
                return FAILED
            elif wake.ask() is None:
                time.sleep(settings.poll_seconds)
    except Stopped as signal:
        log.info("stopped by %s", signal)
        return FAILED if once else 0
    finally:
        house.close()


def claim(house: House) -> Round | None:
    """Take the round that is waiting, or whose trainer fell silent; where none is open, the next of a rebuild."""
    with house.database.transaction() as session:
        replays.ask_next(session)
        row = rounds.claim_round(session, house.owner, house.settings.lease_seconds)
        if row is not None and row.attempts - row.stops > house.settings.max_attempts:
            cause = row.error or f"it ended its trainer {row.attempts - row.stops - 1} times; see the trainer's log"
            rounds.finish_round(session, row.id, house.owner, "failed", error=cause)
            log.error("round %d failed: %s", row.id, cause)
            return None
        return row


def work_on(house: House, row: Round) -> int:
    """One claimed round, to its end or until interrupted. Returns how it ended."""
    ledger = house.ledger(row)
    log.info("round %d: attempt %d, phase %s, step %d", row.id, row.attempts, row.phase or "new", row.step)
    lease = house.settings.lease_seconds
    try:
        with Heartbeat(lambda: ledger.heartbeat(lease), lease):
            ended = _or_failed(ledger, row, lambda: learn(house, house.prepare(row, ledger)))
        if ended == AGAIN:
            ledger.heartbeat(0)  # free at once for whoever tries it again
        return ended
    except Stopped:
        ledger.put_back()  # for whoever resumes it
        raise
    except LeaseLost as error:
        log.warning("round %d: %s", row.id, error)
        return FAILED


def _or_failed(ledger: Ledger, row: Round, work: Callable[[], int]) -> int:
    """Whatever a round dies of twice is its result, and the trainer lives on.

    But without a database nothing can be noted; and a wrong value, of a setting or in a file, is as wrong the second
    time.
    """
    try:
        return work()
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 see above
        log.exception("the round failed")
        cause = f"{type(error).__name__}: {error}"
        if row.error is None and not isinstance(error, ValueError):
            ledger.stumbled(ONCE_MORE + cause)
            return AGAIN
        before = (row.error or "").removeprefix(ONCE_MORE)
        ledger.failed(cause if before in ("", cause) else f"{cause} (and the first time {before})")
        return FAILED


def learn(house: House, work: Work) -> int:
    """Curate, train, judge, and publish or put away. Each verb begins by looking for what an earlier attempt left."""
    prompts = select(work)
    candidate = train(house, work, prompts)
    verdict = judge(house, work, candidate, prompts)
    return conclude(work, candidate, verdict, prompts)


def train(house: House, work: Work, prompts: Selection) -> Path:
    """The folder of the candidate's adapter."""
    work.ledger.phase("train", work.step)
    lookout = lookout_of(work, prompts.training.spares, house.reward, house.judge)
    work.ledger.after_step = Brakes(work.config, work.ledger.metrics(), lookout)
    let_go()  # of what an attempt that failed has left
    candidate = algorithm(work.config.algorithm).train(work, prompts.training, house.reward)
    let_go()
    return candidate


def judge(house: House, work: Work, candidate: Path, prompts: Selection) -> dict[str, Any]:
    """The gate's verdict, as the row keeps it."""
    work.ledger.phase("gate", steps_done(work))
    kept = work.folder / "verdict.json"
    if not kept.is_file():
        heldout = still_held_out(work, prompts.heldout)
        found = examine(work, candidate, heldout, house.reward, house.judge).as_json()
        if early := stopped(work):
            found["words"] += f" (training ended after {early['step']} of {work.config.steps} steps: {early['why']})"
            found["stopped"] = early
        write_json(kept, found)
    return read_json(kept)


def steps_done(work: Work) -> int:
    """How many steps training had, once it has ended."""
    early = stopped(work)
    return work.config.steps if early is None else int(early["step"])


def conclude(work: Work, candidate: Path, verdict: dict[str, Any], prompts: Selection) -> int:
    """Make the candidate a checkpoint, and it live or put away."""
    work.ledger.phase("publish", steps_done(work))
    checkpoint, name = write_checkpoint(work, candidate, verdict, prompts.impersonal)
    if verdict["publish"]:
        make_live(work, name, verdict["words"])
        work.ledger.published(checkpoint, verdict)
    else:
        work.ledger.rejected(checkpoint, verdict)
    log.info("round %d: %s %s", work.round_id, name, verdict["words"])
    make_room(work)
    return PUBLISHED if verdict["publish"] else REJECTED


def make_room(work: Work) -> None:
    """For later rounds and checkpoints. This one has ended: a failure costs disk only, and the next one tries again."""
    try:
        tidy(work.folder, work.gateway)
        work.gateway.prune(work.settings.keep_checkpoints)
    except GatewayError as error:
        log.warning("no room was made: %s", error)
