"""Scores completions as they end, on a thread of its own, while the engine writes the others.

Stands before a reward model and answers with what it has scored already; what it has not is asked then, in one call.
Only for models whose score of a response does not depend on what is scored with it (`alone`): a judge that compares
needs the group. Of one that is made of others (an ensemble brings its members' scores to one scale over the whole call,
rules stand in for a model's score) each part that stands for itself is asked early (`EarlyParts`).

A completion is scored when it ends, together with what else has ended by then. But where a score's last digits depend
on what is scored in the same call (`by_batch`), that follows from the data and not from when samples end: one call for
each group, in the samples' order, once all of it has ended. A round that is resumed then learns the same.
"""

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from types import TracebackType

from trainer.gateway import Arrived, Sample
from trainer.prompts import Messages
from trainer.rewards import Reader, RewardModel, figures_of

log = logging.getLogger(__name__)


def alone(model: RewardModel) -> bool:
    """Whether each score of it stands for itself."""
    return bool(getattr(model, "alone", False))


def by_batch(model: RewardModel) -> bool:
    """Whether the last digits of a score depend on what is scored in the same call: sums are rounded in their order."""
    return bool(getattr(model, "by_batch", False))


Wanted = Callable[[Messages], bool]
"""Whether a part is asked about answers to this conversation."""


def parts(model: RewardModel, early: Callable[[RewardModel, Wanted], RewardModel]) -> RewardModel:
    """The model with every part that stands for itself replaced by what `early` makes of it; itself if there is none.

    A model that is made of others has `with_parts(replace)`, which calls `replace(part, wanted)` for each.
    """

    def replaced(part: RewardModel, wanted: Wanted) -> RewardModel:
        if alone(part):
            return early(part, wanted)
        with_parts = getattr(part, "with_parts", None)
        if with_parts is None:
            return part
        found: RewardModel = with_parts(
            lambda inner, also: replaced(inner, lambda messages: wanted(messages) and also(messages))
        )
        return found

    return replaced(model, lambda messages: True)


class EarlyParts:
    """Every part of a reward model that stands for itself, behind an `Early` for one draw; `model` is made of them."""

    def __init__(self, model: RewardModel, reader: Reader, conversations: Sequence[Messages], size: int) -> None:
        self._early: list[Early] = []

        def early(part: RewardModel, wanted: Wanted) -> RewardModel:
            self._early.append(Early(part, reader, conversations, size, wanted))
            return self._early[-1]

        self.model = parts(model, early)
        self._open = ExitStack()

    @property
    def arrived(self) -> Arrived | None:
        """What is to be told of samples that end; None where nothing is scored early."""
        return self._arrived if self._early else None

    def _arrived(self, place: int, sample: Sample) -> None:
        for one in self._early:
            one.arrived(place, sample)

    def wait(self) -> None:
        """Until everything is scored that arrived; after the block."""
        for one in self._early:
            one.wait()

    def __enter__(self) -> "EarlyParts":
        for one in self._early:
            self._open.enter_context(one)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)


class Early:
    """A reward model over `model` for one draw. `conversations` has what each sample's prompt asks, by its place.

    Answers to conversations that are not `wanted` are left to whoever asks for their scores. `size` samples of one
    prompt are a group.
    As a context manager around the drawing; when the block ends, `arrived` must not be called any more.
    """

    def __init__(
        self,
        model: RewardModel,
        reader: Reader,
        conversations: Sequence[Messages],
        size: int,
        wanted: Wanted = lambda messages: True,
    ) -> None:
        self._model, self._reader, self._conversations, self._size = model, reader, conversations, size
        self.title = getattr(model, "title", type(model).__name__)
        self._wanted = wanted
        self._known: dict[tuple[int, str], tuple[int, float]] = {}  # by conversation and response: its group and score
        self._partly: dict[int, dict[int, Sample]] = {}  # by group and place
        self._ended: queue.SimpleQueue[tuple[int, Sample] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)
        self._failed = False
        self.scored = 0
        """How many were scored before all had ended."""
        self.figures: dict[str, float] = {}
        """What the model told beside the scores since the call of `score` before the newest."""
        self._told: dict[str, float] = {}

    def arrived(self, place: int, sample: Sample) -> None:
        """A sample has ended."""
        self._ended.put((place, sample))

    def wait(self) -> None:
        """Until the thread has scored what arrived; after the block."""
        self._thread.join()

    def score(self, pairs: Sequence[tuple[Messages, str]]) -> list[float]:
        """As the model's; waits for what the thread has in hand."""
        self.wait()
        keys = [(id(messages), response) for messages, response in pairs]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        fresh = dict(zip(new, self._model.score([pairs[place] for place in new]), strict=True)) if new else {}
        if new:
            self._count()
        self.figures, self._told = self._told, {}
        return [fresh[place] if place in fresh else self._known[key][1] for place, key in enumerate(keys)]

    def __enter__(self) -> "Early":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._failed = error is not None
        self._ended.put(None)

    def _run(self) -> None:
        try:
            goes_on = True
            while goes_on:
                ended, goes_on = self._batch()
                if goes_on or not self._failed:
                    count = self._score(ended)
                    self.scored += count if goes_on else 0
        except Exception as error:  # noqa: BLE001  whoever asks for the scores asks the model again
            log.warning("scoring while samples are written failed: %s", error)

    def _batch(self) -> tuple[dict[int, Sample], bool]:
        """What can be scored since the last one, one sample or more, by their places; and whether the draw goes on."""
        ready: dict[int, Sample] = {}
        while not ready or not self._ended.empty():
            one = self._ended.get()
            if one is None:
                return ready, False
            place, sample = one
            if not by_batch(self._model):
                ready[place] = sample
                continue
            group = self._partly.setdefault(place // self._size, {})
            group[place] = sample
            if len(group) == self._size:
                ready |= self._partly.pop(place // self._size)
        return ready, True

    def _score(self, ended: Mapping[int, Sample]) -> int:
        """Score these samples. Returns how many responses that were."""
        rows = []
        for place, sample in sorted(ended.items()):
            if not self._wanted(self._conversations[place]):
                continue
            parsed = self._reader.read(sample.token_ids, sample.finished)
            if parsed.well_formed:
                rows.append((place // self._size, self._conversations[place], parsed.response))
        calls = [list(some) for _, some in groupby(rows, key=lambda row: row[0])] if by_batch(self._model) else [rows]
        for call in filter(None, calls):
            scores = self._model.score([(messages, response) for _, messages, response in call])
            for (group, messages, response), score in zip(call, scores, strict=True):
                key = id(messages), response
                known = self._known.get(key)
                if known is None or group < known[0]:  # a prompt may have two groups: the first counts, not the earlier
                    self._known[key] = group, score
            self._count()
        return len(rows)

    def _count(self) -> None:
        """Add up the figures of a call: all are sums, since no model that stands `alone` has others."""
        for name, value in figures_of(self._model).items():
            self._told[name] = self._told.get(name, 0.0) + value
