"""A Bradley-Terry reward model behind vLLM's classify endpoint (`vllm serve MODEL --runner pooling`).

The conversation is written and cut here, by the model's own tokenizer, exactly as for the classifier in this process;
the endpoint gets token ids in batches, and is asked for the plain score, without softmax or sigmoid.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from trainer.prompts import Messages
from trainer.remote import call
from trainer.transcript import Transcript


class EndpointClassifier:
    """Scores by the model `name` at `url`. `tokenizer` is its folder or hub's name."""

    def __init__(
        self, url: str, name: str, tokenizer: Path, *, key: str = "", batch: int = 64, connections: int = 4,
        max_tokens: int | None = None,
    ) -> None:  # fmt: skip
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=300.0, trust_env=False)
        self._name, self._batch, self._connections = name, batch, connections
        self._transcript = Transcript(tokenizer, max_tokens)

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
        return [float(one["probs"][0]) for one in found]
