"""What an operator can set: `TrainerSettings` for the process, and in it `RoundConfig` for what a round does.

A round may override any field of `RoundConfig`, or name a preset (`trainer.presets`); what it then runs with is
written down at its first claim and kept.
Read from the environment: RUMINATE_TRAINER_<FIELD>, and the few common names without TRAINER. What a profile of the
house sets comes as one value, `defaults`, and stands below a preset that a person names.
"""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from trainer.bad_setting import BadSetting, sentence, too_high
from trainer.presets import known, preset
from trainer.reward_file import read_reward_file
from trainer.triggers import TriggerSettings

REPOSITORY = Path(__file__).resolve().parent.parent
_TINY = REPOSITORY / "models" / "tiny"
PREFIX = "RUMINATE_TRAINER_"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
PATHS = (
    "base_model", "reward_model", "judge_model", "base_mix", "heldout", "teacher_data", "unsafe_model", "refresh_pairs",
)  # fmt: skip
"""Settings that name a file, a folder or a hub's."""


class RoundConfig(BaseModel):
    """What a round does. The defaults suit the embedded tiny model; docs/learning.md has the measurements."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Literal["grpo", "dpo", "ppo", "sft"] = Field("grpo", description="How the policy learns.")
    preset: str = Field(
        "", description="Settings under one name, such as `paper`, below those that are set beside it; empty: none."
    )
    weights: Literal["lora", "full"] = Field(
        "lora",
        description="What is trained: an adapter, or all weights, which sample on an engine of their own.",
    )
    rlhf: bool = Field(
        False, description="The control: sampled, trained and judged without a thought, whatever the algorithm."
    )
    seed: int = Field(
        1,
        ge=0,
        description="Everything random in a round follows from it; rounds that are asked for bring one of their own.",
    )

    # -- training
    steps: int = Field(35, ge=1, description="Updates of the policy in a round.")
    prompts_per_step: int = Field(8, ge=1, description="Different prompts in one update.")
    group_size: int = Field(8, ge=2, description="Samples of each prompt; the mean of the group is their baseline.")
    learning_rate: float = Field(1.5e-3, gt=0, description="AdamW's; 1e-6 is right for full weights only.")
    lr_schedule: Literal["constant", "cosine"] = Field("constant", description="How the rate goes on after warm-up.")
    warmup: float = Field(0.0, ge=0, lt=1, description="Share of the steps in which the rate rises from 0.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's.")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's decay of the mean of gradients.")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="AdamW's decay of the mean of their squares.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    lora_rank: int = Field(8, ge=1, le=512, description="Rank of a new adapter; a continued one keeps its own.")
    lora_alpha: int = Field(16, ge=1, description="The adapter's output is scaled by alpha / rank.")
    kl_beta: float = Field(0.02, ge=0, description="Weight of the divergence from the reference in the loss; 0: none.")
    kl_correction: bool = Field(
        True,
        description="Whether its term counts by the ratio of new and old weights, which makes its gradient unbiased "
        "(arXiv 2512.02556); the paper's code has it plain.",
    )
    reference: Literal["base", "round_start"] = Field(
        "base", description="What the divergence is measured from: the base model, or the weights at the round's start."
    )
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = Field("dapo", description="dapo: mean over tokens.")
    scale_rewards: Literal["group", "batch", "none"] = Field("group", description="What advantages are divided by.")
    clip: float = Field(0.2, gt=0, lt=1, description="The ratio of an update is clipped to 1 - clip and 1 + clip.")
    dual_clip: float = Field(
        0.0,
        ge=0,
        description="Where an advantage is below 0, the ratio counts up to this (dual clip); 0: no bound.",
    )
    entropy_weight: float = Field(0.0, ge=0, description="Weight of the mean entropy, which the loss rewards.")
    is_mode: Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"] = Field(
        "token_truncate", description="What happens to a token that engine and trainer weigh differently."
    )
    is_cap: float = Field(2.0, gt=1, description="Importance ratios above this are truncated (or masked).")
    micro_batch: int = Field(16, ge=1, description="Samples in one forward pass; lower it when memory runs out.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU, else float32.")

    # -- budgets, beside `steps`, and what ends training early; what there is by then goes to the gate
    max_minutes: float = Field(
        0.0, ge=0, description="Training ends after so many minutes of steps (in dpo, of sampling too); 0: no limit."
    )
    max_sampled_tokens: int = Field(
        0, ge=0, description="And once it has sampled so many tokens (in dpo, its sampling ends); 0: no limit."
    )
    stop_kl: float = Field(
        1.0,
        ge=0,
        description="And when the divergence (kl_beta above 0) rises by this in a round, in nats per token; 0: never.",
    )
    stop_malformed: float = Field(
        0.3, ge=0, le=1, description="And when the malformed share rises by this in a round; 0: never."
    )
    lookout_every: int = Field(
        10,
        ge=0,
        description="Steps between looks at prompts not trained on; training ends when reward or judge fell; 0: none.",
    )
    lookout_samples: int = Field(4, ge=1, description="Answers to each of those prompts.")

    # -- dpo
    dpo_beta: float = Field(0.1, gt=0, description="How strongly DPO holds the policy to the reference.")
    dpo_min_valid: int = Field(4, ge=2, description="Well-formed samples that a prompt needs to make a pair.")
    dpo_people: float = Field(
        0.0,
        ge=0,
        le=0.9,
        description="Share of DPO's pairs that may be people's own choices between two answers, as they were said.",
    )

    # -- ppo
    critic_learning_rate: float = Field(1e-3, gt=0, description="The critic's; 5e-6 is right for full weights only.")
    gae_gamma: float = Field(1.0, gt=0, le=1, description="Discount of a reward per token.")
    gae_lambda: float = Field(1.0, ge=0, le=1, description="1: advantages from whole returns; 0: from the next value.")
    value_clip: float = Field(0.5, gt=0, description="A value moves by this much in an update at most.")
    ppo_epochs: int = Field(1, ge=1, description="Updates on the samples of one step; the paper's is 1.")

    # -- sampling
    temperature: float = Field(1.0, gt=0, le=2, description="Of the samples that are trained on.")
    max_prompt_tokens: int = Field(512, ge=8, description="Longer prompts are left out.")
    max_completion_tokens: int = Field(256, ge=8, description="Thought and response together; longer is malformed.")

    overlap: bool = Field(
        False,
        description="Whether the next step is sampled while this one is trained on, in grpo and ppo: by the policy as "
        "it was one update before, for which `is_mode` corrects.",
    )

    replace_flat: int = Field(
        0,
        ge=0,
        description="A group whose samples all earn the same teaches nothing in grpo: so many of a step at most are "
        "replaced, by one more draw of groups of the round's other prompts; 0: none.",
    )

    # -- reward
    malformed_margin: float = Field(1.0, gt=0, description="How far a malformed output scores below its group's worst.")

    # -- curation
    mix_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of a round's prompts that comes from the base mix however many were recorded, so that a "
        "week of few or like prompts doesn't narrow the model; 0: the mix fills up what the recorded ones leave.",
    )
    per_user_cap: int = Field(64, ge=1, description="Prompts that one user can add to a round.")
    per_user_daily_cap: int = Field(64, ge=1, description="And of those, prompts that were asked on one day.")
    near_duplicates: float = Field(
        0.8,
        ge=0.5,
        le=1,
        description="Prompts that share so much of their runs of three words count as one; 1: all of it.",
    )
    languages: str = Field(
        "", description="Codes such as `en,de`: prompts surely in others are left out; empty: none is."
    )
    personal_data: Literal["keep", "redact", "drop"] = Field(
        "redact",
        description="Addresses, numbers and keys in prompts: kept, replaced by their kind, or the prompt left out.",
    )
    unsafe: Literal["drop", "keep"] = Field(
        "drop", description="Prompts that nobody should be taught to please: left out, or not asked about."
    )
    min_prompt_characters: int = Field(3, ge=1, description="Shorter messages are left out.")
    flat_rounds: int = Field(
        3, ge=0, description="A prompt whose samples earned all the same in so many rounds is left out; 0: never."
    )
    heldout_share: float = Field(0.1, ge=0, lt=1, description="Share of conversations that are never trained on.")

    # -- gate
    gate_prompts: int = Field(
        192, ge=4, description="Held-out prompts that candidate and live answer; docs/trust.md has what more would buy."
    )
    gate_samples: int = Field(4, ge=1, description="Answers of each to each of them.")
    gate_temperature: float = Field(0.7, gt=0, le=2, description="Of these answers: as people are served.")
    gate_confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the gate's intervals.")
    gate_outcomes: Literal["margins", "wins"] = Field(
        "margins", description="What counts: by how much an answer scores higher, or only that it does."
    )
    gate_min_gain: float = Field(0.0, ge=0, description="The judge's interval must lie above this gain.")
    gate_min_transfer: float = Field(
        0.5, ge=0, le=1, description="Share of the reward's gain that the judge must see, both in standard deviations."
    )
    gate_max_malformed: float = Field(0.02, ge=0, le=1, description="By how much the malformed share may rise.")
    gate_max_empty: float = Field(0.02, ge=0, le=1, description="By how much the share of empty thoughts may rise.")
    gate_max_repetition: float = Field(0.03, ge=0, le=1, description="By how much repeated words may rise.")
    gate_max_refusals: float = Field(0.03, ge=0, le=1, description="By how much the share of refusals may rise.")
    gate_max_kl: float = Field(
        0.08, gt=0, description="Nats per token that the candidate may be away from live on its own answers."
    )
    gate_regressions: int = Field(
        64, ge=0, description="So many of the answers that people keep an eye on are asked for again; 0: none."
    )
    gate_regressions_per_user: int = Field(8, ge=1, description="And of those, answers that one user keeps.")
    gate_max_regression: float = Field(
        0.0, ge=0, le=1, description="By how much the share of them that hold may fall; by chance it may in any case."
    )
    gate_max_length_ratio: float = Field(1.5, gt=1, description="Responses may grow by this factor, or shrink by it.")

    @field_validator("preset")
    @classmethod
    def _known(cls, name: str) -> str:
        if name and name not in known():
            raise ValueError(f"there is none of this name; known are {', '.join(known())}")
        return name

    @model_validator(mode="after")
    def _whole_batches(self) -> "RoundConfig":
        if 0 < self.dual_clip <= 1 + self.clip:
            raise ValueError(
                f"dual_clip = {self.dual_clip:g} must be above 1 + clip = {1 + self.clip:g}, or 0 for none"
            )
        if self.algorithm == "dpo" and self.dpo_min_valid > self.group_size:
            raise ValueError(f"dpo_min_valid = {self.dpo_min_valid} is more than group_size = {self.group_size}")
        samples = self.prompts_per_step * self.group_size
        if self.algorithm in ("grpo", "ppo") and samples % min(self.micro_batch, samples):
            raise ValueError(
                f"prompts_per_step x group_size = {samples} must be a multiple of micro_batch = {self.micro_batch}"
            )
        return self


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
    gateway: str = Field("http://127.0.0.1:8000", description="Base URL of the gateway.")
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
        return self.database_url or f"sqlite:///{self.home.absolute() / 'ruminate.db'}"

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
            elif self.preset:
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
        if value and not Path(value).exists() and not HUB_NAME.fullmatch(value):
            raise BadSetting(
                f"{PREFIX}{name.upper()} = {value!r}: expected a file or folder that exists, or a hub name"
            )
    if settings.lora_rank > settings.max_lora_rank:
        raise BadSetting(f"{PREFIX}LORA_RANK = {settings.lora_rank}: {too_high(settings.max_lora_rank)}")
    for name in ("reward_model", "judge_model"):
        if getattr(settings, name).endswith(".toml"):
            try:
                read_reward_file(getattr(settings, name))
            except ValueError as error:
                raise BadSetting(f"{PREFIX}{name.upper()}: {error}") from None
    return settings
