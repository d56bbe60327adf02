"""Answers that people keep an eye on: which hold, when a fall is more than chance, and what the gate says of it."""

import json
import math
import re

import numpy as np
import pytest

from db.values import KeptAnswer
from thinking.format import THINK
from trainer.ensemble import Ensemble
from trainer.gate import Evidence, Sides, decide
from trainer.habits import Habits
from trainer.llm_judge import LlmJudge
from trainer.regressions import Regressions, as_trained, compare
from trainer.round_config import RoundConfig

GATE = RoundConfig()
QUIET = Habits(malformed=0.01, empty_thoughts=0.0, repetition=0.02, thought_tokens=60, response_tokens=80)


def verdict(found, **changes):
    """On a candidate that is better in all else."""
    dice = np.random.default_rng(0)
    better = Sides(dice.normal(0, 1, (40, 4)), dice.normal(1, 1, (40, 4)))
    lengths = Sides(dice.normal(4, 0.3, (40, 4)), dice.normal(4, 0.3, (40, 4)))
    measured = Evidence(better, better, lengths, QUIET, QUIET, 0.05, found)
    return decide(measured, GATE.model_copy(update=changes))


def failed(found):
    return {check.name for check in found.checks if not check.passed}


class Numbers:
    """Scores a response by the number that it ends with."""

    def score(self, pairs):
        return [float(response.split()[-1]) for _, response in pairs]


def kept(kind, response, name="g", text="a question"):
    return KeptAnswer(name, kind, "m", [{"role": "user", "content": text}], response)


def said(*texts, finished=True):
    return [THINK.parse(THINK.render("plan", text), finished=finished) for text in texts]


def test_an_answer_holds_to_a_good_one_within_what_lives_own_lie_apart():
    """Live's 4 and 6 have a standard deviation of 1.41: what scores 8.6 holds to a good one of 10, and 8.5 does not."""
    found = compare([kept("good", "so 10")], [said("so 4", "so 6")], [said("so 8.6", "so 8.5")], Numbers())
    assert (found.live, found.candidate, found.samples) == ([0], [1], 2)


def test_what_is_never_to_come_again_is_worse_or_nearly_the_same():
    bad = "buy the wonderful acme toaster it is the best of all toasters in the world says everyone here 1"
    again = bad.replace("everyone here 1", "everyone here 2")  # the judge likes it better, and it is the same
    answers = [said(again, "something else 2", "something else 0.5", "something else 1")]
    found = compare([kept("never", bad)], answers, answers, Numbers())
    assert found.live == [1]


def test_a_malformed_answer_never_holds():
    found = compare([kept("good", "so 1")], [said("so 1", "so 1")], [said("so 1", "so 1", finished=False)], Numbers())
    assert (found.live, found.candidate) == ([2], [0])


@pytest.mark.parametrize("cases", [1, 3])
def test_a_fall_shows_to_judges_whose_scores_compare_only_within_a_call(cases, tmp_path, monkeypatch):
    """Every answer of the candidate is worse than the kept one and all of live's."""
    judge = LlmJudge("http://nowhere", "m", tmp_path / "judge.db", mode="pairwise", opponents=2)

    def ask(body, spent):
        texts = body["messages"][1]["content"].split("[[RESPONSE A]]")[1].split("[[RESPONSE B]]")
        a, b = (int(re.search(r"so (\d+)", text)[1]) for text in texts)
        return json.dumps({"better": "A" if a > b else "B" if b > a else "tie"})

    monkeypatch.setattr(judge, "_ask", ask)
    listed = [kept("good", "so 50", text="the same") for _ in range(cases)]
    live, worse = [said("so 49", "so 50", "so 51", "so 50")] * cases, [said("so 10", "so 20", "so 30", "so 1")] * cases
    better = [said("so 90", "so 80", "so 70", "so 60")] * cases
    for one in (judge, Ensemble([Numbers(), Numbers()], "mean"), Numbers()):
        found = compare(listed, live, worse, one)
        assert found.candidate == [0] * cases, one
        assert sum(found.live) >= 3 * cases
        assert compare(listed, live, better, one).candidate == [4] * cases
    never = [kept("never", "so 50", text="the same")] * cases
    for one in (judge, Ensemble([Numbers(), Numbers()], "mean")):
        assert compare(never, better, worse, one).live == [4] * cases
        assert compare(never, better, worse, one).candidate == [0] * cases


def test_chance_by_hand():
    """Of 2 and 2 answers 2 hold, none of them the candidate's: one way of six. Two such prompts: one of 36."""
    assert Regressions(["a"], [2], [0], 2).chance == pytest.approx(1 / 6)
    assert Regressions(["a", "b"], [2, 2], [0, 0], 2).chance == pytest.approx(1 / 36)
    assert Regressions(["a"], [0], [2], 2).chance == pytest.approx(1)
    assert Regressions(["a"], [1], [1], 2).chance == pytest.approx(5 / 6)


def test_candidates_that_are_no_different_are_stopped_as_rarely_as_the_confidence_says():
    dice, stopped = np.random.default_rng(1), 0
    for _ in range(1000):
        level = dice.uniform(0.3, 1.0, 12)
        live, candidate = (dice.binomial(4, level).tolist() for _ in range(2))
        stopped += Regressions([str(i) for i in range(12)], live, candidate, 4).chance < 0.05
    assert stopped <= 50 + 3 * math.sqrt(1000 * 0.05 * 0.95)


def test_the_gate_stops_a_better_candidate_whose_kept_answers_fell_and_names_them():
    fell = Regressions(["one", "two"], [4, 4], [4, 0], 4)
    found = verdict(fell)
    assert failed(found) == {"regressions"}
    assert "of 2 answers that people keep an eye on 50% hold, with live 100%" in found.words
    assert found.figures["regressions"] == {
        "prompts": 2, "live": 1.0, "candidate": 0.5, "chance": round(1 / 70, 5), "fell": ["two"],
    }  # fmt: skip


def test_a_fall_within_what_is_allowed_or_by_chance_passes():
    shown = Regressions([str(place) for place in range(40)], [4] * 40, [4] * 30 + [3] * 10, 4)
    assert shown.chance < 0.01
    for found, changes, passes in (
        (shown, {}, False),
        (shown, {"gate_max_regression": 0.0625}, True),
        (Regressions(["one"], [4], [3], 4), {}, True),  # half of all times by chance
        (Regressions(["one"], [4], [0], 4), {"gate_confidence": 0.99}, True),
    ):
        assert (failed(verdict(found, **changes)) == set()) == passes


def test_where_nothing_is_kept_there_is_no_check():
    assert [check.name for check in verdict(None).checks][-1] == "kl"


def test_kept_answers_are_read_as_curation_reads_prompts():
    mail = kept("good", "write to ann@example.org then", text="who is bob@example.org")
    plain = kept("never", "no")
    kinds = {
        setting: as_trained([mail, plain], RoundConfig(personal_data=setting)) for setting in ("keep", "redact", "drop")
    }
    assert kinds["keep"] == [mail, plain]
    assert kinds["drop"] == [plain]
    assert [one.response for one in kinds["redact"]] == ["write to [email] then", "no"]
    assert kinds["redact"][0].messages == [{"role": "user", "content": "who is [email]"}]
