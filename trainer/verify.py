"""Rewards that a rule decides instead of a model: a pattern, a JSON schema, unit tests, or a Python function of the
operator's.

Which rule holds for a prompt follows from the `source` of its row in the base mix; the row may bring `arguments` of its
own, such as the right answer. A rule's score stands in for the reward model's, or is added to it.
"""

import json
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from trainer.prompts import Messages, read_rows, wording
from trainer.rewards import RewardModel, costs_of, figures_of, is_relative, scores_of
from trainer.unit_tests import code_of, passes

AT_ONCE = 4  # unit tests
REGEX_SECONDS = 1.0  # a pattern that takes longer on one response is no match: some take for ever on hostile text


class RuleFailed(RuntimeError):
    """A rule could not say whether a response passes; the message names it, and what it failed of."""


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(1.0, gt=0, description="What passing is worth; failing is worth 0.")
    alone: bool = Field(True, description="Whether the rule stands in for the reward model, or adds to its score.")


class Regex(_Rule):
    """The response holds the pattern, or is it (`whole`). `{answer}` in it is the row's argument, taken literally."""

    kind: Literal["regex"]
    pattern: str
    whole: bool = False

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        import regex

        try:
            regex.compile(pattern.replace("{answer}", "x"))
        except regex.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return pattern

    def lacks(self, arguments: Mapping[str, Any]) -> str | None:
        """What a row must bring and does not: without an answer its place is empty, which nearly everything matches."""
        wanted = "{answer}" in self.pattern and not str(arguments.get("answer", "")).strip()
        return "its pattern has {answer}, and the row brings none" if wanted else None

    def check(self, messages: Messages, response: str, arguments: Mapping[str, Any]) -> float:
        import regex

        pattern = self.pattern.replace("{answer}", regex.escape(str(arguments.get("answer", ""))))
        look = regex.fullmatch if self.whole else regex.search
        try:
            return float(look(pattern, response, timeout=REGEX_SECONDS) is not None)
        except TimeoutError:
            return 0.0


class JsonSchema(_Rule):
    """The response is JSON (a code fence around it is taken off) that keeps the schema; the row may bring `schema`."""

    kind: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(default_factory=dict, alias="schema")

    @field_validator("json_schema")
    @classmethod
    def _is_one(cls, schema: dict[str, Any]) -> dict[str, Any]:
        if trouble := _no_schema(schema):
            raise ValueError(trouble)
        return schema

    def lacks(self, arguments: Mapping[str, Any]) -> str | None:
        """What is wrong with a schema that a row brings."""
        trouble = _no_schema(arguments["schema"]) if "schema" in arguments else None
        return trouble and f"{trouble} (in a table, where every row has every field, write `arguments` as JSON text)"

    def check(self, messages: Messages, response: str, arguments: Mapping[str, Any]) -> float:
        text = response.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
        try:
            value = json.loads(text)
            return float(_keeps(arguments.get("schema", self.json_schema), value))
        except (ValueError, RecursionError):  # no JSON; or a thousand brackets in one another, as a policy may write
            return 0.0
        except TimeoutError:
            return 0.0


class Function(_Rule):
    """`module:function`, called with (messages, response, **arguments of the row); what it returns is 0 to 1 or a bool.

    It runs in the trainer's process, as the operator's own code: it must not run what a response says.
    """

    kind: Literal["function"]
    name: str
    seconds: float = Field(60.0, gt=0, description="What takes longer on one response fails the round, by its name.")

    @field_validator("name")
    @classmethod
    def _is_there(cls, name: str) -> str:
        named(name)
        return name

    def lacks(self, arguments: Mapping[str, Any]) -> str | None:
        """Nothing that could be known before it is called."""
        return None

    def check(self, messages: Messages, response: str, arguments: Mapping[str, Any]) -> float:
        found = float(self._within_its_time(lambda: named(self.name)(messages, response, **arguments)))
        if not 0 <= found <= 1:
            raise ValueError(f"the rule {self.name} returned {found}; expected 0 to 1, or a bool")
        return found

    def _within_its_time(self, call: Callable[[], Any]) -> Any:
        """What `call` returns or raises. One that hangs is left to itself: no thread can be ended from outside."""
        said: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                said.put((call(), None))
            except BaseException as error:  # noqa: BLE001 raised where it is waited for
                said.put((None, error))

        threading.Thread(target=run, name=f"rule {self.name}", daemon=True).start()
        try:
            found, error = said.get(timeout=self.seconds)
        except queue.Empty:
            raise TimeoutError(f"no answer within {self.seconds:g} s (`seconds` of the rule)") from None
        if error is not None:
            raise error
        return found


class UnitTests(_Rule):
    """The response's code block runs the row's `tests` (Python code, such as assertions) to their end.

    In a process of its own with limits, which is no security boundary: see `trainer.unit_tests`.
    """

    kind: Literal["unit_tests"]
    seconds: float = Field(5.0, gt=0, le=600, description="Time that code and tests have together.")
    memory_mib: int = Field(512, ge=64, description="And memory.")

    def lacks(self, arguments: Mapping[str, Any]) -> str | None:
        """What a row must bring and does not."""
        return None if isinstance(arguments.get("tests"), str) else "it has unit tests, and the row brings no `tests`"

    def check(self, messages: Messages, response: str, arguments: Mapping[str, Any]) -> float:
        code = code_of(response)
        return float(code is not None and passes(code, arguments["tests"], self.seconds, self.memory_mib))


Rule = Annotated[Regex | JsonSchema | Function | UnitTests, Field(discriminator="kind")]


@dataclass(frozen=True)
class Check:
    """A rule for one prompt, with what its row brought."""

    rule: Regex | JsonSchema | Function | UnitTests
    arguments: Mapping[str, Any]

    def passed(self, messages: Messages, response: str) -> float:
        """How far the response passes, 0 to 1. Raises RuleFailed where the rule itself fails."""
        try:
            return self.rule.check(messages, response, self.arguments)
        except Exception as error:
            which = f"function {self.rule.name}" if isinstance(self.rule, Function) else f"kind {self.rule.kind}"
            raise RuleFailed(
                f"the rule of {which} failed ({type(error).__name__}: {error}); its row brought the arguments "
                f"{', '.join(sorted(self.arguments)) or 'none'}"
            ) from error


class Rules:
    """How far each response passes the rule of its prompt: 0 to 1, and 0 where there is none."""

    alone = True
    """What a rule says of a response does not depend on others (`trainer.early`)."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks

    def score(self, pairs: Sequence[tuple[Messages, str]]) -> list[float]:
        """One figure for each (messages, response); unit tests run several at once."""
        checks = [self._checks.get(wording(messages)) for messages, _ in pairs]

        def decide(place: int) -> float:
            check = checks[place]
            return 0.0 if check is None else check.passed(*pairs[place])

        apart = [place for place, one in enumerate(checks) if one is not None and isinstance(one.rule, UnitTests)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = dict(zip(apart, pool.map(decide, apart), strict=True))
        return [found[place] if place in found else decide(place) for place in range(len(pairs))]


class Verified:
    """A reward model whose scores are a rule's where a prompt has one.

    `figures`: the share of responses that a rule decided in the newest call, and how many of these passed.
    """

    def __init__(self, model: RewardModel, checks: Mapping[str, Check], rules: RewardModel | None = None) -> None:
        self._model, self._checks = model, checks
        self._rules = Rules(checks) if rules is None else rules
        self.figures: dict[str, float] = {}

    @property
    def relative(self) -> bool:
        """As the model's own scores are."""
        return is_relative(self._model)

    @property
    def costs(self) -> dict[str, float]:
        """As the model's."""
        return costs_of(self._model)

    def with_parts(self, replace: Callable[[RewardModel, Callable[[Messages], bool]], RewardModel]) -> "Verified":
        """The same of another model and other rules, each asked about the answers that it is asked about here."""
        return Verified(
            replace(self._model, self._asks_model),
            self._checks,
            replace(self._rules, lambda messages: wording(messages) in self._checks),
        )

    def score(self, pairs: Sequence[tuple[Messages, str]]) -> list[float]:
        """One score for each (messages, response). The model is not asked where a rule stands alone."""
        return self._scores(pairs, None)

    def between(self, pairs: Sequence[tuple[Messages, str]], sides: Sequence[int]) -> list[float]:
        """The same where answers of different sides are compared."""
        return self._scores(pairs, sides)

    def _asks_model(self, messages: Messages) -> bool:
        check = self._checks.get(wording(messages))
        return check is None or not check.rule.alone

    def _scores(self, pairs: Sequence[tuple[Messages, str]], sides: Sequence[int] | None) -> list[float]:
        asked = [place for place, (messages, _) in enumerate(pairs) if self._asks_model(messages)]
        of_sides = None if sides is None else [sides[place] for place in asked]
        told = scores_of(self._model, [pairs[place] for place in asked], of_sides) if asked else []
        scores = [0.0] * len(pairs)
        for place, score in zip(asked, told, strict=True):
            scores[place] = score
        checks = [self._checks.get(wording(messages)) for messages, _ in pairs]
        ruled = [(place, check) for place, check in enumerate(checks) if check is not None]
        passed = self._rules.score([pairs[place] for place, _ in ruled]) if ruled else []
        for (place, check), share in zip(ruled, passed, strict=True):
            scores[place] += check.rule.weight * share
        self.figures = figures_of(self._model) if asked else {}
        self.figures["verified_share"] = len(passed) / len(pairs) if pairs else 0.0
        if passed:
            self.figures["verified_passed"] = sum(passed) / len(passed)
        return scores


def read_checks(
    mix: str | Path, rules: Mapping[str, Any], same: Iterable[Callable[[Messages], Messages]]
) -> dict[str, Check]:
    """The checks of a mix (a file, a folder, or a hub's data set) by the wording of their prompts.

    `same`: ways in which curation may rewrite a prompt, after which its check still holds. Raises ValueError for a
    source without rule, and for a row that does not bring what its rule needs.
    """
    checks: dict[str, Check] = {}
    rewrites = list(same)
    for where, row in read_rows(mix, ("source", "arguments")):
        arguments, source = _arguments(row.get("arguments"), where), str(row.get("source") or "")
        if (arguments or row.get("arguments") == {}) and source not in rules:
            raise ValueError(
                f"{where}: source {source!r} brings arguments and has no rule; "
                f"rules are there for {', '.join(sorted(rules)) or 'none'}"
            )
        if source in rules:
            if lack := rules[source].lacks(arguments):
                raise ValueError(f"{where}, of the source {source!r}: {lack}")
            messages, check = row["messages"], Check(rules[source], arguments)
            for written in (messages, *(rewrite(messages) for rewrite in rewrites)):
                checks[wording(written)] = check
    return checks


def _arguments(cell: Any, where: str) -> dict[str, Any]:
    """What a row brings. In a table every row has every field, or JSON as text; what is null is not brought."""
    try:
        found = json.loads(cell) if isinstance(cell, str) and cell else cell or {}
        return {name: value for name, value in found.items() if value is not None}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{where}: expected `arguments` as an object, or as JSON of one ({error})") from None


def _keeps(schema: Any, value: Any) -> bool:
    """Whether the value keeps the schema. Raises TimeoutError where a pattern takes longer than REGEX_SECONDS.

    jsonschema looks for patterns with `re`, which has no limit and stops all threads meanwhile.
    """
    import regex
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def pattern(validator: Any, wanted: str, instance: Any, _: Any) -> Iterator[ValidationError]:
        is_text = validator.is_type(instance, "string")
        if is_text and regex.search(wanted, instance, timeout=REGEX_SECONDS) is None:
            yield ValidationError(f"no match for {wanted!r}")

    return bool(extend(Draft202012Validator, {"pattern": pattern})(schema).is_valid(value))


def _no_schema(schema: Any) -> str | None:
    """Why it is no JSON schema; None where it is one."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"no JSON schema: {error.message[:300]} at {error.json_path}"
    return None


def named(name: str) -> Callable[..., Any]:
    """The function of the name `module:function`. Raises ValueError when it is not there."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"expected module:function of a function that can be imported ({error})") from None
    if not callable(found):
        raise ValueError(f"{name} is a {type(found).__name__}, no function")
    return found
