"""Trains a Bradley-Terry reward model with TRL's RewardTrainer. It reads a prompt and a response, never a thought."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.critic import last_token, reading_template
from models.pairs import Pair
from models.train_policy import attend_in_float32, open_files


def conversation_ids(tokenizer: Any, messages: Sequence[dict[str, Any]], response: str) -> list[int]:
    """Token ids that a reward model reads: the whole conversation with the response as its last turn."""
    said = [*messages, {"role": "assistant", "content": response}]
    ids: list[int] = tokenizer.apply_chat_template(said, tokenize=True, return_dict=False)
    return ids


def rising_marks(backbone: Path, tokenizer: Any) -> Any:
    """The head [1, hidden] to begin with: how steeply the reader's log-odds rise from mark to mark."""
    import torch
    from safetensors.torch import load_file

    head = load_file(backbone / "model.safetensors")["lm_head.weight"].float()
    marks = torch.arange(10.0) - 4.5
    rows = torch.stack([head[last_token(tokenizer, str(mark))] for mark in range(10)])
    return (marks @ rows)[None] / (marks @ marks)


def train(backbone: Path, pairs: Sequence[Pair], folder: Path, seed: int, batch: int = 24, rate: float = 2e-4) -> float:
    """One epoch over the pairs from the language model `backbone`; saves bf16 to `folder`; returns seconds."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    tokenizer.chat_template = reading_template()
    model = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=1, dtype=torch.float32)
    attend_in_float32(model)
    with torch.no_grad():
        model.score.weight.copy_(rising_marks(backbone, tokenizer))
    rows = [
        {
            "chosen_ids": conversation_ids(tokenizer, p.messages, p.chosen),
            "rejected_ids": conversation_ids(tokenizer, p.messages, p.rejected),
        }
        for p in pairs
    ]
    rows.sort(key=lambda r: max(map(len, r.values())))
    groups = [rows[i : i + batch] for i in range(0, len(rows) - batch + 1, batch)]  # of like length: little padding
    random.Random(seed).shuffle(groups)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = RewardTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list([row for group in groups for row in group]),
            args=RewardConfig(
                output_dir=scratch,
                per_device_train_batch_size=batch,
                num_train_epochs=1,
                learning_rate=rate,
                lr_scheduler_type="cosine",
                warmup_steps=20,
                weight_decay=0.01,
                max_length=None,
                bf16=True,
                use_cpu=True,
                gradient_checkpointing=False,
                train_sampling_strategy="sequential",
                center_rewards_coefficient=0.01,
                logging_steps=50,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                dataloader_pin_memory=False,
                seed=seed,
            ),
        )
        trainer.train()
    model.eval()
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    open_files(folder)
    return time.monotonic() - began


def score_all(folder: Path, pairs: Sequence[tuple[Sequence[dict[str, Any]], str]], batch: int = 16) -> list[float]:
    """Rewards of (messages, response), in their order."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    rows = [conversation_ids(tokenizer, m, r) for m, r in pairs]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    rewards = [0.0] * len(rows)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        width = max(len(rows[i]) for i in part)
        ids = torch.full((len(part), width), tokenizer.pad_token_id)
        for place, i in enumerate(part):
            ids[place, : len(rows[i])] = torch.tensor(rows[i])
        with torch.inference_mode():
            found = model(input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long()).logits[:, 0]
        for i, value in zip(part, found.tolist(), strict=True):
            rewards[i] = value
    return rewards


def accuracy(folder: Path, pairs: Sequence[Pair]) -> float:
    """Share of the pairs whose chosen response gets the higher reward."""
    chosen = score_all(folder, [(p.messages, p.chosen) for p in pairs])
    rejected = score_all(folder, [(p.messages, p.rejected) for p in pairs])
    return sum(c > r for c, r in zip(chosen, rejected, strict=True)) / len(pairs)
