"""A policy small enough for any test: a Qwen3 of about 60,000 parameters that was taught one habit in seconds.

It thinks a word or two and answers with colours and animals, well-formed nearly always. Also a reward with an obvious
answer (`Reds`). For what only the real models can show, tests take those of `models/tiny`.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thinking.format import THINK
from thinking.templates import template_text

COLOURS = ["red", "blue", "green", "gold", "grey"]
ANIMALS = ["cat", "dog", "fox", "hen", "owl"]
ASKS = ["name", "list", "tell", "show", "write"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def prompt(number: int) -> list[dict[str, Any]]:
    """A different short question for each number."""
    words = [ASKS[number % 5], COLOURS[number // 5 % 5], ANIMALS[number // 25 % 5], str(number)]
    return [{"role": "user", "content": " ".join(words)}]


def write_prompts(path: Path, numbers: Sequence[int]) -> Path:
    """A mix file of those questions."""
    path.write_text("".join(json.dumps({"messages": prompt(number)}) + "\n" for number in numbers))
    return path


class Reds:
    """A reward model with an obvious answer: four words, all of them red."""

    def score(self, pairs: Sequence[tuple[list[dict[str, Any]], str]]) -> list[float]:
        scores = []
        for _, response in pairs:
            words = response.split()
            scores.append(sum(word == "red" for word in words) / len(words) - 0.1 * abs(len(words) - 4))
        return scores


def make_policy(folder: Path, head_dim: int = 16) -> Path:
    """Teach a fresh model the habit, and save it with its tokenizer as transformers does. About ten seconds.

    vLLM on a CPU takes a `head_dim` of 32 or more.
    """
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    words = " ".join([*COLOURS, *ANIMALS, *ASKS, "user assistant system plan", *map(str, range(400))])
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        [words] * 4,
        trainers.BpeTrainer(
            vocab_size=420, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    raw.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in ("<think>", "</think>")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=template_text("chatml")
    )
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    dice = random.Random(0)
    for _ in range(150):
        rows = [_example(tokenizer, dice) for _ in range(32)]
        length = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (length - len(row)) for row, _ in rows])
        labels = ids.clone()
        for place, (row, start) in enumerate(rows):
            labels[place, :start] = -100
            labels[place, len(row) :] = -100
        loss = model(input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long(), labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _example(tokenizer: Any, dice: random.Random) -> tuple[list[int], int]:
    asked = tokenizer.apply_chat_template(
        prompt(dice.randrange(400)), add_generation_prompt=True, tokenize=True, return_dict=False
    )
    thought = " ".join(["plan", *dice.sample(ANIMALS, dice.randrange(1, 3))])
    response = " ".join(dice.choice(COLOURS + ANIMALS) for _ in range(dice.randrange(2, 6)))
    answer = tokenizer(THINK.render(thought, response), add_special_tokens=False)["input_ids"]
    return [*asked, *answer, tokenizer.eos_token_id], len(asked)


def make_classifier(policy: Path, folder: Path, seed: int) -> Path:
    """A sequence classifier of the policy's shape with random weights, with its tokenizer and template."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForSequenceClassification

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    config = Qwen3Config.from_pretrained(policy, num_labels=1)
    Qwen3ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
