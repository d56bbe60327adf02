"""Saved states of a training, from which a killed round goes on: where they lie, which are whole, when it is done.

And the arguments that all of TRL's trainers share. Knows no algorithm; each of them trains through `trained`.
"""

import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainer.brakes import STOPPED, Enough
from trainer.files import read_json, sync_tree, write_json
from trainer.pauses import pauses_of
from trainer.policy import copy_weights
from trainer.work import Work

log = logging.getLogger(__name__)

KEPT_STATES = 2  # saved states on disk: the newest, and the one before it while the newest is written
COMPLETE = "complete.json"
REFERENCE = "ref"
"""TRL's name for the adapter that a round began with, where the divergence is measured from that."""


def trained(work: Work, run: Callable[[Path, Path | None], None]) -> Path:
    """The folder of the final weights, by `run(folder of states, last complete state)` where it is not there yet.

    `run` may end early by raising Enough: then it is the newest state, or the better weights that Enough names. It
    saves the state that it ends with, unless that is broken.
    """
    final, states, early = work.folder / "candidate", work.folder / "states", work.folder / STOPPED
    if final.is_dir():
        return final
    saved = last_state(states)
    if not early.is_file() and (saved is None or step_of(saved) < work.config.steps):
        try:
            run(states, saved)
        except Enough as enough:
            saved = last_state(states)
            if saved is None:
                raise RuntimeError(f"training ended before its first state was saved: {enough}") from enough
            step, better = step_of(saved), enough.adapter
            log.warning("round %d: training ended after %d steps: %s", work.round_id, step, enough)
            weights = {"updates": step, "adapter": str(saved)}
            if better is not None:
                weights = {"updates": enough.updates, "adapter": str(better)}
            write_json(early, {"step": step, "why": str(enough)} | weights)
        saved = last_state(states)
    if early.is_file():
        return copy_weights(Path(read_json(early)["adapter"]), final, work)
    if saved is None or step_of(saved) != work.config.steps:
        raise RuntimeError(f"training ended at {saved} and not after {work.config.steps} steps")
    return copy_weights(saved, final, work)


def step_of(state: Path) -> int:
    """The step after which a state was saved."""
    return int(state.name.rsplit("-", 1)[1])


def last_state(states: Path) -> Path | None:
    """The newest complete state. What a killed trainer left half-written is deleted."""
    found = sorted(states.glob("checkpoint-*"), key=step_of) if states.is_dir() else []
    complete = [state for state in found if (state / COMPLETE).is_file()]
    for state in found:
        if state not in complete:
            shutil.rmtree(state)
    return complete[-1] if complete else None


def drop_old(states: Path) -> None:
    """Delete all states but the newest few."""
    for state in sorted(states.glob("checkpoint-*"), key=step_of)[:-KEPT_STATES]:
        shutil.rmtree(state)


def schedule(work: Work) -> str:
    """The learning rate's schedule, by the name that transformers has for it."""
    config = work.config
    return "constant_with_warmup" if config.lr_schedule == "constant" and config.warmup else config.lr_schedule


def common(work: Work, states: Path, batch: int, micro: int) -> dict[str, Any]:
    """What TRL's trainers are all told: `batch` samples make an update, `micro` of them (or fewer) a forward pass.

    What is not set is TRL's default, which a bridge's test pins.
    """
    import torch

    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    config, gpu, micro = work.config, torch.cuda.is_available(), divisor(batch, micro)
    return {
        "output_dir": str(states),
        "seed": config.seed,
        "max_steps": config.steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": batch // micro,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": schedule(work),
        "warmup_steps": config.warmup,  # below 1: a share of all steps
        "weight_decay": config.weight_decay,
        "adam_beta1": config.adam_beta1,
        "adam_beta2": config.adam_beta2,
        "max_grad_norm": config.max_grad_norm,
        "save_strategy": "steps",
        "save_steps": work.settings.save_every,
        "save_total_limit": KEPT_STATES,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a loss that is not a number must show
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": not gpu,
        "bf16": gpu,
        "gradient_checkpointing": gpu,
        "dataloader_pin_memory": gpu,
    }


def divisor(batch: int, most: int) -> int:
    """The largest number that divides `batch` and is not above `most` (at least 1)."""
    return next(size for size in range(max(1, min(batch, most)), 0, -1) if batch % size == 0)


class Complete(TrainerCallback):
    """Marks a saved state as whole, once everything in it is on disk; and has the last one saved in any case. Between
    micro-batches it gives way to people.

    `told` writes a step's figures to the round's rows. What ends training there ends it after this step is saved, and
    `run` raises it.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._pauses = pauses_of(work)
        self._enough: Enough | None = None

    def told(self, step: int, figures: dict[str, float], control: TrainerControl) -> None:
        """Note the step, and for how long of it training rested. TRL saves after it tells."""
        rested = self._pauses.taken()
        figures = figures | {"seconds_rest": rested, "seconds_train": figures["seconds_train"] - rested}
        try:
            self._work.ledger.step(step, figures)
        except Enough as enough:
            self._enough = enough
            control.should_training_stop, control.should_save = True, not enough.broken

    def run(self, trainer: Any, saved: Path | None) -> None:
        """Train with `trainer`, which has this callback. Raises Enough when it ended early."""
        trainer.remove_callback(PrinterCallback)
        if saved is not None:  # transformers would load adapters that have folders of their own, and these alone
            shutil.rmtree(saved / REFERENCE, ignore_errors=True)  # it is what the round began with, and loaded already
        trainer.train(resume_from_checkpoint=str(saved) if saved else None)
        if self._enough is not None:
            raise self._enough

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        self._pauses()
        if state.global_step >= state.max_steps:
            control.should_save = True
        return control

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._pauses()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        sync_tree(folder)
        write_json(folder / COMPLETE, {"step": state.global_step})
