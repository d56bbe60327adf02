"""A round's prompts, chosen once and written down with every verdict; read back from the rows when it resumes."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from db.schema import RoundPrompt
from db.values import CuratedPrompt
from trainer.curate import Curation, curate
from trainer.files import read_json, write_json
from trainer.flat_history import FlatHistory, name_of
from trainer.policy import prompt_ids
from trainer.prompts import Prompt, has_pictures, read_mix, up_to_user
from trainer.unsafe_model import unsafe_by
from trainer.work import TrainingPrompts, Work

log = logging.getLogger(__name__)

CHOSEN = "prompts.json"  # how many train, stand in and are held out; there when the rows are
LEAST_HELDOUT = 4
STANDS_IN = "stands in where consent is withdrawn"


@dataclass(frozen=True)
class Selection:
    """What a round trains on, and what its gate asks."""

    training: TrainingPrompts
    heldout: Sequence[Prompt]

    @property
    def impersonal(self) -> list[Prompt]:
        """Prompts that no user wrote, for what is published with a checkpoint."""
        return [*self.training.spares, *(prompt for _, prompt in self.training.train if prompt.source == "mix")]


def select(work: Work) -> Selection:
    """Choose the round's prompts, or read what an earlier attempt chose."""
    mark = work.folder / CHOSEN
    if not mark.is_file():
        earlier = work.ledger.repeats()
        write_json(mark, _choose(work) if earlier is None else _again(work, earlier))
    counts = read_json(mark)
    train, spares = counts["train"], counts["train"] + counts["spares"]
    rows = work.ledger.prompts(most=spares + counts["heldout"])
    return Selection(
        TrainingPrompts(
            train=[(row.position, _if_kept(row)) for row in rows[:train]],
            spares=[_prompt(row) for row in rows[train:spares]],
        ),
        heldout=_allowed(work, [_prompt(row) for row in rows[spares : spares + counts["heldout"]]]),
    )


def still_held_out(work: Work, heldout: Sequence[Prompt]) -> list[Prompt]:
    """Those that the gate may ask at this moment. Raises ValueError where people took back so many that too few are
    left."""
    left = _allowed(work, heldout)
    if len(left) < LEAST_HELDOUT:
        raise ValueError(
            f"{len(left)} are left of those that the gate was to ask ({len(heldout)} when this round began), since "
            f"people took back what they had allowed; it needs {LEAST_HELDOUT}. Start another round"
        )
    return left


def _choose(work: Work) -> dict[str, int]:
    settings = work.settings
    recorded: Iterator[Prompt] = (
        Prompt(
            up_to_user(one.messages),
            "recorded",
            one.message_id,
            one.conversation_id,
            one.user_id,
            f"{one.created_at:%Y-%m-%d}",
            has_pictures(one.messages),
        )
        for one in work.ledger.trainable()
    )
    mix = read_mix(settings.base_mix)
    if work.config.algorithm == "sft":  # it learns from what a teacher was asked, and from nothing else
        from trainer.sft import lesson_prompts

        recorded, mix = iter(()), lesson_prompts(settings.teacher_data)
    known = FlatHistory(settings.home).rounds()
    first: frozenset[str] = frozenset()
    if work.config.algorithm == "dpo" and work.config.dpo_people:
        first = frozenset(one.message_id for one in work.ledger.preferences())
    chosen = curate(
        recorded,
        mix,
        None if settings.gate_file is None else read_mix(settings.gate_file),
        lambda messages: len(prompt_ids(work.reader.tokenizer, messages)),
        work.config,
        unsafe_by(settings.unsafe_model, settings.unsafe_labels, settings.unsafe_threshold),
        lambda prompt: len(known.get(name_of(prompt), ())),
        first,
    )
    log.info("round %d %s", work.round_id, chosen.summary)
    work.ledger.save_prompts(_rows(chosen))
    return {"train": len(chosen.train), "spares": len(chosen.spares), "heldout": len(chosen.heldout)}


def _again(work: Work, earlier: int) -> dict[str, int]:
    """The prompts of round `earlier` in their order, less what was forgotten or withdrawn since.

    Raises ValueError when not enough are left to train or to judge on.
    """
    rows = work.ledger.prompts(earlier, with_words=True)
    train = _allowed(work, [_prompt(row) for row in rows if (row.split, row.verdict) == ("train", "kept")])
    spares = [_prompt(row) for row in rows if row.why == STANDS_IN]
    heldout = _allowed(work, [_prompt(row) for row in rows if (row.split, row.verdict) == ("heldout", "kept")])
    if len(train) < work.config.prompts_per_step or len(heldout) < LEAST_HELDOUT:
        raise ValueError(
            f"round {earlier} is not done again: {len(train)} of its prompts are left to train on and {len(heldout)} "
            f"held out; a step needs {work.config.prompts_per_step} and the gate {LEAST_HELDOUT}"
        )
    why = f"as in round {earlier}"
    listed = [(prompt, "train", "kept", why) for prompt in train]
    listed += [(prompt, "train", "left", STANDS_IN) for prompt in spares]
    listed += [(prompt, "heldout", "kept", why) for prompt in heldout]
    log.info("round %d trains on %d prompts of round %d again", work.round_id, len(train), earlier)
    work.ledger.save_prompts(_numbered(listed))
    return {"train": len(train), "spares": len(spares), "heldout": len(heldout)}


def _rows(chosen: Curation) -> list[CuratedPrompt]:
    """One row for each prompt looked at: those trained on in their order, stand-ins, held out, left."""
    why = {id(verdict.prompt): verdict.why for verdict in chosen.verdicts}
    listed = [(prompt, "train", "kept", why[id(prompt)]) for prompt in chosen.train]
    listed += [(prompt, "train", "left", STANDS_IN) for prompt in chosen.spares]
    listed += [(prompt, "heldout", "kept", why[id(prompt)]) for prompt in chosen.heldout]
    listed += [(one.prompt, one.split, "left", one.why) for one in chosen.verdicts if not one.kept]
    return _numbered(listed)


def _numbered(listed: Sequence[tuple[Prompt, str, str, str]]) -> list[CuratedPrompt]:
    """Rows from (prompt, split, verdict, why)."""
    return [
        CuratedPrompt(
            position,
            prompt.source,
            split,
            verdict,
            reason,
            prompt.messages,
            prompt.message_id,
            prompt.conversation_id,
            prompt.user_id,
        )  # fmt: skip
        for position, (prompt, split, verdict, reason) in enumerate(listed)
    ]


def _prompt(row: RoundPrompt) -> Prompt:
    """A forgotten one has no messages left: a stand-in takes its place, also where it may be asked again since."""
    return Prompt(row.prompt or [], row.source, row.message_id, row.conversation_id, row.user_id)


def _if_kept(row: RoundPrompt) -> Prompt:
    """One that was withdrawn in an earlier attempt has no messages either, whatever its person allows since: the record
    says that nothing learnt from it."""
    found = _prompt(row)
    return found if row.verdict == "kept" else replace(found, messages=[])


def _allowed(work: Work, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Without those whose consent is gone since they were chosen."""
    ids = [prompt.message_id for prompt in prompts if prompt.message_id is not None]
    allowed = work.ledger.still_trainable(ids) if ids else set()
    return [one for one in prompts if one.message_id is None or (one.message_id in allowed and one.messages)]
