"""Rewards beyond one classifier: behind an endpoint, of several, from a file. Judges and rules are tested beside it."""

import json
import math

import pytest
from support.reward_server import PAIRS, says
from support.tiny_policy import make_classifier, prompt

from trainer.ensemble import Ensemble, combined, standardised
from trainer.llm_judge import LlmJudge, Prices
from trainer.remote_reward import EndpointClassifier, EndpointScorer
from trainer.reward_file import read_reward_file
from trainer.rewards import SequenceClassifier
from trainer.settings import BadSetting, read_settings

# -- behind an endpoint


def test_an_endpoint_scores_as_the_classifier_in_this_process(policy, tmp_path, serve):
    import torch
    from transformers import AutoModelForSequenceClassification

    path = make_classifier(policy, tmp_path / "reward", seed=5)
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()

    def classify(where, body):
        """What vLLM's endpoint does with token ids and without activation."""
        assert (where, body["model"], body["use_activation"]) == ("/classify", "skywork", False)
        with torch.inference_mode():
            data = [
                {"index": at, "label": None, "num_classes": 1, "probs": model(torch.tensor([ids])).logits[0].tolist()}
                for at, ids in enumerate(body["input"])
            ]
        return 200, {}, {"data": data[::-1]}

    server = serve(classify)
    far = EndpointClassifier(server.url, "skywork", path, batch=3)
    assert far.score(PAIRS) == pytest.approx(SequenceClassifier(path).score(PAIRS), abs=1e-5)
    assert sorted(len(body["input"]) for body in server.bodies) == [1, 3, 3]
    long = [({"role": "user", "content": "tell red cat " * 50}, "red fox")]
    EndpointClassifier(server.url, "skywork", path, max_tokens=16).score([([long[0][0]], long[0][1])])
    assert len(server.bodies[-1]["input"][0]) == 16
    far.score([([{"role": "user", "content": "tell red cat " * 900}], "red fox")])
    assert len(server.bodies[-1]["input"][0]) == 512  # the model's own places, as in this process


def test_an_endpoint_with_two_labels_is_refused(policy, tmp_path, serve):
    path = make_classifier(policy, tmp_path / "reward", seed=5)
    server = serve(lambda *_: (200, {}, {"data": [{"index": 0, "probs": [0.1, 0.9]}]}))
    with pytest.raises(ValueError, match="1 of them with more than one score"):
        EndpointClassifier(server.url, "x", path).score(PAIRS[:1])


def test_a_score_endpoint_gets_question_and_response_as_two_texts(serve):
    def score(where, body):
        assert (where, body["model"], body["use_activation"]) == ("/score", "crossed", False)
        both = zip(body["queries"], body["documents"], strict=True)
        data = [{"index": at, "score": len(asked) + 100 * len(said)} for at, (asked, said) in enumerate(both)]
        return 200, {}, {"data": data[::-1]}

    server = serve(score)
    talk = [*prompt(1), {"role": "assistant", "content": "blue"}, {"role": "user", "content": "why?"}]
    pairs = [*PAIRS, (talk, "so")]
    found = EndpointScorer(server.url, "crossed", batch=3).score(pairs)
    assert found[:7] == [len(messages[0]["content"]) + 100 * len(said) for messages, said in PAIRS]
    assert sorted(len(body["documents"]) for body in server.bodies) == [2, 3, 3]
    last = next(body for body in server.bodies if "so" in body["documents"])
    assert last["queries"][-1] == f"user: {talk[0]['content']}\n\nassistant: blue\n\nuser: why?"


def test_a_score_endpoint_that_leaves_one_out_is_an_error(serve):
    server = serve(lambda *_: (200, {}, {"data": [{"index": 0, "score": 1.0}]}))
    with pytest.raises(ValueError, match="was given 7 conversations and returned 1 scores"):
        EndpointScorer(server.url, "crossed").score(PAIRS)


# -- several


class Fixed:
    def __init__(self, *scores, **figures):
        self.scores, self.figures = list(scores), figures

    def score(self, pairs):
        return self.scores[: len(pairs)]


@pytest.mark.parametrize(("how", "expected"), [("mean", 2.0), ("minimum", 1.0), ("mean_minus_deviation", 1.0)])
def test_scores_are_combined_by_hand(how, expected):
    assert combined([1.0, 3.0], how) == expected


def test_an_ensemble_brings_its_members_to_one_scale_and_says_how_far_apart_they_are():
    assert standardised([10.0, 30.0]) == [-1.0, 1.0]
    assert standardised([5.0, 5.0]) == [0.0, 0.0]
    agree = Ensemble([Fixed(1.0, 3.0), Fixed(100.0, 900.0, judge_cost=0.5)], "mean")
    assert agree.score(PAIRS[:2]) == [-1.0, 1.0]
    assert agree.figures == {"reward_disagreement": 0.0, "judge_cost": 0.5}
    judged = Ensemble([Fixed(1.0, 3.0, judge_calls=2.0), Fixed(1.0, 9.0, judge_calls=1.0, verified_share=0.5)], "mean")
    judged.score(PAIRS[:2])
    assert judged.figures == {"reward_disagreement": 0.0, "judge_calls": 3.0, "verified_share": 0.5}
    apart = Ensemble([Fixed(1.0, 3.0), Fixed(900.0, 100.0)], "minimum")
    assert apart.score(PAIRS[:2]) == [-1.0, -1.0]
    assert apart.figures["reward_disagreement"] == 1.0
    assert Ensemble([Fixed(), Fixed()], "mean").score([]) == []
    with pytest.raises(ValueError, match="needs two or more"):
        Ensemble([Fixed()], "mean")


def test_a_member_that_gives_an_answer_no_number_is_still_heard_on_the_others():
    told = standardised([10.0, math.nan, 30.0])
    assert told[::2] == [-1.0, 1.0]
    assert math.isnan(told[1])
    for how in ("mean", "minimum", "mean_minus_deviation"):
        both = Ensemble([Fixed(*[0.0, 2.0] * 3), Fixed(900.0, 100.0, math.nan, 100.0, 900.0, 500.0)], how)
        found = both.score(PAIRS[:6])
        assert [math.isnan(score) for score in found] == [False, False, True, False, False, False]
        assert both.figures["reward_disagreement"] > 0
        assert how != "mean" or found[5] == pytest.approx(0.5)  # 1 deviation above the one mean, at the other


def test_a_null_for_a_score_is_no_number(policy, tmp_path, serve):
    path = make_classifier(policy, tmp_path / "reward", seed=5)
    server = serve(lambda where, _: (200, {}, {"data": [{"index": 0, "probs": [None], "score": None}]}))
    for model in (EndpointClassifier(server.url, "x", path), EndpointScorer(server.url, "x")):
        assert math.isnan(model.score(PAIRS[:1])[0])
        assert model.title == f"x at {server.url}"


# -- the file


FILE = """
combine = "mean_minus_deviation"
[[models]]
kind = "classifier"
model = "{one}"
[[models]]
kind = "classifier"
model = "{two}"
[rules.colours]
kind = "regex"
pattern = "red"
weight = 2.0
"""


def test_a_rounds_reward_may_be_a_file_and_what_its_judges_cost_is_counted(site, policy, tmp_path, serve):
    from trainer.house import House
    from trainer.loop import PUBLISHED, REJECTED, claim, work_on

    one, two = (make_classifier(policy, tmp_path / f"m{seed}", seed) for seed in (5, 6))
    file = tmp_path / "reward.toml"
    file.write_text(FILE.format(one=one, two=two))
    mix = tmp_path / "mix.jsonl"
    lines = [json.dumps({"messages": prompt(n), "source": "colours" if n % 2 else "chat"}) + "\n" for n in range(200)]
    mix.write_text("".join(lines))
    site.request(steps=2)
    server = serve(lambda _, body: says(json.dumps({"score": 1 + body["messages"][1]["content"].count("red") % 10})))
    judge = Ensemble(
        [LlmJudge(server.url, name, tmp_path / "judge.db", prices=Prices(prompt=2.0)) for name in ("m", "n")], "mean"
    )
    house = House(site.settings.model_copy(update={"reward_model": str(file), "base_mix": str(mix)}), judge=judge)
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(1).error
    figures = site.metrics(1)
    house.close()
    assert {"reward_disagreement", "verified_share", "verified_passed"} <= set(figures)
    assert all(0 < share < 1 for _, share in figures["verified_share"])
    assert all(apart > 0 for _, apart in figures["reward_disagreement"])
    spent, calls = site.round(1).verdict["spent"], len(server.bodies)
    assert calls > 0
    assert spent == {"judge_calls": calls, "judge_cost": pytest.approx(calls * 1000 * 2.0 / 1e6)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models = 3\n", "models = 3"),
        ("combine = 'best'\n[[models]]\nkind='classifier'\nmodel='x'\n", "combine = 'best'"),
        ("[[models]]\nkind='oracle'\n", "oracle"),
        ("[[models]]\nkind='classifier'\nmodel='x'\n[rules.a]\nkind='regex'\npattern='('\n", "no regular expression"),
        ("[[models]]\nkind='classifier'\nmodel='x'\n[rules.a]\nkind='json_schema'\nschema={type='objekt'}\n",
         "no JSON schema: 'objekt'"),
        ("[[models]]\nkind='judge'\nmodel='m'\nurl='api.example.org/v1'\n", "url = 'api.example.org/v1': .*https"),
        ("= 1", "no TOML"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_said_at_the_start(tmp_path, text, told):
    file = tmp_path / "reward.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=told):
        read_reward_file(str(file))
    with pytest.raises(BadSetting, match="RUMINATE_TRAINER_REWARD_MODEL: .*reward.toml"):
        read_settings(reward_model=str(file))


def test_a_key_that_is_not_there_is_said(tmp_path):
    file = tmp_path / "reward.toml"
    file.write_text("[[models]]\nkind='judge'\nurl='http://x/v1'\nmodel='m'\nkey_variable='NOT_SET_ANYWHERE'\n")
    with pytest.raises(ValueError, match="no NOT_SET_ANYWHERE"):
        read_reward_file(str(file)).build(tmp_path, [], [])
