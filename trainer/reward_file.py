"""A reward that is more than one classifier, as a TOML file: kinds of models, how they combine, rules by source.

The settings `reward_model` and `judge_model` take such a file in place of a model. docs/training.md has an example.
Read and checked when the trainer starts; models are loaded when a round first needs them.
"""

import logging
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from trainer.rewards import RewardModel, SequenceClassifier
from trainer.verify import Rule, Verified, read_checks

log = logging.getLogger(__name__)

URL = r"^https?://.+"
_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Classifier(BaseModel):
    """A Bradley-Terry model in this process."""

    model_config = _FROZEN

    kind: Literal["classifier"]
    model: str = Field(description="Folder or hub's name.")
    batch: int = Field(32, ge=1, description="Conversations in a forward pass.")
    max_tokens: int | None = Field(None, ge=16, description="What is longer loses its beginning.")

    def build(self, cache: Path) -> RewardModel:
        from trainer.policy import local_folder

        return SequenceClassifier(local_folder(self.model), batch=self.batch, max_tokens=self.max_tokens)


class Endpoint(BaseModel):
    """The same behind vLLM's classify endpoint."""

    model_config = _FROZEN

    kind: Literal["endpoint"]
    url: str = Field(pattern=URL, description="Base URL of the server, without /classify.")
    model: str = Field(description="The name it is served under.")
    tokenizer: str = Field("", description="Folder or hub's name of its tokenizer; empty: as the model.")
    key_variable: str = Field("", description="Environment variable that holds its key.")
    batch: int = Field(64, ge=1, description="Conversations in a request.")
    connections: int = Field(4, ge=1, description="Requests at once.")
    max_tokens: int | None = Field(None, ge=16, description="What is longer loses its beginning.")

    def build(self, cache: Path) -> RewardModel:
        from trainer.policy import local_folder
        from trainer.remote_reward import EndpointClassifier

        return EndpointClassifier(
            self.url, self.model, local_folder(self.tokenizer or self.model), key=_key(self.key_variable),
            batch=self.batch, connections=self.connections, max_tokens=self.max_tokens,
        )  # fmt: skip


class Score(BaseModel):
    """A model that reads two texts, behind vLLM's score endpoint."""

    model_config = _FROZEN

    kind: Literal["score"]
    url: str = Field(pattern=URL, description="Base URL of the server, without /score.")
    model: str = Field(description="The name it is served under.")
    key_variable: str = Field("", description="Environment variable that holds its key.")
    batch: int = Field(64, ge=1, description="Conversations in a request.")
    connections: int = Field(4, ge=1, description="Requests at once.")

    def build(self, cache: Path) -> RewardModel:
        from trainer.remote_reward import EndpointScorer

        key = _key(self.key_variable)
        return EndpointScorer(self.url, self.model, key=key, batch=self.batch, connections=self.connections)


class Judge(BaseModel):
    """A model over an OpenAI-compatible API."""

    model_config = _FROZEN

    kind: Literal["judge"]
    url: str = Field(pattern=URL, description="Base URL, to which /chat/completions is added.")
    model: str = Field(description="Its name there.")
    mode: Literal["rubric", "pairwise"] = Field("rubric", description="Marks, or comparisons within a group.")
    instructions: str = Field("", description="In place of the rubric or the comparison's own.")
    key_variable: str = Field("", description="Environment variable that holds its key.")
    opponents: int = Field(2, ge=1, description="Pairwise: neighbours that each response meets, in both orders.")
    connections: int = Field(8, ge=1, description="Requests at once.")
    price_prompt: float = Field(0.0, ge=0, description="Of a million tokens read.")
    price_completion: float = Field(0.0, ge=0, description="Of a million tokens written.")

    def build(self, cache: Path) -> RewardModel:
        from trainer.llm_judge import LlmJudge, Prices

        return LlmJudge(
            self.url, self.model, cache / "judge.db", mode=self.mode, key=_key(self.key_variable),
            prices=Prices(self.price_prompt, self.price_completion), opponents=self.opponents,
            connections=self.connections, instructions=self.instructions,
        )  # fmt: skip


class RewardFile(BaseModel):
    """The whole file."""

    model_config = _FROZEN

    combine: Literal["mean", "minimum", "mean_minus_deviation"] = "mean"
    models: list[Annotated[Classifier | Endpoint | Score | Judge, Field(discriminator="kind")]] = Field(min_length=1)
    rules: dict[str, Rule] = Field(default_factory=dict, description="By the source of a row of the base mix.")

    def build(self, cache: Path, mixes: list[str], rewrites: list[Any]) -> RewardModel:
        """The reward model of this file. `mixes`: prompts, as `read_mix` takes them, whose rows may name a source."""
        from trainer.ensemble import Ensemble

        built = [model.build(cache) for model in self.models]
        whole: RewardModel = built[0] if len(built) == 1 else Ensemble(built, self.combine)
        if not self.rules:
            return whole
        checks = {name: check for mix in mixes for name, check in read_checks(mix, self.rules, rewrites).items()}
        if not checks:
            log.warning("no row of %s has a source with a rule (%s)", ", ".join(mixes), ", ".join(self.rules))
        return Verified(whole, checks)


def read_reward_file(path: str) -> RewardFile:
    """The file, checked. Raises ValueError that names the file, the key and what was expected."""
    try:
        return TypeAdapter(RewardFile).validate_python(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: no TOML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: {place} = {first.get('input')!r}: {first['msg']}") from None


def _key(variable: str) -> str:
    if variable and variable not in os.environ:
        raise ValueError(f"the environment has no {variable}, which the reward file names as key_variable")
    return os.environ.get(variable, "") if variable else ""
