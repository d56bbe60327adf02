"""TRL's DPOTrainer and SFTTrainer on token ids of ours (TRL 1.16, pinned); tests/trainer/test_algorithms.py runs both.

Both would write and read chat text by themselves. What an engine sampled, and what a template of ours wrote, is already
tokens, and other tokens of the same text would be another training. For DPO the data set is places in a list of pairs:
which pair a place stands for is asked when its step comes, so that what was withdrawn meanwhile is not trained on.
"""

from pathlib import Path
from typing import Any, Protocol

import torch

from trainer.trl_bridge import score_labels_alone  # first: it keeps TRL from importing the engine

from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # isort: skip
from trl.trainer.dpo_trainer import DataCollatorForPreference  # isort: skip

from datasets import Dataset

from trainer.pairs import Pair
from trainer.states import common
from trainer.work import Work


class HasPairs(Protocol):
    """Where pairs come from."""

    all: list[Pair]

    def allowed(self, places: list[int]) -> list[Pair]:
        """The pairs at these places, or others in their stead."""


def offline_dpo(work: Work, states: Path) -> DPOConfig:
    """TRL's arguments of a DPO round. A pair is two samples of a micro-batch."""
    config = work.config
    return DPOConfig(
        **common(work, states, config.prompts_per_step, max(1, config.micro_batch // 2)),
        beta=config.dpo_beta,
        loss_type=["sigmoid"],
        max_length=None,  # curation and sampling have kept to the lengths
        dataloader_drop_last=True,
    )


def offline_sft(work: Work, states: Path) -> SFTConfig:
    """TRL's arguments of an SFT round."""
    config = work.config
    return SFTConfig(
        **common(work, states, config.prompts_per_step, config.micro_batch),
        max_length=None,
        packing=False,
        dataloader_drop_last=True,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


class PairTrainer(DPOTrainer):
    """TRL's DPOTrainer on pairs of token ids. `keep_reference`: as in `trl_bridge`."""

    def __init__(self, *, pairs: HasPairs, keep_reference: bool, **arguments: Any) -> None:
        self._pairs = pairs
        score_labels_alone()
        places = Dataset.from_dict({"place": list(range(len(pairs.all)))})
        super().__init__(train_dataset=places, data_collator=_places, **arguments)
        self._collate = DataCollatorForPreference(pad_token_id=arguments["processing_class"].pad_token_id)
        policy: Any = self.model
        if "ref" in getattr(policy, "peft_config", {}) and not keep_reference:
            policy.delete_adapter("ref")

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns: Any = ["place"]

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        chosen = self._pairs.allowed(inputs["place"].tolist())
        rows = [
            {"prompt_ids": one.prompt_ids, "chosen_ids": one.chosen_ids, "rejected_ids": one.rejected_ids}
            for one in chosen
        ]
        return super()._prepare_inputs(self._collate(rows))


def sft_trainer(rows: list[dict[str, list[int]]], **arguments: Any) -> SFTTrainer:
    """TRL's SFTTrainer on rows of `input_ids` and `labels` (-100 where nothing is learnt)."""
    score_labels_alone()
    return SFTTrainer(train_dataset=Dataset.from_list(rows), **arguments)


def _places(rows: list[dict[str, int]]) -> dict[str, torch.Tensor]:
    return {"place": torch.tensor([row["place"] for row in rows])}
