"""Looks at a policy in training by models whose scores compare only within one call: ensembles and pairwise judges."""

import json
import re
from types import SimpleNamespace

import pytest
from support.tiny_policy import Reds, prompt

from thinking.format import THINK
from trainer.brakes import Enough
from trainer.ensemble import Ensemble
from trainer.llm_judge import LlmJudge, Prices, meetings
from trainer.lookout import Lookout
from trainer.prompts import Prompt
from trainer.round_config import RoundConfig

PROMPTS, SAMPLES = 8, 2


class Gateway:
    """Answers in a quality that hangs on how many updates the policy had: so many words are red."""

    def __init__(self, *reds: int) -> None:
        self._reds = reds

    def sample(self, name, prompts, n, **_):
        updates = 0 if name == "ruminate-v0" else int(name.rsplit("-", 1)[1])
        words = ["red"] * self._reds[updates] + ["blue"] * (10 - self._reds[updates])
        texts = {at: f"<think>\nso\n</think>\n\n{' '.join(words)} {'x' * at}" for at in range(n)}
        return [SimpleNamespace(prompt=place, token_ids=texts[at], finished=True)
                for place in range(len(prompts)) for at in range(n)]  # fmt: skip


class Rows:
    def __init__(self):
        self.said = {}

    def measured(self, step, figures):
        self.said.setdefault(step, {}).update(figures)


def lookout(folder, gateway, judge, step=0) -> Lookout:
    config = RoundConfig(lookout_every=1, lookout_samples=SAMPLES)
    (folder / "versions").mkdir(exist_ok=True)
    work = SimpleNamespace(
        round_id=1, config=config, folder=folder, step=step, gateway=gateway, ledger=Rows(),
        parent=SimpleNamespace(served_as="ruminate-v0"), version=lambda updates: f"round-1-step-{updates}",
        reader=SimpleNamespace(
            tokenizer=SimpleNamespace(apply_chat_template=lambda *_, **__: [1]),
            read=lambda text, finished: THINK.parse(text, finished),
        ),
    )  # fmt: skip
    return Lookout(work, [Prompt(prompt(place), "mix") for place in range(PROMPTS)], Reds(), judge)


def pairwise(tmp_path, monkeypatch) -> LlmJudge:
    prices = Prices(prompt=2.0)
    judge = LlmJudge("http://nowhere", "m", tmp_path / "judge.db", mode="pairwise", opponents=2, prices=prices)

    def call(http, path, body):
        one, other = body["messages"][1]["content"].split("[[RESPONSE A]]")[1].split("[[RESPONSE B]]")
        a, b = (len(re.findall("red", text)) for text in (one, other))
        said = json.dumps({"better": "A" if a > b else "B" if b > a else "tie"})
        return {"choices": [{"message": {"content": said}}], "usage": {"prompt_tokens": 1000}}

    monkeypatch.setattr("trainer.llm_judge.call", call)
    return judge


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    def copied(source, final, work):
        final.mkdir()
        (final / source.name).write_text("")

    monkeypatch.setattr("trainer.lookout.copy_weights", copied)


def judges(tmp_path, monkeypatch):
    return {"ensemble": Ensemble([Reds(), Reds()], "mean"), "pairwise": pairwise(tmp_path, monkeypatch)}


@pytest.mark.parametrize("kind", ["ensemble", "pairwise"])
def test_a_judge_of_relative_scores_sees_the_policy_turn_down(tmp_path, monkeypatch, kind):
    judge = judges(tmp_path, monkeypatch)[kind]
    looking = lookout(tmp_path, Gateway(2, 7, 5, 3, 1), judge)
    for step in (1, 2, 3):
        looking(step)
    with pytest.raises(Enough, match="the second judge fell from .* after 1 updates to .* after 3") as enough:
        looking(4)
    assert enough.value.updates == 1
    assert [path.name for path in enough.value.adapter.iterdir()] == ["round-1-step-1"]  # the weights it liked best


@pytest.mark.parametrize("kind", ["ensemble", "pairwise"])
def test_a_policy_that_gets_better_by_relative_scores_goes_on_and_the_newest_is_kept(tmp_path, monkeypatch, kind):
    looking = lookout(tmp_path, Gateway(1, 2, 3, 5, 7, 9), judges(tmp_path, monkeypatch)[kind])
    for step in range(1, 7):
        looking(step)
    means = [sum(look.judge) for look in looking.looks]
    assert means == sorted(means)
    assert means[0] < means[-1]
    assert len(looking.looks) <= 4  # what no later look is measured against is not asked about again
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["round-1-step-5"]


def test_what_a_judge_behind_an_api_costs_is_in_the_figures_of_each_look(tmp_path, monkeypatch):
    judge = pairwise(tmp_path, monkeypatch)
    looking = lookout(tmp_path, Gateway(1, 2, 3), judge)
    for step in (1, 2, 3):
        looking(step)
    told = [looking._work.ledger.said[step] for step in (1, 2, 3)]
    calls = [one["lookout_judge_calls"] for one in told]
    assert calls[0] < calls[1]  # there is nothing yet to compare the first look's answers with but each other
    assert sum(calls) == judge.costs["judge_calls"]
    assert sum(one["lookout_judge_cost"] for one in told) == pytest.approx(sum(calls) * 1000 * 2.0 / 1e6)


def test_looks_go_on_after_a_restart_with_the_answers_of_before(tmp_path, monkeypatch):
    judge = judges(tmp_path, monkeypatch)["ensemble"]
    first = lookout(tmp_path, Gateway(2, 7, 5, 3, 1), judge)
    for step in (1, 2, 3):
        first(step)
    resumed = lookout(tmp_path, Gateway(2, 7, 5, 3, 1), judge, step=3)
    with pytest.raises(Enough, match="the second judge fell") as enough:
        resumed(4)
    assert enough.value.updates == 1


def test_between_sides_every_meeting_is_candidate_against_live():
    met = meetings(["p"] * 8, 2, [0] * 4 + [1] * 4)
    assert len(met) == 16
    assert all((one < 4) != (other < 4) for one, other in met)
    assert all(sum(place in pair for pair in met) == 4 for place in range(8))  # two opponents each, in both orders
    uneven = meetings(["p"] * 5, 2, [0, 0, 0, 0, 1])  # all but one of a side were malformed
    assert sorted(uneven) == sorted([(at, 4) for at in range(4)] + [(4, at) for at in range(4)])
    assert meetings(["p"] * 3, 2, [0, 0, 0]) == []


def test_the_gate_has_a_pairwise_judge_compare_the_two_sides(tmp_path, monkeypatch):
    from trainer.gate import Answers, _score

    judge, config = pairwise(tmp_path, monkeypatch), RoundConfig()

    def side(*reds):
        answers = [THINK.parse(f"<think>\nso\n</think>\n\n{'red ' * count}{at}", True) for at, count in enumerate(reds)]
        return Answers([answers] * 3, 1.0, 1.0)

    asked = [prompt(place) for place in range(3)]
    found = _score(judge, asked, side(1, 2, 3, 4), side(5, 6, 7, 8), config)
    assert found.candidate.min() == 1.0  # it won every comparison, and none was lost to its own side
    assert found.live.max() == 0.0
    also = _score(Ensemble([judge, judge], "mean"), asked, side(1, 2, 3, 4), side(5, 6, 7, 8), config)
    assert also.candidate.min() > also.live.max()
