"""How a reward model reads a conversation: by its own chat template and tokenizer, cut to its own length."""

from pathlib import Path
from typing import Any

from trainer.prompts import Messages


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
        """The tokens of the conversation with this response, without the beginning of one that is too long."""
        said = [*messages, {"role": "assistant", "content": response}]
        ids: Any = self.tokenizer.apply_chat_template(said, tokenize=True, return_dict=False)
        return ids[-self.limit :]
