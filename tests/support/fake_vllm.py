"""A small honest engine for rounds of full weights: vLLM's calls over HTTP, answered by transformers in this process.

Its weights are really those of the folder that it was last told to reload. A restart (`forget`) brings the base back.
"""

from pathlib import Path
from typing import Any

from support.fake_gateway import FakeGateway

NAME = "ruminate-v0"


class FakeVllm(FakeGateway):
    """Serves until `close`. `reloads` are the folders whose weights it was given, in order."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.version, self.paused = "default", False
        self.reloads: list[str] = []
        self.asked = 0
        self.adapters: list[str] = []

    def forget(self) -> None:
        """What a restart does to it."""
        self.version, self.paused = "default", False
        self._models = {NAME: self._plain}

    def answer(self, method: str, path: str, body: dict[str, Any], authorization: str) -> tuple[int, Any]:
        with self._lock:
            if path == "/v1/models":
                cards = [{"id": NAME, "parent": None}, *({"id": name, "parent": NAME} for name in self.adapters)]
                return 200, {"data": cards}
            if path == "/weight_info":
                return 200, {"weight_version": self.version}
            if path == "/update_weight_version":
                self.version = body["new_version"]
                return 200, {}
            if path in ("/pause?mode=wait", "/resume"):
                self.paused = path != "/resume"
                return 200, {}
            if path == "/collective_rpc":
                return self._reload(body)
            assert path == "/v1/completions", path
            assert not self.paused
            assert body["model"] == NAME
            self.asked += 1
            if self.before_sample:
                self.before_sample(body)
            return 200, {"choices": self._scored(body) if "prompt_logprobs" in body else self._written(body)}

    def _reload(self, body: dict[str, Any]) -> tuple[int, Any]:
        from transformers import AutoModelForCausalLM

        assert self.paused
        assert body["method"] == "reload_weights"
        folder = body["kwargs"]["weights_path"]
        self._models[NAME] = AutoModelForCausalLM.from_pretrained(folder, dtype=self._torch.float32).eval()
        self.reloads.append(folder)
        return 200, {"results": [None]}

    def _written(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        samples = self._sample(body | {"prompts": [body["prompt"]]})
        return [
            {
                "index": one["sample"],
                "token_ids": one["token_ids"],
                "logprobs": {"token_logprobs": one["logprobs"]},
                "finish_reason": one["finish_reason"],
            }
            for one in samples
        ]

    def _scored(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        choices = []
        for index, ids in enumerate(body["prompt"]):
            told = self._logprobs(NAME, {"prompt_ids": ids[:1], "completion_ids": ids[1:]})
            rows = [None, *({str(token): {"logprob": each}} for token, each in zip(ids[1:], told, strict=True))]
            choices.append({"index": index, "prompt_logprobs": rows})
        return choices
