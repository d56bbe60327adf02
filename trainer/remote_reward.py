"""A reward model behind vLLM's classify or score endpoint (`vllm serve MODEL --runner pooling`).

For /classify the conversation is written and cut here, by the model's own tokenizer, exactly as for the classifier in
this process, and the endpoint gets token ids. /score is for models that read two texts (cross-encoders): it gets the
conversation and the response as text, and its server writes and cuts them. Both are asked in batches and for the plain
score, without softmax or sigmoid.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainer.prompts import Messages, text_of
from trainer.remote import call, connection
from trainer.transcript import Transcript, longest


class EndpointClassifier:
    """Scores by the model `name` at `url`. `tokenizer` is its folder or hub's name."""

    alone = True

    def __init__(
        self, url: str, name: str, tokenizer: Path, *, key: str = "", batch: int = 64, connections: int = 4,
        max_tokens: int | None = None,
    ) -> None:  # fmt: skip
        self._http = connection(url, key, 300.0)
        self._name, self._batch, self._connections = name, batch, connections
        self.title = f"{name} at {url}"
        self._transcript = Transcript(tokenizer, max_tokens, longest(tokenizer))

    def score(self, pairs: Sequence[tuple[Messages, str]]) -> list[float]:
        """Scores in the model's own scale. Too long a conversation loses its beginning, never the response's end."""
        ids = [self._transcript.ids(messages, response) for messages, response in pairs]
        parts = [ids[start : start + self._batch] for start in range(0, len(ids), self._batch)]
        with ThreadPoolExecutor(self._connections) as pool:
            return [score for scores in pool.map(self._ask, parts) for score in scores]

    def _ask(self, part: list[list[int]]) -> list[float]:
        body: dict[str, Any] = {"model": self._name, "input": part, "use_activation": False}
        found = sorted(call(self._http, "/classify", body)["data"], key=lambda one: one["index"])
        wide = [len(one["probs"]) for one in found if len(one["probs"]) != 1]
        if len(found) != len(part) or wide:
            raise ValueError(
                f"{self._http.base_url}classify was given {len(part)} conversations and returned {len(found)} answers, "
                f"{len(wide)} of them with more than one score; a reward model has one label"
            )
        return [_number(one["probs"][0]) for one in found]


class EndpointScorer:
    """Scores by the model `name` at `url`, which is given a conversation and a response as two texts."""

    alone = True

    def __init__(self, url: str, name: str, *, key: str = "", batch: int = 64, connections: int = 4) -> None:
        self._http = connection(url, key, 300.0)
        self._name, self._batch, self._connections = name, batch, connections
        self.title = f"{name} at {url}"

    def score(self, pairs: Sequence[tuple[Messages, str]]) -> list[float]:
        """Scores in the model's own scale."""
        parts = [pairs[start : start + self._batch] for start in range(0, len(pairs), self._batch)]
        with ThreadPoolExecutor(self._connections) as pool:
            return [score for scores in pool.map(self._ask, parts) for score in scores]

    def _ask(self, part: Sequence[tuple[Messages, str]]) -> list[float]:
        texts = {"queries": [asked(messages) for messages, _ in part], "documents": [said for _, said in part]}
        body = {"model": self._name, **texts, "use_activation": False}
        found = sorted(call(self._http, "/score", body)["data"], key=lambda one: one["index"])
        if [one["index"] for one in found] != list(range(len(part))):
            raise ValueError(
                f"{self._http.base_url}score was given {len(part)} conversations and returned {len(found)} scores"
            )
        return [_number(one["score"]) for one in found]


def _number(score: float | None) -> float:
    """JSON has no NaN: a server writes null for it."""
    return math.nan if score is None else float(score)


def asked(messages: Messages) -> str:
    """A conversation as one text: a lone question as it is, else each turn under its role."""
    if len(messages) == 1:
        return text_of(messages[0])
    return "\n\n".join(f"{message['role']}: {text_of(message)}" for message in messages)
