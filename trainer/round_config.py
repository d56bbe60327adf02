"""What one round does: how it samples, rewards, curates, trains and is judged.

A round may override any field, or name a preset (`trainer.presets`); what it then runs with is written down at its
first claim and kept. Knows nothing of the process; `trainer.settings` does, and holds the defaults of its rounds.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trainer.presets import known


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

    @property
    def looks_out(self) -> bool:
        """Whether training is looked at on its way: it is on, and the round long enough for three looks."""
        return 0 < 2 * self.lookout_every < self.steps

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
