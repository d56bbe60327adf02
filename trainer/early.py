"""Scores completions as they end, on a thread of its own, while the engine writes the others.

Stands before a reward model and answers with what it has scored already; what it has not is asked then, in one call.
Only for models whose score of a response does not depend on what is scored with it (`alone`): an ensemble brings its
members' scores to one scale over the whole call, and a judge that compares needs the group.
"""

import logging
import queue
import threading
from collections.abc import Sequence
from types import TracebackType

from trainer.gateway import Sample
from trainer.prompts import Messages
from trainer.rewards import Reader, RewardModel, figures_of

log = logging.getLogger(__name__)


def alone(model: RewardModel) -> bool:
    """Whether each score of it stands for itself."""
    return bool(getattr(model, "alone", False))


class Early:
    """A reward model over `model` for one draw. `conversations` has what each sample's prompt asks, by its place.

    As a context manager around the drawing; when the block ends, `arrived` must not be called any more.
    """

    def __init__(self, model: RewardModel, reader: Reader, conversations: Sequence[Messages]) -> None:
        self._model, self._reader, self._conversations = model, reader, conversations
        self._known: dict[tuple[int, str], float] = {}  # by which of the conversations, and the response
        self._ended: queue.SimpleQueue[tuple[int, Sample] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)
        self.scored = 0
        """How many were scored before all had ended."""
        self.figures: dict[str, float] = {}
        """What the model told beside the scores since the call of `score` before the newest."""
        self._told: dict[str, float] = {}

    def arrived(self, place: int, sample: Sample) -> None:
        """A sample has ended."""
        self._ended.put((place, sample))

    def score(self, pairs: Sequence[tuple[Messages, str]]) -> list[float]:
        """As the model's; waits for what the thread has in hand."""
        self._thread.join()
        keys = [(id(messages), response) for messages, response in pairs]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        fresh = dict(zip(new, self._model.score([pairs[place] for place in new]), strict=True)) if new else {}
        if new:
            self._count()
        self.figures, self._told = self._told, {}
        return [fresh[place] if place in fresh else self._known[key] for place, key in enumerate(keys)]

    def __enter__(self) -> "Early":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.put(None)

    def _run(self) -> None:
        try:
            while batch := self._batch():
                self._score(batch)
        except Exception as error:  # noqa: BLE001  whoever asks for the scores asks the model again
            log.warning("scoring while samples are written failed: %s", error)

    def _batch(self) -> list[tuple[int, Sample]]:
        """All that have ended since the last one, at least one; none when the draw is over.

        What is left at the end is not scored here: that is the caller's own call.
        """
        batch = []
        one = self._ended.get()
        while one is not None:
            batch.append(one)
            if self._ended.empty():
                return batch
            one = self._ended.get()
        return []

    def _score(self, batch: Sequence[tuple[int, Sample]]) -> None:
        pairs = []
        for place, sample in batch:
            parsed = self._reader.read(sample.token_ids, sample.finished)
            if parsed.well_formed:
                pairs.append((self._conversations[place], parsed.response))
        if not pairs:
            return
        for (messages, response), score in zip(pairs, self._model.score(pairs), strict=True):
            self._known[id(messages), response] = score
        self.scored += len(pairs)
        self._count()

    def _count(self) -> None:
        """Add up the figures of a call: all are sums, since no model that stands `alone` has others."""
        for name, value in figures_of(self._model).items():
            self._told[name] = self._told.get(name, 0.0) + value
