"""The embedded models' tokenizer, and how an example becomes token ids."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.world.talk import Example, example
from models.world.wishes import ORDER
from thinking.format import THINK
from thinking.templates import template_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 2048
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# What a reward model looks for in a response, and what it may find; see models.critic.
CHECKLIST = (*ORDER, "topic", "whole", "clean", "honest")
VERDICTS = ("met", "missed", "unasked")
CONTEXT = 2048  # positions; a conversation of the world takes up to some 700 tokens


def train_tokenizer(seed: int, examples: int = 12_000) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the world's text; the thought's tags are single, ordinary tokens after it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rng = random.Random(seed)
    raw = Tokenizer(models.BPE())
    digits = pre_tokenizers.Split(Regex(r"\d"), "isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    raw.decoder = decoders.ByteLevel()

    def texts() -> Iterator[str]:
        for _ in range(examples):
            one = example(rng)
            yield "\n".join([*(m["content"] for m in one.messages), one.thought, one.response])
        yield " user assistant system\nuser\nassistant\nsystem\n" * 50
        yield " ".join(["", *CHECKLIST, *VERDICTS]) * 50

    raw.train_from_iterator(
        texts(),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - 2, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    raw.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in (THINK.open, THINK.close)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=template_text("chatml"),
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def completion(one: Example) -> str:
    """The text that the policy writes for an example, without the end token; after an empty thought the response."""
    return THINK.render(one.thought, one.response) if one.thought else one.response


def encode(tokenizer: Any, one: Example) -> tuple[list[int], int]:
    """Token ids of the whole example, and how many of them are its prompt."""
    options: dict[str, Any] = {} if one.thought else {"enable_thinking": False}
    text = tokenizer.apply_chat_template(list(one.messages), tokenize=False, add_generation_prompt=True, **options)
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    answer = tokenizer(completion(one), add_special_tokens=False)["input_ids"]
    return [*prompt, *answer, tokenizer.eos_token_id], len(prompt)


def key(messages: Any) -> str:
    """What makes two prompts the same: every message's text."""
    return "\x1f".join(f"{m['role']}:{m['content']}" for m in messages)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer's files."""
    tokenizer.save_pretrained(folder)
