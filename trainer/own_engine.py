"""The engine that rounds of full weights sample on: its weights are replaced whenever another version is asked.

It stands where other rounds have the gateway, for samples and log-probabilities; what concerns the house (deployment,
pruning) goes to the gateway. Nobody else may use that engine.
"""

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from trainer.gateway import Arrived, Gateway, GatewayError, Sample

AT_ONCE = 64  # requests; the engine decides how many sequences it runs
CALL_SEQUENCES = 32  # of log-probabilities in one request
SEED_STEP = 1_000_003  # between the prompts of one call: equal prompts must not get equal samples
BROKEN_OFF = ("abort", "error")  # as the gateway has it
TRIES = 3  # of a call during which the engine restarted
MARK = "round-weights/"
"""How the versions that are set here begin; an engine that names others serves people."""
IN_CHANGE = MARK + "in-change"
AS_STARTED = "default"
CONTROL = "/weight_info"


class OwnEngine(Gateway):
    """A vLLM server at `url` that this trainer has for itself. `house` is the gateway."""

    def __init__(self, url: str, house: Gateway, patience: float, stop: Sequence[str] = ()) -> None:
        super().__init__(url, "", patience, stop)
        self._house = house
        self._folders: dict[str, Path] = {}
        self._placed: tuple[str, str] | None = None  # which name it has, and by which version that is known
        self._turn = threading.Lock()  # the next step may be sampled while this one is trained on
        self._asked_as = ""

    def load_adapter(self, name: str, path: Path) -> None:
        """From now on `name` means the full weights in `path`."""
        self._folders[name] = path.absolute()

    def unload_adapter(self, name: str) -> None:
        """Forget `name`."""
        self._folders.pop(name, None)

    def sample(
        self,
        model: str,
        prompts: Sequence[list[int]],
        n: int,
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        arrived: Arrived | None = None,
    ) -> list[Sample]:
        """As the gateway's, with the same seeds: temperature alone, anything else would bias the importance ratio.

        `arrived` is told of a prompt's samples when all of them have ended. Where the engine restarts meanwhile they
        are another model's, and are told of again when they have been asked for again.
        """
        alone = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        alone |= {"presence_penalty": 0.0, "frequency_penalty": 0.0}
        wish: dict[str, Any] = {
            "n": n,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "logprobs": 0,
            "return_token_ids": True,
        }
        wish |= {"stop": self._stop} if self._stop else {}
        bodies = [
            alone | wish | {"prompt": ids, "seed": (seed + place * SEED_STEP) % 2**62}
            for place, ids in enumerate(prompts)
        ]

        def read(place: int, answer: dict[str, Any]) -> list[Sample]:
            choices = sorted(answer["choices"], key=lambda choice: choice["index"])
            if len(choices) != n:
                raise GatewayError(f"asked {self._url} for {n} samples of a prompt, got {len(choices)}", None)
            return [
                Sample(place, one["token_ids"], one["logprobs"]["token_logprobs"], one["finish_reason"] == "stop")
                for one in choices
            ]

        def tell(place: int, answer: dict[str, Any]) -> None:
            if _broken_off(answer):
                return  # all is asked again
            for at, sample in enumerate(read(place, answer)):
                if arrived is not None:
                    arrived(place * n + at, sample)

        answers = self._ask(model, bodies, tell)
        return [sample for place, answer in enumerate(answers) for sample in read(place, answer)]

    def logprobs(self, model: str, sequences: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        """As the gateway's, at temperature 1."""
        parts = [sequences[start : start + CALL_SEQUENCES] for start in range(0, len(sequences), CALL_SEQUENCES)]
        bodies = [
            {
                "prompt": [[*prompt, *completion] for prompt, completion in part],
                "max_tokens": 1,
                "temperature": 0.0,
                "prompt_logprobs": 0,
            }
            for part in parts
        ]
        found = []
        for part, answer in zip(parts, self._ask(model, bodies), strict=True):
            choices = sorted(answer["choices"], key=lambda choice: choice["index"])
            for (prompt, completion), choice in zip(part, choices, strict=True):
                rows = choice["prompt_logprobs"][len(prompt) :]
                found.append([row[str(token)]["logprob"] for row, token in zip(rows, completion, strict=True)])
        return found

    def deploy(self, checkpoint: str, expected_live: str, by: str, reason: str) -> dict[str, Any]:
        """By the gateway."""
        return self._house.deploy(checkpoint, expected_live, by, reason)

    def prune(self, keep: int) -> list[str]:
        """By the gateway."""
        return self._house.prune(keep)

    def pressed(self) -> bool | None:
        """By the gateway: this engine has no people, but may share a machine with one that does."""
        return self._house.pressed()

    def check(self) -> None:
        """Raises ValueError unless this engine can be had for oneself."""
        try:
            version = self._version()
        except GatewayError as error:
            if error.status != 404:
                raise
            raise ValueError(
                f"sampling_engine = {self._url!r} has no control endpoints; start it with VLLM_SERVER_DEV_MODE=1"
            ) from error
        cards = self._call("GET", "/v1/models")["data"]
        self._asked_as = cards[0]["id"]
        adapters = [card["id"] for card in cards if card.get("parent") is not None]
        if adapters or not (version == AS_STARTED or version.startswith(MARK)):
            serves = ", ".join(adapters) or version
            raise ValueError(
                f"sampling_engine = {self._url!r} serves people (it has {serves}); give rounds one of their own"
            )

    def _ask(
        self,
        model: str,
        bodies: Sequence[dict[str, Any]],
        tell: Callable[[int, dict[str, Any]], None] = lambda place, answer: None,
    ) -> list[dict[str, Any]]:
        """Every body answered by `model`: by these weights alone, also where the engine restarts meanwhile.

        `tell` hears of each answer at once, from a thread of its own, before that is known.
        """
        with self._turn:
            for _ in range(TRIES):
                version = self._have(model)
                if version is None:
                    continue
                wishes = [body | {"model": self._asked_as} for body in bodies]

                def ask(place: int, wishes: Sequence[dict[str, Any]] = wishes) -> dict[str, Any]:
                    answer = self._call("POST", "/v1/completions", wishes[place])
                    tell(place, answer)
                    return answer

                with ThreadPoolExecutor(max(1, min(AT_ONCE, len(wishes)))) as pool:
                    answers = list(pool.map(ask, range(len(wishes))))
                if self._version() == version and not any(map(_broken_off, answers)):
                    return answers
        raise GatewayError(f"{self._url} restarted {TRIES} times while it answered as {model}", None)

    def _have(self, model: str) -> str | None:
        """Make `model` what the engine has. Returns the version that says so; None where the engine restarted
        meanwhile, and so has the base again."""
        folder = self._folders.get(model)
        if folder is None:
            raise GatewayError(f"no full weights are known as {model!r}", 404)
        if not self._asked_as:
            self.check()
        if self._placed is not None and self._placed == (model, self._version()):
            return self._placed[1]
        version = f"{MARK}{model}#{uuid.uuid4().hex[:12]}"
        try:
            self._call("POST", "/pause?mode=wait")
            self._call("POST", "/update_weight_version", {"new_version": IN_CHANGE})
            body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            self._call("POST", "/collective_rpc", body)
            if self._version() != IN_CHANGE or not self._named(version):
                return None
        finally:
            self._call("POST", "/resume")
        self._placed = (model, version)
        return version

    def _named(self, version: str) -> bool:
        """Asked for once: what an engine has that is gone for the moment is the base when it is there again."""
        try:
            answer = self._http.post("/update_weight_version", json={"new_version": version})
        except httpx.TransportError:
            return False
        if not answer.is_success:
            raise GatewayError(f"{self._url} takes no version of its weights: {answer.text[:200]}", answer.status_code)
        return True

    def _version(self) -> str:
        return str(self._call("GET", CONTROL)["weight_version"])


def _broken_off(answer: dict[str, Any]) -> bool:
    """By an engine that is being stopped, which says so with status 200."""
    return any(choice.get("finish_reason") in BROKEN_OFF for choice in answer["choices"])
