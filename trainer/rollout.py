"""One step's experience: groups of samples through the gateway, and what each of them earns.

`draw` and `graded` do it; `sample` and `reward` are the same as the hooks that TRL calls. A prompt goes by its key, its
place in the round as text, which TRL hands around as its "prompt"; what is asked is looked up here, after consent was
asked for again. Completions are scored while others are still being written (`trainer.early`). With `overlap`, a step's
draw begins, and with it its scoring, while the one before it is trained on (`trainer.ahead`). With `replace_flat`,
`sample` scores what it has drawn and draws once more in place of groups that teach nothing.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from trainer.ahead import Ahead
from trainer.early import EarlyParts
from trainer.flat import flat, others, replacements
from trainer.flat_history import FlatHistory
from trainer.gateway import Arrived, Sample
from trainer.policy import prompt_ids
from trainer.prompts import Prompt
from trainer.rewards import Graded, RewardModel
from trainer.scoring import Scored, score, told
from trainer.versions import Versions
from trainer.work import TrainingPrompts, Work

Drawn = tuple[list[Sample], RewardModel]
"""The samples of a draw, and the reward model with the scores of them that it has already."""

OTHERS_LOOKED_AT = 8  # prompts for each one wanted in place of a flat one: nearly all people have not withdrawn


class Rollout:
    """Samples and scores the groups of a round's steps.

    `following`: the keys of a step to come, where the algorithm has an order that can be foreseen; without it nothing
    is drawn ahead. As a context manager it ends with no draw under way.
    """

    def __init__(
        self,
        work: Work,
        prompts: TrainingPrompts,
        versions: Versions,
        reward: RewardModel,
        following: Callable[[int], Sequence[str]] | None = None,
    ) -> None:
        self._work, self._prompts, self._versions, self._given = work, prompts, versions, reward
        self._model: RewardModel = reward  # of the newest draw: the same, or with scores of it at hand
        self._following = following if work.config.overlap else None
        self._ahead: Ahead[Drawn] = Ahead()
        self._asked: dict[str, Prompt] = {}
        self._withdrawn: set[int] = set()  # positions of which the record says that nothing learnt from them
        self._behind = 0
        self._scored: list[Scored] = []  # of the newest draw, call by call; empty: not yet
        self._trained = Scored([], [], {}, 0.0)  # what of it the step trains on
        self._replaced: tuple[int, int] | None = None  # groups that were flat, and of those replaced
        self.seconds: dict[str, float] = {}
        """Of the newest step: sample (how long training waited for it), score."""

    def __enter__(self) -> "Rollout":
        return self

    def __exit__(self, *error: Any) -> None:
        self._ahead.__exit__(*error)

    def resume(self, done: int) -> None:
        """Draw what the trainer that died had drawn ahead for the first step to come, by the policy that it had then.

        To be called before the policy of `done` updates is published. Where that older policy is no longer there, that
        step is sampled by the newer one.
        """
        if self._following is None or done == 0:
            return
        if done > 1:
            older = self._work.folder / "states" / f"checkpoint-{done - 1}"
            if not any(older.glob("*.safetensors")):
                return
            self._versions.publish_copy(older, done - 1)
        self._begin(done)

    def is_drawing(self) -> bool:
        """Whether the next step's samples are being drawn."""
        return self._ahead.is_busy

    def settle(self) -> None:
        """Wait for the draw under way, so that no engine is asked for anything while versions change."""
        self._ahead.settle()

    def sample(self, keys: list[str], trainer: Any) -> dict[str, list[Any]]:
        """TRL's `rollout_func`: `keys` come group by group, each repeated as often as it is to be sampled."""
        config = self._work.config
        groups = keys[:: config.group_size]
        if keys != [key for key in groups for _ in range(config.group_size)]:
            raise ValueError(f"TRL asked for {keys}; expected each prompt {config.group_size} times in a row")
        step = trainer.state.global_step
        ids, samples = self._draw(groups, step)
        if config.replace_flat:
            ids, samples = self._without_flat(groups, ids, samples, step)
        self._go_ahead(step)
        return {
            "prompt_ids": [ids[sample.prompt] for sample in samples],
            "completion_ids": [sample.token_ids for sample in samples],
            "logprobs": [sample.logprobs for sample in samples],
            "finished": [sample.finished for sample in samples],
        }

    def draw(self, keys: Sequence[str], step: int) -> tuple[list[list[int]], list[Sample]]:
        """A group of samples for each key, group by group, and the prompts' token ids. The seed follows from `step`.

        What was drawn ahead is taken where it asked the same, which a withdrawn consent changes. Then the next step's
        draw begins, by the version that is the newest now.
        """
        found = self._draw(keys, step)
        self._go_ahead(step)
        return found

    def _draw(self, keys: Sequence[str], step: int) -> tuple[list[list[int]], list[Sample]]:
        start = time.perf_counter()
        self._asked, self._scored, self._replaced = self._ask_consent(keys, step), [], None
        ids = self._ids(self._asked, keys)
        found = self._ahead.fetch((step, ids))
        self._behind = 0 if found is None else 1
        samples, self._model = self._drawing(self._asked, keys, ids, step)() if found is None else found
        self.seconds["sample"] = time.perf_counter() - start
        return ids, samples

    def _drawing(
        self, asked: dict[str, Prompt], keys: Sequence[str], ids: list[list[int]], step: int, wait: bool = False
    ) -> Callable[[], Drawn]:
        """What draws a step by the version that is the newest now. `wait`: until all of it is scored that can be."""
        size = self._work.config.group_size
        conversations = [asked[key].messages for key in keys for _ in range(size)]
        early = EarlyParts(self._given, self._work.reader, conversations, size)
        draw = self._ask(ids, seed_of(self._work.config.seed, step), early.arrived)

        def drawn() -> Drawn:
            with early:
                samples = draw()
            if wait:
                early.wait()
            return samples, early.model

        return drawn

    def _go_ahead(self, step: int) -> None:
        if self._following is not None and step + 1 < self._work.config.steps:
            self._begin(step + 1)

    def _without_flat(
        self, keys: Sequence[str], ids: Sequence[list[int]], samples: Sequence[Sample], step: int
    ) -> tuple[list[list[int]], list[Sample]]:
        """The same with flat groups replaced, as far as `replace_flat` and one more draw go. Everything is scored then.

        A key whose group was replaced stands for the other prompt from now on.
        """
        config, size = self._work.config, self._work.config.group_size
        first = self._score([self._asked[keys[one.prompt]] for one in samples], samples)
        self._note_flat([self._asked[key] for key in keys], first)
        places = flat(first.rewards, size)
        prompts = self._others(keys, step, min(len(places), config.replace_flat)) if places else []
        self._scored, self._trained = [first], first
        self._replaced = (len(places), 0)
        if not prompts:
            return list(ids), list(samples)
        start = time.perf_counter()
        more_ids = [prompt_ids(self._work.reader.tokenizer, prompt.messages) for prompt in prompts]
        more = self._ask(more_ids, seed_of("in place of flat groups", config.seed, step))()
        self.seconds["sample"] += time.perf_counter() - start
        second = self._score([prompts[one.prompt] for one in more], more)
        out_ids, out, graded = list(ids), list(samples), list(first.graded)
        swaps = replacements(places, second.rewards, size)
        for old, new in swaps:
            here, there = slice(old * size, (old + 1) * size), slice(new * size, (new + 1) * size)
            self._asked[keys[old]], out_ids[old] = prompts[new], more_ids[new]
            out[here] = [replace(one, prompt=old) for one in more[there]]
            graded[here] = second.graded[there]
        self._scored, self._replaced = [first, second], (len(places), len(swaps))
        self._trained = Scored([one.token_ids for one in out], graded, {}, 0.0)
        return out_ids, out

    def _others(self, keys: Sequence[str], step: int, count: int) -> list[Prompt]:
        """Prompts of the round to ask in place of flat ones: of the mix, or a person's that the round has learnt from.

        Not one of a person that is still to come: if that is withdrawn before its step, the record says that nothing
        learnt from it.
        """
        train, ledger, seed = self._prompts.train, self._work.ledger, seed_of("others", self._work.config.seed, step)
        done = step * self._work.config.prompts_per_step
        kept = {row.position for row in ledger.prompts(verdict="kept")}
        fit = [
            str(place)
            for place, (position, prompt) in enumerate(train)
            if prompt.message_id is None or (place < done and position in kept)
        ]
        found = [train[int(key)][1] for key in others(fit, keys, seed)[: OTHERS_LOOKED_AT * count]]
        ids = [prompt.message_id for prompt in found if prompt.message_id is not None]
        allowed = ledger.still_trainable(ids) if ids else set()
        return [one for one in found if one.message_id is None or (one.message_id in allowed and one.messages)][:count]

    def _begin(self, step: int) -> None:
        assert self._following is not None
        keys = list(self._following(step))
        asked = self._ask_consent(keys, step)
        ids = self._ids(asked, keys)
        self._ahead.start((step, ids), self._drawing(asked, keys, ids, step, wait=True))

    def _ids(self, asked: dict[str, Prompt], keys: Sequence[str]) -> list[list[int]]:
        return [prompt_ids(self._work.reader.tokenizer, asked[key].messages) for key in keys]

    def _ask(self, ids: list[list[int]], seed: int, arrived: Arrived | None = None) -> Callable[[], list[Sample]]:
        config = self._work.config
        sizes = config.group_size, config.max_completion_tokens
        return self._versions.sampler(ids, *sizes, config.temperature, seed, arrived)

    def asked(self, key: str) -> Prompt:
        """The prompt that was asked for this key in the newest draw: its own, or the one that stood in."""
        return self._asked[key]

    def reward(
        self,
        prompts: list[str],
        completion_ids: list[list[int]],
        finished: list[bool],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        """TRL's reward function, on token ids: the decoded text that TRL offers has lost what tells formats apart."""
        return [one.reward for one in self.graded(prompts, completion_ids, finished, log_metric)]

    def graded(
        self,
        keys: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        finished: Sequence[bool],
        log_metric: Callable[[str, float], None],
    ) -> list[Graded]:
        """The newest draw's completions, read and scored; `keys` has one for each of them."""
        if not self._scored or self._trained.token_ids != [list(ids) for ids in completion_ids]:
            asked = [self._asked[key] for key in keys]
            self._scored = [self._score_ids(asked, completion_ids, finished)]
            self._trained = self._scored[0]
        reader = self._work.reader
        for name, value in told(reader, self._scored).items():
            log_metric(name, value)
        log_metric("steps_behind", float(self._behind))
        log_metric("recorded_share", fmean(prompt.source == "recorded" for prompt in self._asked.values()))
        if self._replaced is not None:
            for name, count in zip(("flat_groups", "replaced_groups"), self._replaced, strict=True):
                log_metric(name, float(count))
        size = self._work.config.group_size
        self._note_flat([self._asked[key] for key in keys[::size]], self._trained)
        self.seconds["score"] = sum(call.seconds for call in self._scored)
        return self._trained.graded

    def _note_flat(self, prompts: Sequence[Prompt], scored: Scored) -> None:
        """For later rounds' curation: which groups, one of each prompt, taught nothing."""
        size, places = self._work.config.group_size, set(flat(scored.rewards, self._work.config.group_size))
        groups = [
            (prompt, place in places)
            for place, prompt in enumerate(prompts)
            if any(one.parsed.well_formed for one in scored.graded[place * size : (place + 1) * size])
        ]
        FlatHistory(self._work.settings.home).note(self._work.round_id, groups)

    def _score(self, asked: Sequence[Prompt], samples: Sequence[Sample]) -> Scored:
        return self._score_ids(asked, [one.token_ids for one in samples], [one.finished for one in samples])

    def _score_ids(
        self, asked: Sequence[Prompt], completion_ids: Sequence[Sequence[int]], finished: Sequence[bool]
    ) -> Scored:
        work, conversations = self._work, [prompt.messages for prompt in asked]
        return score(work.reader, self._model, work.config, conversations, completion_ids, finished)

    def _ask_consent(self, keys: Sequence[str], step: int) -> dict[str, Prompt]:
        """The prompt behind each key; a mix prompt where a person has withdrawn since, which the record then says."""
        found = {key: self._prompts.train[int(key)] for key in keys}
        ids = [prompt.message_id for _, prompt in found.values() if prompt.message_id is not None]
        allowed = self._work.ledger.still_trainable(ids) if ids else set()
        asked: dict[str, Prompt] = {}
        for place, (key, (position, prompt)) in enumerate(found.items()):
            again = prompt.message_id in allowed and prompt.messages and position not in self._withdrawn
            if prompt.message_id is None or again:
                asked[key] = prompt
            else:
                if step <= int(key) // self._work.config.prompts_per_step:  # no step before has trained on it
                    self._work.ledger.withdraw(position, f"its consent was gone before step {step + 1}")
                    self._withdrawn.add(position)
                asked[key] = self._stand_in(step, place)
        return asked

    def _stand_in(self, step: int, place: int) -> Prompt:
        spares = self._prompts.spares or [prompt for _, prompt in self._prompts.train if prompt.source == "mix"]
        if not spares:
            raise ValueError("consent was withdrawn for a prompt of this step, and the base mix has none to stand in")
        return spares[(step * self._work.config.prompts_per_step + place) % len(spares)]


def seed_of(*parts: object) -> int:
    """A seed (31 bits) that follows from the parts."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1
