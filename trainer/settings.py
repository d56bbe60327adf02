"""What an operator can set: the trainer's process, and the defaults of its rounds (`trainer.round_config`).

Read from the environment: RUMINATE_TRAINER_<FIELD>, and the few common names without TRAINER. What a profile of the
house sets comes as one value, `defaults`, and stands below a preset that a person names.
"""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.place import in_home
from trainer.bad_setting import BadSetting, sentence, too_high
from trainer.presets import preset
from trainer.reward_file import read_reward_file
from trainer.round_config import RoundConfig
from trainer.triggers import TriggerSettings

REPOSITORY = Path(__file__).resolve().parent.parent
_TINY = REPOSITORY / "models" / "tiny"
PREFIX = "RUMINATE_TRAINER_"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
PATHS = (
    "base_model", "reward_model", "judge_model", "base_mix", "heldout", "teacher_data", "unsafe_model", "refresh_pairs",
)  # fmt: skip
"""Settings that name a file, a folder or a hub's."""
HERE = ("teacher_data", "refresh_pairs")
"""Those of them that no hub has."""


class TrainerSettings(BaseSettings, TriggerSettings, RoundConfig):
    """The trainer process: where things are, when rounds start by themselves, and the defaults of its rounds."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_prefix=PREFIX, env_ignore_empty=True, populate_by_name=True
    )

    defaults: dict[str, Any] = Field(
        {}, description="What a profile sets, as JSON by field: below a preset, and below what is set here."
    )
    home: Path = Field(Path(".ruminate"), validation_alias="RUMINATE_HOME", description="Where state is kept.")
    database_url: str = Field(
        "",
        validation_alias="RUMINATE_DATABASE_URL",
        description="SQLite or PostgreSQL; empty: a SQLite file in the home.",
    )
    service_key: str = Field(
        "",
        validation_alias="RUMINATE_SERVICE_KEY",
        description="The gateway's internal key; empty: read from service.key in the home.",
        repr=False,
    )
    gateway: str = Field("http://127.0.0.1:8000", pattern=r"^https?://.+", description="Base URL of the gateway.")
    sampling_engine: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="Base URL of a vLLM server that nobody else uses: rounds of full weights replace its weights.",
    )
    base_model: str = Field(str(_TINY / "policy"), description="The model that every adapter stands on: folder or hub.")
    reward_model: str = Field(
        str(_TINY / "reward"),
        description="What rewards: a sequence classifier (folder or hub), or a file of several (.toml).",
    )
    judge_model: str = Field(
        str(_TINY / "judge"), description="A second one, never trained on: the gate's own opinion; likewise."
    )
    refresh_after: int = Field(
        0, ge=0, description="A round begins by refreshing the reward model on so many new preferences; 0: never."
    )
    refresh_pairs: str = Field(
        "", description="Pairs that a refresh keeps in mind: jsonl with `messages`, `chosen` and `rejected`."
    )
    refresh_rate: float = Field(2e-5, gt=0, description="Learning rate of a refresh; it makes one pass.")
    refresh_most: int = Field(
        1000, ge=1, description="A refresh learns from so many preferences at most, the newest: its time has a bound."
    )
    refresh_per_user: int = Field(
        200, ge=1, description="And of those, so many of one user, so that nobody says alone what is good."
    )
    refresh_traits: bool = Field(
        True, description="A refresh also learns what repetition, length, echo and formatting are worth to people."
    )
    base_mix: str = Field(
        str(_TINY / "prompts" / "train.jsonl"),
        description="What fills a round up, with `messages` or `prompt`: jsonl, parquet, `datasets` folder or hub.",
    )
    unsafe_model: str = Field(
        "", description="A sequence classifier that is asked after the rules of `unsafe`: folder or hub; empty: none."
    )
    unsafe_labels: str = Field("", description="Its labels that mean unsafe, with commas; of a single one, empty.")
    unsafe_threshold: float = Field(0.5, gt=0, lt=1, description="From which probability of those on it says so.")
    teacher_data: str = Field(
        "",
        description="Thoughts and responses for sft: a `datasets` folder, jsonl or parquet, with `messages` or "
        "`prompt`, `thought` and `response`.",
    )
    heldout: str = Field(
        "",
        description="The gate's prompts, never trained on; empty: heldout.jsonl beside the mix, else a share of it.",
    )
    thinking_format: Literal["think", "prefilled", "zero", "plain"] = Field("think", description="How thoughts look.")
    template: Literal["chatml", "llama3", "zero"] = Field("chatml", description="Chat template, as the engine's.")
    max_lora_rank: int = Field(
        16,
        ge=1,
        validation_alias="RUMINATE_MAX_LORA_RANK",
        description="The highest rank that engines are started for and the gateway takes, as theirs.",
    )
    lease_seconds: float = Field(60.0, ge=3, description="A round whose trainer is silent for so long is free again.")
    poll_seconds: float = Field(2.0, gt=0, description="How often to look for a round.")
    ready_file: Path | None = Field(None, description="Where it writes its process id once it waits for rounds.")
    max_attempts: int = Field(5, ge=1, description="A round that killed its trainer so often is failed.")
    nice: int = Field(10, ge=0, le=19, description="How much training yields to serving.")
    pause_seconds: float = Field(
        0.5, ge=0, description="How long training rests between two micro-batches while people need the machine."
    )
    pause_share: float = Field(
        0.1, ge=0, le=0.5, description="Share of the time that these rests take at most; 0: training never rests."
    )
    threads: int = Field(1, ge=1, description="Threads of a training step; on a small machine people need the rest.")
    threads_alone: int | None = Field(
        None, ge=1, description="The same while nothing is sampled for the round, in grpo and ppo; without: `threads`."
    )
    save_every: int = Field(1, ge=1, description="Steps between saved states; a killed round loses at most so many.")
    keep_checkpoints: int = Field(
        10, ge=1, description="Of those that can be made live so many newest keep their files, beside those in use."
    )
    gateway_patience: float = Field(
        300.0, gt=0, description="Seconds to wait for a gateway or engine that restarts, before a round is failed."
    )

    @model_validator(mode="before")
    @classmethod
    def _profile_below(cls, values: Any) -> Any:
        """A profile's values stand where nothing else does; `defaults` keeps those that do."""
        given = values.get("defaults") if isinstance(values, dict) else None
        if not isinstance(given, dict):
            return values
        unknown = sorted(set(given) - set(cls.model_fields))
        if unknown:
            raise ValueError(f"defaults name {', '.join(unknown)}, which is no setting of the trainer")
        below = {name: value for name, value in given.items() if name not in values}
        return below | values | {"defaults": below}

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or in_home(self.home)

    @property
    def gate_file(self) -> str | None:
        """Where the gate's prompts are; None: they are the held-out share of the mix."""
        beside = Path(self.base_mix).with_name("heldout.jsonl")
        return self.heldout or (str(beside) if beside.is_file() else None)

    @property
    def key(self) -> str:
        """The service key; empty where neither the setting nor the file is there."""
        file = self.home / "service.key"
        return self.service_key or (file.read_text(encoding="utf-8").strip() if file.is_file() else "")

    def round_config(self, overrides: dict[str, Any], seed: int) -> RoundConfig:
        """What a round runs with: these settings, what the round overrides, and its seed. Raises BadSetting."""
        unknown = sorted(set(overrides) - set(RoundConfig.model_fields))
        if unknown:
            known = ", ".join(sorted(RoundConfig.model_fields))
            raise BadSetting(f"round config {', '.join(unknown)}: no setting of a round; known are {known}")
        own = {name: getattr(self, name) for name in RoundConfig.model_fields}
        by_person = {name: own[name] for name in self.model_fields_set - set(self.defaults) if name in own}
        algorithm = overrides.get("algorithm", self.algorithm)
        try:
            if name := overrides.get("preset"):
                own |= preset(name, algorithm)
            elif self.preset and name is None:  # a round may ask for none
                own |= preset(self.preset, algorithm) | by_person
        except ValueError as error:
            raise BadSetting(f"round config {error}") from None
        try:
            config = RoundConfig(**(own | overrides | {"seed": seed}))
        except ValidationError as error:
            raise BadSetting(sentence(error, "round config ")) from None
        if config.weights == "lora" and config.lora_rank > self.max_lora_rank:
            raise BadSetting(f"round config lora_rank = {config.lora_rank}: {too_high(self.max_lora_rank)}")
        return config


def read_settings(**values: Any) -> TrainerSettings:
    """The settings from the environment, and `values` over them. Raises BadSetting."""
    try:
        settings = TrainerSettings(**values)
    except ValidationError as error:
        raise BadSetting(sentence(error, PREFIX)) from None
    for name in PATHS:
        value = getattr(settings, name)
        at_hub = name not in HERE and HUB_NAME.fullmatch(value)
        if value and not Path(value).exists() and not at_hub:
            hub = "" if name in HERE else ", or a hub name"
            raise BadSetting(f"{PREFIX}{name.upper()} = {value!r}: expected a file or folder that exists{hub}")
    if settings.lora_rank > settings.max_lora_rank:
        raise BadSetting(f"{PREFIX}LORA_RANK = {settings.lora_rank}: {too_high(settings.max_lora_rank)}")
    if settings.refresh_after and settings.reward_model.endswith(".toml"):
        raise BadSetting(
            f"{PREFIX}REFRESH_AFTER = {settings.refresh_after}: only a single sequence classifier can be refreshed, "
            f"and {PREFIX}REWARD_MODEL = {settings.reward_model!r} is a file of models; name one, or set 0"
        )
    for name in ("reward_model", "judge_model"):
        if getattr(settings, name).endswith(".toml"):
            try:
                read_reward_file(getattr(settings, name))
            except ValueError as error:
                raise BadSetting(f"{PREFIX}{name.upper()}: {error}") from None
    return settings
