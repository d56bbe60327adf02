"""Groups whose samples all earn the same are replaced once, by groups of other prompts, and within bounds."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file
from support.tiny_policy import Reds

from thinking.format import Parsed
from thinking.splitter import Ending
from trainer.flat import flat, others, replacements
from trainer.flat_history import FlatHistory
from trainer.gateway import Sample
from trainer.lease import Stopped
from trainer.ledger import Ledger
from trainer.loop import claim, work_on
from trainer.prompts import Prompt, identity
from trainer.rollout import Rollout
from trainer.round_config import RoundConfig
from trainer.work import TrainingPrompts

GROUP = 4
HOME = Path("unused")


@pytest.fixture(autouse=True)
def home(tmp_path):
    global HOME
    HOME = tmp_path


def test_a_group_is_flat_when_all_of_it_earns_the_same():
    rewards = [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, -2.0, -2.0, -2.0, -2.0 + 5e-5]
    assert flat(rewards, GROUP) == [0, 2]
    assert flat([0.0, 2e-4, 0.0, 0.0], GROUP) == []
    assert flat([], GROUP) == []


def test_what_is_asked_instead_follows_from_the_seed_and_is_not_in_the_step():
    keys = [str(place) for place in range(20)]
    found = others(keys, {"3", "4"}, seed=7)
    assert sorted(found, key=int) == [key for key in keys if key not in {"3", "4"}]
    assert found == others(keys, {"3", "4"}, seed=7)
    assert found != others(keys, {"3", "4"}, seed=8)


def test_only_a_group_that_teaches_replaces_one_that_does_not():
    teaches, useless = [0.0, 0.0, 1.0, 0.0], [0.5] * 4
    assert replacements([1, 5], [*useless, *teaches, *teaches], GROUP) == [(1, 1), (5, 2)]
    assert replacements([1, 5], [*useless, *teaches], GROUP) == [(1, 1)]
    assert replacements([1], [*teaches, *teaches], GROUP) == [(1, 0)]
    assert replacements([1], useless, GROUP) == []


class Numbers:
    """Reads prompts that are numbers, and completions that are the prompt's number and their own in the group."""

    @property
    def tokenizer(self):
        return self

    def apply_chat_template(self, messages, **_):
        return [int(messages[-1]["content"])]

    def read(self, ids, finished):
        return Parsed("", " ".join(map(str, ids)), Ending.COMPLETE)

    def tokens(self, texts):
        return [len(text.split()) for text in texts]


class Engine:
    """Stands where the versions do: samples `[prompt, number in the group]`, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def sampler(self, prompts, n, max_tokens, temperature, seed, arrived=None):
        def draw():
            self.asked.append(([ids[0] for ids in prompts], seed))
            return [
                Sample(place, [ids[0], number], [-1.0, -1.0], True)
                for place, ids in enumerate(prompts)
                for number in range(n)
            ]

        return draw


class Judge:
    """Whoever asks a number of `flat` gets the same for every answer, else the answer's number."""

    def __init__(self, flat):
        self.flat, self.calls, self.figures = set(flat), 0, {}

    def score(self, pairs):
        self.calls += 1
        self.figures = {"judge_calls": float(len(pairs)), "verified_share": 1.0 / self.calls}
        numbers = [[int(word) for word in response.split()] for _, response in pairs]
        return [0.0 if prompt in self.flat else float(sample) for prompt, sample in numbers]


class Rows:
    """Stands where the ledger does: every prompt is kept, and `gone` may not be trained on any more."""

    def __init__(self, count, gone=(), left=()):
        self._count, self._gone, self._left = count, set(gone), set(left)

    def prompts(self, verdict=None):
        said = enumerate("left" if place in self._left else "kept" for place in range(self._count))
        return [SimpleNamespace(position=place, verdict=one) for place, one in said if verdict in (None, one)]

    def still_trainable(self, ids):
        return set(ids) - self._gone

    def withdraw(self, position, why):
        self._left.add(position)


def rollout_of(judge, *, count=12, people=(), ledger=None, following=None, **config):
    """A rollout over `count` prompts, of which those at `people` are persons'; the engine; and a trainer at a step."""
    settings = RoundConfig(
        steps=4, prompts_per_step=3, group_size=GROUP, micro_batch=6, seed=5, **{"overlap": bool(following), **config}
    )
    said = [[{"role": "user", "content": str(place)}] for place in range(count)]
    train = [
        (place, Prompt(asked, "recorded", f"m{place}") if place in people else Prompt(asked, "mix"))
        for place, asked in enumerate(said)
    ]
    work = SimpleNamespace(
        round_id=1, config=settings, reader=Numbers(), ledger=ledger or Rows(count), folder=Path("unused"),
        settings=SimpleNamespace(home=HOME),
    )  # fmt: skip
    engine = Engine()
    return Rollout(work, TrainingPrompts(train, []), engine, judge, following), engine


def step_of(rollout, first, step):
    """TRL's two calls for the step that begins with prompt `first`: what was sampled, its rewards, and the figures."""
    keys = [str(first + place) for place in range(3) for _ in range(GROUP)]
    told = {}
    found = rollout.sample(keys, SimpleNamespace(state=SimpleNamespace(global_step=step)))
    rewards = rollout.reward(keys, found["completion_ids"], found["finished"], told.__setitem__)
    return found, rewards, told


def test_a_prompt_that_was_forgotten_and_is_allowed_again_is_not_asked_without_its_words():
    rollout, engine = rollout_of(Judge(flat=[]), people={1})
    train = list(rollout._prompts.train)
    train[1] = (1, Prompt([], "recorded", "m1"))  # as a resumed round reads it from its row
    rollout._prompts = TrainingPrompts(train, [Prompt([{"role": "user", "content": "99"}], "mix")])
    step_of(rollout, 0, 0)
    ((first, _),) = engine.asked
    assert first == [0, 99, 2]
    assert rollout._work.ledger.prompts()[1].verdict == "left"


def test_a_prompt_of_which_the_record_says_that_nothing_learnt_from_it_is_not_asked_later():
    ledger = Rows(3, gone={"m1"})
    rollout, engine = rollout_of(Judge(flat=[]), count=3, people={1}, ledger=ledger)
    step_of(rollout, 0, 0)
    ledger._gone.clear()  # asked once more, and allowed by then
    step_of(rollout, 0, 1)
    assert [1 in numbers for numbers, _ in engine.asked] == [False, False]


@pytest.mark.parametrize("replace_flat", [0, 1])
def test_which_prompts_were_flat_is_noted_for_later_rounds(replace_flat):
    rollout, engine = rollout_of(Judge(flat=[1]), replace_flat=replace_flat)
    step_of(rollout, 0, 0)
    assert len(engine.asked) == 1 + replace_flat
    assert FlatHistory(HOME).rounds() == {identity([{"role": "user", "content": "1"}]): [1]}


def test_a_flat_group_is_replaced_by_one_of_another_prompt():
    judge = Judge(flat=[1])
    rollout, engine = rollout_of(judge, replace_flat=2)
    found, rewards, told = step_of(rollout, 0, 0)
    (first, _), (instead, _) = engine.asked
    assert first == [0, 1, 2]
    assert len(instead) == 1
    assert instead[0] not in first
    prompts = [0, instead[0], 2]
    assert found["prompt_ids"] == [[prompt] for prompt in prompts for _ in range(GROUP)]
    assert found["completion_ids"] == [[prompt, number] for prompt in prompts for number in range(GROUP)]
    assert rewards == [0.0, 1.0, 2.0, 3.0] * 3
    assert rollout.asked("1").messages[-1]["content"] == str(instead[0])
    assert (told["flat_groups"], told["replaced_groups"]) == (1.0, 1.0)
    assert told["sampled_tokens"] == 4 * GROUP * 2  # four groups were sampled, and three are trained on
    assert told["judge_calls"] == 4 * GROUP  # both calls count
    assert told["verified_share"] == 1.0  # the first call's
    assert judge.calls == 2  # what was scored to see that it is flat is not scored again


def test_it_is_off_unless_it_is_set():
    rollout, engine = rollout_of(Judge(flat=[1]))
    _, rewards, told = step_of(rollout, 0, 0)
    assert len(engine.asked) == 1
    assert rewards[GROUP : 2 * GROUP] == [0.0] * GROUP
    assert not {"flat_groups", "replaced_groups"} & set(told)


def test_a_step_without_flat_groups_samples_and_scores_once():
    judge = Judge(flat=[])
    rollout, engine = rollout_of(judge, replace_flat=3)
    _, _, told = step_of(rollout, 0, 0)
    assert len(engine.asked) == judge.calls == 1
    assert (told["flat_groups"], told["replaced_groups"]) == (0.0, 0.0)


@pytest.mark.parametrize("most", [1, 2])
def test_it_costs_one_draw_of_as_many_groups_as_are_allowed(most):
    rollout, engine = rollout_of(Judge(flat=[0, 1, 2]), replace_flat=most)
    _, _, told = step_of(rollout, 0, 0)
    assert [len(asked) for asked, _ in engine.asked] == [3, most]
    assert (told["flat_groups"], told["replaced_groups"]) == (3.0, float(most))


def test_groups_that_are_flat_as_well_replace_nothing():
    rollout, engine = rollout_of(Judge(flat=range(12)), replace_flat=2)
    found, rewards, told = step_of(rollout, 0, 0)
    assert [len(asked) for asked, _ in engine.asked] == [3, 2]
    assert found["prompt_ids"] == [[prompt] for prompt in (0, 1, 2) for _ in range(GROUP)]
    assert set(rewards) == {0.0}
    assert (told["flat_groups"], told["replaced_groups"]) == (3.0, 0.0)


def test_a_step_done_again_asks_the_same_and_another_step_does_not():
    asked = []
    for step in (1, 1, 2):
        rollout, engine = rollout_of(Judge(flat=[3, 4]), replace_flat=2)
        step_of(rollout, 3, step)
        asked.append(engine.asked)
    assert asked[0] == asked[1]
    assert asked[0][1] != asked[2][1]


def test_a_persons_prompt_is_asked_instead_only_where_the_round_has_learnt_from_it_and_may_still():
    """The step trains on 6 to 8, so that 9 to 11 are to come; 1 has withdrawn since, 2 had done so at its own step."""
    everyone = range(12)
    ledger = Rows(12, gone={"m1", "m5"}, left={2})
    rollout, engine = rollout_of(Judge(flat=[6, 7, 8]), people=everyone, ledger=ledger, replace_flat=3)
    step_of(rollout, 6, 2)
    assert sorted(engine.asked[1][0]) == [0, 3, 4]
    first, engine = rollout_of(Judge(flat=[0]), people=everyone, replace_flat=3)
    _, _, told = step_of(first, 0, 0)
    assert len(engine.asked) == 1  # in the first step the round has learnt from nobody yet
    assert (told["flat_groups"], told["replaced_groups"]) == (1.0, 0.0)


def test_the_next_step_is_drawn_ahead_once_the_flat_groups_are_replaced():
    def following(step):
        return [str(3 * step + place) for place in range(3)]

    rollout, engine = rollout_of(Judge(flat=[1]), replace_flat=1, following=following)
    with rollout:
        step_of(rollout, 0, 0)
        rollout.settle()
        assert [len(asked) for asked, _ in engine.asked] == [3, 1, 3]
        assert engine.asked[2][0] == [3, 4, 5]
        _, _, told = step_of(rollout, 3, 1)
    assert told["steps_behind"] == 1.0
    assert len(engine.asked) == 4  # what was drawn ahead was taken, and the third step's draw has begun


class Partial(Reds):
    """Sees no difference between answers to two of five kinds of question."""

    def score(self, pairs):
        kinds = [messages[-1]["content"].split()[0] for messages, _ in pairs]
        return [
            0.5 if kind in ("name", "list") else score for kind, score in zip(kinds, super().score(pairs), strict=True)
        ]


def test_a_round_that_was_interrupted_replaces_the_same_groups(site, second_site, monkeypatch):
    config = {"steps": 4, "prompts_per_step": 3, "group_size": 4, "micro_batch": 6, "replace_flat": 2, "kl_beta": 0.0}

    def weights(at):
        return load_file(Path(at.checkpoint(1).path) / "adapter_model.safetensors")

    site.request(**config)
    house = site.open()
    house.reward = Partial()
    work_on(house, claim(house))
    replaced = site.metrics(1)["replaced_groups"]
    assert sum(value for _, value in replaced) > 0

    second_site.request(**config)
    note = Ledger.step

    def stop_at_two(ledger, step, figures):
        note(ledger, step, figures)
        if step == 2:
            raise Stopped("SIGTERM")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "step", stop_at_two)
        house = second_site.open()
        house.reward = Partial()
        with pytest.raises(Stopped):
            work_on(house, claim(house))
    house = second_site.open()
    house.reward = Partial()
    work_on(house, claim(house))
    assert second_site.metrics(1)["replaced_groups"] == replaced
    before, after = weights(site), weights(second_site)
    assert max((before[name] - after[name]).abs().max().item() for name in before) < 1e-6
