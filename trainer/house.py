"""What the trainer process has: its settings, the database, the gateway, and the models it reads and scores with.

Models are loaded when a round first needs them and kept.
"""

import logging
import os
import secrets
import socket
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from db.errors import DatabaseUnavailable
from db.schema import Round
from db.session import Database
from thinking.format import FORMATS
from trainer.bad_setting import sentence
from trainer.files import read_json, write_json
from trainer.gateway import Gateway
from trainer.ledger import Ledger
from trainer.personal import redacted
from trainer.refresh import current, due, refresh, taught, where_now
from trainer.reward_file import read_reward_file
from trainer.rewards import Reader, RewardModel
from trainer.settings import BadSetting, RoundConfig, TrainerSettings
from trainer.work import PLAN, Parent, Work

log = logging.getLogger(__name__)


class House:
    """The trainer's resources. `reward` and `judge` can be given; by default they are the settings' classifiers."""

    def __init__(
        self, settings: TrainerSettings, reward: RewardModel | None = None, judge: RewardModel | None = None
    ) -> None:
        import torch
        from transformers.utils import logging as transformers_logging

        torch.set_num_threads(settings.threads)
        transformers_logging.disable_progress_bar()
        self.settings = settings
        # containers may share a host's name, and each has its process 1
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.database = Database(settings.database)
        stop = FORMATS[settings.thinking_format].stop
        self.gateway = Gateway(settings.gateway, settings.key, settings.gateway_patience, stop)
        self._reward, self._judge = reward, judge
        self._reward_named = ""
        self._own_engine: Gateway | None = None

    @cached_property
    def reward(self) -> RewardModel:
        """The reward model that samples are trained on: the one in the plan of the round at hand."""
        return self._reward or self._classifier(self._reward_named or current(self.settings, self.database))

    @cached_property
    def judge(self) -> RewardModel:
        """The gate's second one."""
        return self._judge or self._classifier(self.settings.judge_model)

    @cached_property
    def reader(self) -> Reader:
        """Reads the policy's completions."""
        from trainer.policy import eos_ids, load_tokenizer, local_folder

        base = local_folder(self.settings.base_model)
        tokenizer = load_tokenizer(base, self.settings.template)
        return Reader(tokenizer, FORMATS[self.settings.thinking_format], eos_ids(tokenizer, base))

    @cached_property
    def control_reader(self) -> Reader:
        """Reads them where no thought is wanted."""
        return without_thought(self.reader, self.settings.template)

    def ledger(self, row: Round) -> Ledger:
        """A claimed round's rows. One for all who work on it: a heartbeat asks it whether they have ended the round."""
        return Ledger(self.database, row.id, self.owner)

    def prepare(self, row: Round, ledger: Ledger) -> Work:
        """Everything that work on a claimed round needs. What it decides is decided once, at the first claim."""
        folder = (self.settings.home / "rounds" / str(row.id)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        plan = folder / PLAN
        if not plan.is_file():
            write_json(plan, self._plan(row, ledger))
        decided = read_json(plan)
        if decided.get("asked_at") != _asked_at(row) and (row.attempts == 1 or "asked_at" in decided):
            raise ValueError(
                f"{folder} is of another database's round {row.id}; move {folder.parent} and "
                f"{self.settings.home / 'checkpoints'} away, or give this database a home of its own (RUMINATE_HOME)"
            )
        parent = ledger.checkpoint(decided["parent"])
        self._reward_by_plan(where_now(self.settings, decided.get("reward", self.settings.reward_model)))
        config = _as_written_down(decided["config"])
        phase = row.phase or "curate"
        ledger.phase(phase, row.step, total_steps=config.steps, parent_id=parent.id, algorithm=config.algorithm)
        origin = Parent(
            parent.id,
            parent.name,
            Path(parent.path) if parent.kind != "base" and parent.path else None,
            parent.kind,
        )
        work = Work(
            round_id=row.id,
            attempt=row.attempts,
            step=row.step,
            config=config,
            settings=self.settings,
            folder=folder,
            parent=origin,
            ledger=ledger,
            gateway=self.gateway,
            reader=self.control_reader if config.rlhf else self.reader,
        )
        return self._on_its_own_engine(work) if config.weights == "full" else work

    def close(self) -> None:
        """Give connections back."""
        if self._own_engine is not None:
            self._own_engine.close()
        self.gateway.close()
        self.database.close()

    def _on_its_own_engine(self, work: Work) -> Work:
        """Raises ValueError where full weights can't be trained as things are."""
        from trainer.full import start_of, ties_embeddings
        from trainer.own_engine import OwnEngine
        from trainer.policy import local_folder

        settings = self.settings
        if not settings.sampling_engine:
            raise ValueError(
                "weights = 'full' needs an engine that nobody else uses; set RUMINATE_TRAINER_SAMPLING_ENGINE to its "
                "URL, or start the house with RUMINATE_TRAINER_WEIGHTS=full"
            )
        base = local_folder(settings.base_model)
        if ties_embeddings(base):
            raise ValueError(
                f"weights = 'full': {settings.base_model} ties input and output embeddings, and vLLM keeps the old "
                f"output ones when it reloads; choose a base that does not, or weights = 'lora'"
            )
        if self._own_engine is not None:
            self._own_engine.close()
        stop = FORMATS[settings.thinking_format].stop
        engine = OwnEngine(settings.sampling_engine, self.gateway, settings.gateway_patience, stop)
        self._own_engine = engine
        engine.check()
        engine.load_adapter(work.parent.served_as, start_of(work, base))
        return replace(work, gateway=engine)

    def _plan(self, row: Round, ledger: Ledger) -> dict[str, Any]:
        live = ledger.live()
        if live is None:
            raise RuntimeError("no checkpoint is live; start the gateway once, it makes the base live")
        overrides = dict(row.config) | ({"algorithm": row.algorithm} if row.algorithm else {})
        seed = overrides.get("seed", row.seed or self.settings.seed)
        config = self.settings.round_config(overrides, seed).model_dump()
        if live.kind == "full" and config["weights"] == "lora":
            raise ValueError(
                f"weights = 'lora': {live.name}, which is live, is full weights, and adapters stand on the base; set "
                f"weights = 'full', or make another checkpoint live first"
            )
        reward = self._newest_reward()
        ledger.taught_by(taught(self.settings, reward))
        return {"parent": live.id, "config": config, "reward": reward, "asked_at": _asked_at(row)}

    def _reward_by_plan(self, name: str) -> None:
        """From now on this one, which is loaded when it is first needed; a given one stays."""
        if self._reward is None and name != self._reward_named:
            vars(self).pop("reward", None)
        self._reward_named = name

    def _newest_reward(self) -> str:
        """The reward model for a round that begins now, refreshed first where that is due.

        A refresh that fails costs no round: the model before it stays.
        """
        if self._reward is None and due(self.settings, self.database):
            try:
                refresh(self.settings, self.database)
            except DatabaseUnavailable:
                raise
            except ValueError as error:
                log.warning("the reward model was not refreshed: %s", error)
            except Exception:  # noqa: BLE001 a full disk, or a card without room: the round can do without
                log.exception("the reward model was not refreshed")
        return current(self.settings, self.database)

    def _classifier(self, model: str) -> RewardModel:
        from trainer.policy import local_folder
        from trainer.rewards import SequenceClassifier

        if model.endswith(".toml"):
            settings = self.settings
            mixes = [mix for mix in (settings.base_mix, settings.gate_file) if mix]
            return read_reward_file(model).build(settings.home / "judged", mixes, [redacted])
        return SequenceClassifier(local_folder(model))


def _as_written_down(values: dict[str, Any]) -> RoundConfig:
    """What a round runs with, as at its first claim. Raises BadSetting where another version wrote it."""
    try:
        return RoundConfig(**values)
    except ValidationError as error:
        wrong = sentence(error, "round config ")
        raise BadSetting(f"{wrong}; it began with another version, so ask for a new round") from None


def _asked_at(row: Round) -> str:
    """What tells a round from one of another database that has its number."""
    return row.created_at.isoformat()


def without_thought(reader: Reader, template: str) -> Reader:
    """The reader of the same model where `template` closes an empty thought before the model writes."""
    from copy import copy

    from thinking.templates import template_text

    tokenizer = copy(reader.tokenizer)
    tokenizer.chat_template = "{%- set enable_thinking = false -%}" + template_text(template)
    return Reader(tokenizer, reader.format.without_thought, reader.eos_ids)
