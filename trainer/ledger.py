"""A round's rows, as the trainer that holds its lease writes them. Raises `lease.LeaseLost` when it no longer does."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from db.errors import LeaseLost as RowLost
from db.queries import checkpoints, curation, deployments, lessons, lineage, regressions, replays, rounds
from db.queries.preferences import trainable_preferences
from db.schema import Checkpoint, Round, RoundPrompt
from db.session import Database
from db.values import CheckpointState, CuratedPrompt, KeptAnswer, Preference, RoundState, TrainablePrompt
from trainer.lease import LeaseLost


class Ledger:
    """The rows of round `round_id`, in the name of `owner`."""

    def __init__(self, database: Database, round_id: int, owner: str) -> None:
        self._database, self._round, self._owner = database, round_id, owner
        self._ended = False
        self.after_step: Callable[[int, Mapping[str, float]], None] | None = None
        """Called with each step and its figures, once they are written; what it raises ends the training."""

    # -- the round itself

    def heartbeat(self, lease_seconds: float) -> bool:
        """Extend the lease; False when it is lost or the round was cancelled; not when it was ended here."""
        with self._database.transaction() as session:
            held = rounds.heartbeat(session, self._round, self._owner, lease_seconds)
        return held or self._ended

    def put_back(self) -> None:
        """Free it at once, as if it had not been claimed."""
        with self._database.transaction() as session:
            rounds.put_back(session, self._round, self._owner)

    def phase(self, phase: str, step: int, **known: Any) -> None:
        """Note where the round is; and of it `total_steps`, `parent_id` and `algorithm`, once they are decided."""
        with self._held() as session:
            rounds.save_progress(session, self._round, self._owner, phase, step, **known)

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Note that `step` updates are done, with their figures."""
        with self._held() as session:
            rounds.save_progress(session, self._round, self._owner, "train", step)
            rounds.add_metrics(session, self._round, step, figures, owner=self._owner)
        if self.after_step is not None:
            self.after_step(step, figures)

    def measured(self, step: int, figures: Mapping[str, float]) -> None:
        """Add figures to a step."""
        with self._held() as session:
            rounds.add_metrics(session, self._round, step, figures, owner=self._owner)

    def metrics(self) -> dict[str, list[tuple[int, float]]]:
        """Each figure's (step, value) pairs so far."""
        with self._database.reading() as session:
            return rounds.metrics(session, self._round)

    def published(self, checkpoint: int, verdict: Mapping[str, Any]) -> Round:
        """End the round with a checkpoint that is live."""
        return self._finish(RoundState.PUBLISHED, verdict=verdict, candidate=checkpoint)

    def rejected(self, checkpoint: int, verdict: Mapping[str, Any]) -> Round:
        """End the round, and put its checkpoint away."""
        with self._held() as session:
            checkpoints.set_state(session, checkpoint, CheckpointState.REJECTED)
        return self._finish(RoundState.REJECTED, verdict=verdict, candidate=checkpoint)

    def stumbled(self, cause: str) -> None:
        """Note what went wrong for the first time."""
        with self._held() as session:
            rounds.note_error(session, self._round, self._owner, cause)

    def failed(self, cause: str) -> Round:
        """End the round with what went wrong; a checkpoint that it had reserved is put away."""
        return self._finish(RoundState.FAILED, error=cause)

    # -- prompts

    def trainable(self) -> list[TrainablePrompt]:
        """Recorded prompts that may be trained on now, newest first."""
        with self._database.reading() as session:
            return list(curation.trainable_prompts(session))[::-1]

    def still_trainable(self, message_ids: Sequence[str]) -> set[str]:
        """Those that may be trained on at this moment."""
        with self._database.reading() as session:
            return curation.still_trainable(session, message_ids)

    def preferences(self) -> list[Preference]:
        """Which answers people preferred, as far as it may be trained on at this moment."""
        with self._database.reading() as session:
            return trainable_preferences(session)

    def save_prompts(self, prompts: Sequence[CuratedPrompt]) -> None:
        """Write curation's verdicts, in place of an earlier attempt's."""
        with self._held() as session:
            curation.save_prompts(session, self._round, self._owner, prompts)
        with self._held() as session:
            curation.settle_left(session, self._round)

    def prompts(self, round_id: int | None = None, **only: Any) -> Sequence[RoundPrompt]:
        """Curation's verdicts, of this round or another; one that was forgotten since has no `prompt`. There may be as
        many as the record is long: `only` as in `curation.round_prompts`."""
        with self._database.reading() as session:
            return curation.round_prompts(session, self._round if round_id is None else round_id, **only)

    def repeats(self) -> int | None:
        """Which round this one does again, without what was forgotten; None for one that does none."""
        with self._database.reading() as session:
            return replays.repeated(session, self._round)

    def kept_answers(self, most: int, per_user: int) -> list[KeptAnswer]:
        """Answers that people keep an eye on and the gate may ask for again."""
        with self._database.reading() as session:
            return regressions.to_ask(session, most, per_user)

    def taught_by(self, message_ids: Collection[str]) -> None:
        """On which prompts people's preferences had taught the round's reward model."""
        with self._held() as session:
            lessons.save(session, self._round, message_ids)

    def withdraw(self, position: int, why: str) -> None:
        """The prompt at `position` was not trained on after all."""
        with self._held() as session:
            row = session.get_one(RoundPrompt, (self._round, position))
            row.verdict, row.why = "left", why

    def learnt_from(self) -> dict[str, int]:
        """How many prompts the round trained on, by source."""
        with self._database.reading() as session:
            counts = lineage.trained_on(session, self._round)
        return {source: counts.get(source, 0) for source in ("recorded", "mix")}

    # -- checkpoints

    def live(self) -> Checkpoint | None:
        """The checkpoint that is wanted live; None before the gateway first started."""
        with self._database.reading() as session:
            row = deployments.current(session)
            return None if row is None else checkpoints.get_checkpoint(session, row.live_checkpoint_id)

    def deployed(self) -> set[str]:
        """Names of what is live and what is on trial."""
        with self._database.reading() as session:
            row = deployments.current(session)
            ids = [] if row is None else [row.live_checkpoint_id, row.canary_checkpoint_id]
            return {checkpoints.get_checkpoint(session, one).name for one in ids if one is not None}

    def checkpoint(self, checkpoint_id: int) -> Checkpoint:
        """The checkpoint of this id."""
        with self._database.reading() as session:
            return checkpoints.get_checkpoint(session, checkpoint_id)

    def found(self, name: str) -> Checkpoint:
        """The checkpoint of this name, which there is."""
        with self._database.reading() as session:
            row = checkpoints.find_checkpoint(session, name)
        assert row is not None
        return row

    def reserve(self, parent_id: int, kind: str) -> Checkpoint:
        """The round's own checkpoint: a new name, or the one that it had reserved before it died."""
        with self._held() as session:
            return checkpoints.reserve_checkpoint(session, parent_id, self._round, kind)

    def complete(self, checkpoint_id: int, path: str, manifest: Mapping[str, Any]) -> None:
        """Its files lie under `path`, whole."""
        with self._held() as session:
            checkpoints.complete_checkpoint(session, checkpoint_id, path, manifest)

    def _finish(self, state: str, **what: Any) -> Round:
        with self._held() as session:
            found = rounds.finish_round(session, self._round, self._owner, state, **what)
            self._ended = True  # before it is committed: a heartbeat may come right after
        return found

    @contextmanager
    def _held(self) -> Iterator[Session]:
        try:
            with self._database.transaction() as session:
                yield session
        except RowLost as error:
            raise LeaseLost(str(error)) from error
