"""How a reward model reads a conversation: by its own chat template and tokenizer, cut to its own length."""

from pathlib import Path
from typing import Any

from trainer.prompts import Messages, text_of


def longest(path: Path) -> int | None:
    """How many tokens the model in `path` has places for; None where its config is not there or names no limit."""
    from transformers import AutoConfig

    if not (path / "config.json").is_file():  # a folder of a tokenizer alone
        return None
    return getattr(AutoConfig.from_pretrained(path).get_text_config(), "max_position_embeddings", None)


class Transcript:
    """Writes conversations for the model in `path`. `limits` beside the tokenizer's own: None is none."""

    def __init__(self, path: Path, *limits: int | None) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(path)
        if self.tokenizer.chat_template is None:
            raise ValueError(f"{path} has no chat template; a reward model needs its own to read a conversation")
        self.limit = min(limit for limit in (*limits, self.tokenizer.model_max_length) if limit)

    def ids(self, messages: Messages, response: str) -> list[int]:
        """The tokens of the conversation with this response, without the beginning of one that is too long.

        Some templates refuse a system's message, or turns that don't alternate, which the policy's own takes: one odd
        conversation would else fail every round that comes upon it. By such a template it is read `in_turns`.
        """
        from jinja2 import TemplateError

        said = [*messages, {"role": "assistant", "content": response}]
        try:
            ids: Any = self._written(said)
        except TemplateError:
            ids = self._written(in_turns(said))
        return ids[-self.limit :]

    def _written(self, said: Messages) -> Any:
        return self.tokenizer.apply_chat_template(said, tokenize=True, return_dict=False)


def in_turns(messages: Messages) -> Messages:
    """The same words by user and assistant in turn, the user first: what others say counts as the user's, and messages
    in a row are one."""
    told: Messages = [{"role": "user", "content": ""}]
    for message in messages:
        role, text = "assistant" if message["role"] == "assistant" else "user", text_of(message)
        if told[-1]["role"] == role:
            before = told[-1]["content"]
            told[-1] = {"role": role, "content": f"{before}\n\n{text}" if before else text}
        else:
            told.append({"role": role, "content": text})
    return told
