"""Preference pairs from the policy's own samples: of each prompt's group the best against the worst, by reward.

People's own choices between two answers come beside them, up to a share (`trainer.people_pairs`).

Gathered part by part before DPO trains, each part on disk when it is whole, so that a killed round samples none twice.
Sampling keeps to the round's budgets, of time to half of it: the other half is for training.
What a person withdraws is taken out of the files at the next step. Leaves out how pairs are trained on (`trainer.dpo`).
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trainer.files import read_json, write_json
from trainer.rewards import SUMMED, Graded, RewardModel
from trainer.rollout import Rollout
from trainer.versions import Versions
from trainer.work import TrainingPrompts, Work

log = logging.getLogger(__name__)

FOLDER, PEOPLE = "pairs", "people.json"
SUMS = ("sampled_tokens", "seconds_sample", *SUMMED)
"""Figures of parts that add up; of the others the mean is told."""


@dataclass(frozen=True)
class Pair:
    """Two completions of one prompt, as token ids. `message_id` is None for a prompt of the base mix.

    `source`: whether the policy's "samples" were scored, or "people" chose between two answers that they were given.
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    margin: float
    message_id: str | None
    source: str = "samples"


People = Callable[[Work, TrainingPrompts, int], tuple[list[Pair], dict[str, float]]]
"""At most so many pairs of people's own choices, with figures: `trainer.people_pairs` has it."""


def best_and_worst(group: Sequence[Graded], min_valid: int) -> tuple[int, int] | None:
    """The places of the highest and the lowest reward among the well-formed samples of a group, the first of equals.

    None where fewer than `min_valid` are well-formed, or all of them earn the same.
    """
    valid = [place for place, one in enumerate(group) if one.parsed.well_formed]
    if len(valid) < min_valid:
        return None
    best = max(valid, key=lambda place: group[place].reward)
    worst = min(valid, key=lambda place: group[place].reward)
    return None if group[best].reward == group[worst].reward else (best, worst)


class Pairs:
    """A round's pairs, in memory and on disk."""

    def __init__(self, work: Work) -> None:
        self._work, self._folder = work, work.folder / FOLDER
        self._parts: list[Path] = []
        self.all: list[Pair] = []
        self.figures: dict[str, float] = {}
        """Sums over the parts: what was sampled and what judges cost. Means: malformed share, lengths, rewards, and the
        share of prompts that made a pair."""

    def gather(self, prompts: TrainingPrompts, reward: RewardModel, people: People | None = None) -> None:
        """Sample and score what is not on disk yet. Raises ValueError when fewer pairs come of it than a step needs."""
        work, size = self._work, self._work.config.prompts_per_step
        self._folder.mkdir(exist_ok=True)
        versions = Versions(work)
        versions.clear()
        rollout = Rollout(work, prompts, versions, reward)
        keys = [str(place) for place in range(len(prompts.train))]
        told: list[dict[str, float]] = []
        sampled, ended = len(keys), ""
        for part, start in enumerate(range(0, len(keys), size)):
            file = self._folder / f"{part:05d}.json"
            if not file.is_file():
                if ended := self._spent(told):
                    log.warning("round %d: sampling ended after %d prompts: %s", work.round_id, start, ended)
                    sampled = start
                    break
                write_json(file, self._part(rollout, keys[start : start + size], part))
                log.info("round %d: sampled part %d of %d", work.round_id, part + 1, -(-len(keys) // size))
            found = read_json(file)
            self._parts.append(file)
            self.all += [Pair(**one) for one in found["pairs"]]
            told.append(found["figures"])
        if people is not None and work.config.dpo_people:
            told.append(self._people(prompts, people))
        names = {name for figures in told for name in figures}
        for name in sorted(names):
            known = [figures[name] for figures in told if name in figures]
            self.figures[name] = sum(known) if name in SUMS else _mean(known)
        if len(self.all) < size:
            more = f"Sampling ended early: {ended}. Set a higher one" if ended else "Set more steps"
            raise ValueError(
                f"{sampled} prompts made {len(self.all)} pairs and a step needs {size}; "
                f"{self.figures['malformed_share']:.0%} of the samples were malformed. {more}, a lower "
                f"dpo_min_valid ({work.config.dpo_min_valid}), or warm the policy up with sft"
            )

    def allowed(self, places: Sequence[int]) -> list[Pair]:
        """The pairs at these places; another one where a person has withdrawn since. Asks about all, and forgets.

        What was forgotten once stays so, whatever its person allows later.
        """
        ids = {pair.message_id for pair in self.all if pair.message_id is not None and pair.chosen_ids}
        gone = ids - self._work.ledger.still_trainable(sorted(ids)) if ids else set()
        if gone:
            self._forget(gone)
        gone |= {pair.message_id for pair in self.all if pair.message_id is not None and not pair.chosen_ids}
        left = [pair for pair in self.all if pair.message_id not in gone]
        if not left:
            raise ValueError("consent was withdrawn for every pair of this round; there is nothing left to train on")
        chosen = [self.all[place] for place in places]
        return [
            left[place % len(left)] if one.message_id in gone else one
            for place, one in zip(places, chosen, strict=True)
        ]

    def _spent(self, told: Sequence[dict[str, float]]) -> str:
        """Which of the round's budgets allows no further part; empty: none. Follows from the parts that are on disk."""
        config = self._work.config
        tokens = sum(figures["sampled_tokens"] for figures in told)
        if config.max_sampled_tokens and tokens >= config.max_sampled_tokens:
            return f"{tokens:.0f} tokens were sampled, and {config.max_sampled_tokens} may be (max_sampled_tokens)"
        minutes = sum(figures.get("seconds_sample", 0.0) for figures in told) / 60
        if config.max_minutes and minutes >= config.max_minutes / 2:
            return f"half of its {config.max_minutes:g} minutes are used up (max_minutes)"
        return ""

    def _part(self, rollout: Rollout, keys: Sequence[str], part: int) -> dict[str, Any]:
        start, config = time.perf_counter(), self._work.config
        ids, samples = rollout.draw(keys, part)
        figures: dict[str, float] = {}
        graded = rollout.graded(
            [keys[sample.prompt] for sample in samples],
            [sample.token_ids for sample in samples],
            [sample.finished for sample in samples],
            figures.__setitem__,
        )
        pairs = []
        for place, key in enumerate(keys):
            at = place * config.group_size
            found = best_and_worst(graded[at : at + config.group_size], config.dpo_min_valid)
            if found is not None:
                best, worst = (at + one for one in found)
                margin = graded[best].reward - graded[worst].reward
                answers = samples[best].token_ids, samples[worst].token_ids
                pairs.append(Pair(ids[place], *answers, margin, rollout.asked(key).message_id))
        figures |= {"paired_share": len(pairs) / len(keys), "reward": _mean([one.reward for one in graded])}
        figures["seconds_sample"] = time.perf_counter() - start
        return {"pairs": [asdict(pair) for pair in pairs], "figures": figures}

    def _people(self, prompts: TrainingPrompts, people: People) -> dict[str, float]:
        """Add people's pairs, chosen once. What they said leaves this file with the others when they withdraw."""
        file = self._folder / PEOPLE
        if not file.is_file():
            most = round(self._work.config.dpo_people / (1 - self._work.config.dpo_people) * len(self.all))
            pairs, figures = people(self._work, prompts, most)
            write_json(file, {"pairs": [asdict(pair) for pair in pairs], "figures": figures})
        found = read_json(file)
        self._parts.append(file)
        self.all += [Pair(**one) for one in found["pairs"]]
        log.info("round %d: pairs of people: %s", self._work.round_id, found["figures"])
        return found["figures"] | {"people_share": len(found["pairs"]) / max(1, len(self.all))}

    def _forget(self, gone: set[str]) -> None:
        """Take the words out of the files, and out of memory; a place keeps its number."""
        empty: dict[str, Any] = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": []}
        self.all = [replace(pair, **empty) if pair.message_id in gone else pair for pair in self.all]
        for file in self._parts:
            kept = read_json(file)
            if any(one["message_id"] in gone for one in kept["pairs"]):
                for one in kept["pairs"]:
                    if one["message_id"] in gone:
                        one |= empty
                write_json(file, kept)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
