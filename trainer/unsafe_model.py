"""Any sequence classifier as a judge of what is unsafe: toxicity, jailbreaks, whatever its labels name.

It reads the words of a conversation's users and system, all of them: what is longer than the model takes is cut into
windows, and the worst one counts.
"""

from collections.abc import Sequence
from typing import Any

from trainer.policy import local_folder
from trainer.prompts import Messages, text_of
from trainer.unsafe import Unsafe, by_rule

MOST_TOKENS = 512
"""Of a window, for models that name no limit."""


def unsafe_by(model: str, labels: str, threshold: float) -> Unsafe:
    """The rules, and after them the classifier of this name; the rules alone where it is empty. Raises ValueError."""
    if not model:
        return by_rule
    classifier = UnsafeClassifier(model, [label.strip() for label in labels.split(",") if label.strip()], threshold)
    return lambda messages: by_rule(messages) or classifier(messages)


class UnsafeClassifier:
    """Says which of `labels` a conversation most likely has, where together they reach `threshold`."""

    def __init__(self, model: str, labels: Sequence[str], threshold: float) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = local_folder(model)
        self._torch, self._threshold = torch, threshold
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        self._model.to("cuda" if torch.cuda.is_available() else "cpu")
        config = self._model.config
        config.get_text_config().pad_token_id = self._tokenizer.pad_token_id
        known = {name: place for place, name in config.id2label.items()}
        wanted = list(labels) or (list(known) if len(known) == 1 else [])
        unknown = [label for label in wanted if label not in known]
        if unknown or not wanted:
            raise ValueError(
                f"unsafe_labels = {', '.join(labels)!r}: {model} has the labels {', '.join(known)}; name those of them "
                "that mean unsafe"
            )
        self._labels = [(label, known[label]) for label in wanted]
        self._apart = len(known) == 1 or config.problem_type == "multi_label_classification"
        longest = getattr(config.get_text_config(), "max_position_embeddings", None) or MOST_TOKENS
        self._window = min(longest, self._tokenizer.model_max_length, MOST_TOKENS)

    def __call__(self, messages: Messages) -> str | None:
        said = "\n".join(text_of(message) for message in messages if message["role"] != "assistant")
        windows = self._tokenizer(
            said, truncation=True, max_length=self._window, return_overflowing_tokens=True, padding=True,
            return_tensors="pt",
        )  # fmt: skip
        inputs = {name: windows[name].to(self._model.device) for name in ("input_ids", "attention_mask")}
        with self._torch.inference_mode():
            logits = self._model(**inputs).logits.float()
        chances = logits.sigmoid() if self._apart else logits.softmax(-1)
        own = chances[:, [place for _, place in self._labels]]
        together = own.max(-1).values if self._apart else own.sum(-1)
        worst = int(together.argmax())
        if float(together[worst]) < self._threshold:
            return None
        return self._labels[int(own[worst].argmax())][0]
