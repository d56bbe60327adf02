"""The next step is sampled while this one is trained on: by whom, when, and nothing is mixed up."""

import threading

import pytest
from support.tiny_policy import Reds
from support.waiting import wait_until

from trainer.ahead import Ahead
from trainer.lease import Stopped
from trainer.ledger import Ledger
from trainer.loop import PUBLISHED, REJECTED, claim, work_on

CONFIG = {"steps": 4, "prompts_per_step": 3, "group_size": 4, "micro_batch": 6, "kl_beta": 0.0}


def test_work_is_fetched_once_by_its_key_and_by_no_other():
    ahead = Ahead()
    assert ahead.fetch("a") is None
    ahead.start("a", lambda: 1)
    assert ahead.fetch("b") is None
    assert ahead.fetch("a") is None  # asked for something else, it was given up
    ahead.start("a", lambda: 1)
    assert (ahead.fetch("a"), ahead.fetch("a")) == (1, None)


def test_what_fails_ahead_fails_where_it_is_fetched_and_only_there():
    ahead = Ahead()
    ahead.start("a", lambda: 1 // 0)
    ahead.settle()
    with pytest.raises(ZeroDivisionError):
        ahead.fetch("a")
    ahead.start("b", lambda: 1 // 0)
    assert ahead.fetch("c") is None


@pytest.mark.parametrize(("error", "waited"), [(RuntimeError, True), (Stopped, False), (None, True)])
def test_a_block_ends_with_nothing_under_way_unless_it_is_cut_short(error, waited):
    let_go, ended = threading.Event(), []

    def work():
        let_go.wait(10)
        ended.append(True)

    try:
        with Ahead() as ahead:
            ahead.start("a", work)
            if waited:
                threading.Timer(0.1, let_go.set).start()
            if error:
                raise error("over")
    except (RuntimeError, Stopped):
        pass
    assert bool(ended) is waited
    let_go.set()


def watched(site, algorithm, **changes):
    """A round, and what its training asked the engine for: (version, seed, prompts), in order."""
    asked = []
    site.gateway.before_sample = lambda body: asked.append((body["model"], body["seed"], body["prompts"]))
    round_id = site.request(algorithm=algorithm, **CONFIG | changes)
    house = site.open()
    work_on(house, claim(house))
    assert site.round(round_id).step == CONFIG["steps"], site.round(round_id).error
    return round_id, asked[: CONFIG["steps"]]


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_each_step_but_the_first_is_sampled_by_the_policy_of_one_update_before(site, second_site, algorithm):
    plain, there = watched(site, algorithm, overlap=False)
    ahead, here = watched(second_site, algorithm, overlap=True)
    assert [model for model, _, _ in there] == ["ruminate-v0", *(f"round-{plain}-step-{step}" for step in (1, 2, 3))]
    assert [model for model, _, _ in here] == ["ruminate-v0"] * 2 + [f"round-{ahead}-step-{step}" for step in (1, 2)]
    assert [rest for _, *rest in here] == [rest for _, *rest in there]  # the same prompts with the same seeds
    assert [value for _, value in second_site.metrics(ahead)["steps_behind"]] == [0.0, 1.0, 1.0, 1.0]
    assert [value for _, value in site.metrics(plain)["steps_behind"]] == [0.0] * 4


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_tokens_and_log_probabilities_stay_with_their_prompts(site, second_site, algorithm):
    """A policy that does not move (and so makes no checkpoint) writes the same at each step, whenever it is asked."""
    still = {"learning_rate": 1e-12, "critic_learning_rate": 1e-12}
    plain, _ = watched(site, algorithm, overlap=False, **still)
    ahead, _ = watched(second_site, algorithm, overlap=True, **still)
    before, after = site.metrics(plain), second_site.metrics(ahead)
    for name in ("reward", "malformed_share", "sampled_tokens", "thought_tokens", "response_tokens"):
        told = [[value for _, value in found[name]] for found in (before, after)]
        assert told[1] == pytest.approx(told[0], abs=1e-4), name
    for name in ("is_ratio_min", "is_ratio_max"):  # the trainer finds the engine's log-probabilities where it sampled
        assert [value for _, value in after[name]] == pytest.approx([1.0] * 4, abs=1e-3), name


def test_what_one_update_changed_shows_in_the_importance_ratios_and_is_cut(site):
    fast = {"learning_rate": 2e-2, "stop_kl": 0.0, "stop_malformed": 0.0}
    round_id, _ = watched(site, "grpo", overlap=True, **fast)
    most = [value for _, value in site.metrics(round_id)["is_ratio_max"]]
    assert most[0] == pytest.approx(1.0, abs=1e-3)
    assert min(most[1:]) > 1.1
    assert site.metrics(round_id)["is_cut_share"][0][1] == 0.0
    assert max(value for _, value in site.metrics(round_id)["is_cut_share"]) > 0.0


def test_training_goes_on_while_the_engine_samples(site):
    """The draw for each step to come is held until the step before it is done, which it could not be if it waited."""
    round_id = site.request(**CONFIG, overlap=True)
    house = site.open()
    asked = []

    def hold(body):
        asked.append(body)
        ahead_of = len(asked) - 1  # the first is for step 0, at once
        if 1 <= ahead_of < CONFIG["steps"]:
            late = f"the draw of step {ahead_of} was waited for"
            wait_until(lambda: site.round(round_id).step, late, lambda step: step >= ahead_of, 60)

    site.gateway.before_sample = hold
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(round_id).error


def test_what_is_drawn_ahead_is_scored_beside_the_training_as_well(site, monkeypatch):
    scored, score, note = [], Reds.score, Ledger.step

    def noted(self, pairs):
        scored.append(threading.current_thread().name)
        return score(self, pairs)

    def step(self, number, figures):
        scored.append(number)
        note(self, number, figures)

    monkeypatch.setattr(Reds, "alone", True, raising=False)
    monkeypatch.setattr(Reds, "score", noted)
    monkeypatch.setattr(Ledger, "step", step)
    watched(site, "grpo", overlap=True)
    training = scored[: scored.index(CONFIG["steps"])]
    assert set(training) == {"scoring", 1, 2, 3}, training


def test_what_an_engine_could_not_sample_ahead_is_tried_once_more(site):
    round_id = site.request(**CONFIG, overlap=True)
    house = site.open(gateway_patience=0.1)
    answer, failed = site.gateway.answer, []

    def refuse(method, path, body, authorization):
        if path == "/internal/sample" and body["model"].endswith("step-1") and not failed:
            failed.append(True)
            return 500, {"error": {"message": "out of memory"}}
        return answer(method, path, body, authorization)

    site.gateway.answer = refuse
    assert work_on(house, claim(house)) == -1  # to be claimed again
    assert "out of memory" in site.round(round_id).error
    assert site.round(round_id).step == 2
    again = site.open()
    assert work_on(again, claim(again)) in (PUBLISHED, REJECTED), site.round(round_id).error
