"""The other side: TRL's GRPOTrainer as its documentation sets it up, in a process of its own without any engine.

`python -m bench.round.theirs PLAN.json OUT.json`. The model by its path, conversational prompts, a LoRA by
`peft_config`, samples by transformers' `generate` on the whole generation batch at once (`use_vllm=False`), a reward
function. Sizes, optimiser, loss, threads and the type of the weights are those of our round; TRL's gradient
checkpoints, which save a GPU's memory, are off, as ours are on a CPU. It is spared what ours does beside: it saves only
the adapters that are asked about, and its samples need no importance weights.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import trainer.trl_bridge  # noqa: F401  it keeps TRL from importing an engine that nobody uses here

from trl import GRPOConfig, GRPOTrainer  # isort: skip

from thinking.format import FORMATS
from trainer.house import without_thought
from trainer.policy import eos_ids, load_tokenizer
from trainer.rewards import Reader, RewardModel, SequenceClassifier, grade
from trainer.round_config import RoundConfig


class Timed(GRPOTrainer):
    """Notes how long each step's generation took, and how many tokens it wrote."""

    def __init__(self, **arguments: Any) -> None:
        self.sampled: list[float] = []
        self.tokens: list[float] = []
        super().__init__(**arguments)

    def _generate_single_turn(self, *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        found = super()._generate_single_turn(*arguments, **options)
        self.sampled.append(time.perf_counter() - began)
        self.tokens.append(float(sum(len(ids) for ids in found[0])))
        return found


class Rewarded:
    """A reward function for TRL: the same reading, the same model, the same rank of malformed outputs as ours."""

    def __init__(self, reader: Reader, model: RewardModel, config: RoundConfig) -> None:
        self._reader, self._model, self._config = reader, model, config
        self.seconds: list[float] = []

    def __call__(
        self, prompts: Sequence[list[dict[str, Any]]], completion_ids: Sequence[list[int]], **_: Any
    ) -> list[float]:
        began, ends = time.perf_counter(), self._reader.eos_ids
        outputs = [self._reader.read(ids, bool(ids) and ids[-1] in ends) for ids in completion_ids]
        graded = grade(self._model, list(prompts), outputs, self._config.group_size, self._config.malformed_margin)
        self.seconds.append(time.perf_counter() - began)
        return [one.reward for one in graded]


class Clock(TrainerCallback):
    """When each step began, and when the training ended: what is between two is a step with all that belongs to it."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.times.append(time.perf_counter())

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.times.append(time.perf_counter())

    @property
    def steps(self) -> list[float]:
        """Seconds of each."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


def arguments(config: RoundConfig, out: Path, every: int) -> GRPOConfig:
    """TRL's arguments for a round of this config."""
    samples = config.prompts_per_step * config.group_size
    micro = min(config.micro_batch, samples)
    return GRPOConfig(
        output_dir=str(out),
        seed=config.seed,
        max_steps=config.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=samples // micro,  # and so all of a step's samples are generated at once
        num_generations=config.group_size,
        max_completion_length=config.max_completion_tokens,
        temperature=config.temperature,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_schedule,
        max_grad_norm=config.max_grad_norm,
        weight_decay=config.weight_decay,
        beta=config.kl_beta,
        use_bias_correction_kl=config.kl_correction,
        epsilon=config.clip,
        loss_type=config.loss_type,
        scale_rewards=config.scale_rewards,
        use_vllm=False,
        model_init_kwargs={"dtype": config.dtype},
        shuffle_dataset=False,  # the prompts in our round's order
        save_strategy="steps",
        save_steps=every,
        save_only_model=True,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        bf16=config.dtype == "bfloat16",
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
    )


def train(plan: dict[str, Any]) -> dict[str, Any]:
    """The training of a plan, and its times step by step."""
    from datasets import Dataset
    from peft import LoraConfig

    torch.set_num_threads(plan["threads"])
    config, base, out = RoundConfig(**plan["config"]), Path(plan["policy"]), Path(plan["out"])
    tokenizer = load_tokenizer(base, plan["template"])
    reader = Reader(tokenizer, FORMATS[plan["format"]], eos_ids(tokenizer, base))
    if config.rlhf:
        reader = without_thought(reader, plan["template"])
    reward, clock = Rewarded(reader, SequenceClassifier(Path(plan["reward"])), config), Clock()
    trainer = Timed(
        model=str(base),
        args=arguments(config, out, plan["every"]),
        train_dataset=Dataset.from_dict({"prompt": plan["prompts"]}),
        processing_class=reader.tokenizer,
        reward_funcs=reward,
        peft_config=LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    told = [entry for entry in trainer.state.log_history if "reward" in entry]
    return {
        "wall": clock.steps,
        "sample": trainer.sampled,
        "score": reward.seconds,
        "tokens": trainer.tokens,
        "rewards": [entry["reward"] for entry in told],
        "threads": torch.get_num_threads(),
    }


def main() -> int:
    """Read the plan, train, and write what was measured."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    found = train(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
