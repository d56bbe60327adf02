"""Training that ends before its last step: why, with which weights, and what becomes of the round."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from support.tiny_policy import Reds

from trainer.brakes import Brakes, Enough
from trainer.ledger import Ledger
from trainer.lookout import Look, turned_down
from trainer.loop import PUBLISHED, REJECTED, claim, work_on
from trainer.round_config import RoundConfig
from trainer.states import trained


def pressed(config: RoundConfig, steps: list[dict[str, float]], known=None) -> tuple[int, str] | None:
    """At which step the brakes bit, and why."""
    brakes = Brakes(config, known or {})
    for step, figures in enumerate(steps, 1):
        try:
            brakes(step, figures)
        except Enough as enough:
            return step, str(enough)
    return None


def test_a_round_as_they_are_runs_to_its_end():
    steps = [{"kl": 0.002 * n, "malformed_share": 0.02, "seconds_step": 12.0, "sampled_tokens": 6000.0, "loss": 0.1}
             for n in range(35)]  # fmt: skip
    assert pressed(RoundConfig(), steps) is None


def test_the_minutes_of_all_attempts_count_together():
    config = RoundConfig(max_minutes=1.0)
    assert pressed(config, [{"seconds_step": 25.0}] * 9) == (
        3, "its 1 minutes of training are used up (max_minutes)",
    )  # fmt: skip
    known = {"seconds_step": [(1, 25.0), (2, 25.0), (3, 25.0)]}
    brakes = Brakes(config, known)
    brakes(2, {"seconds_step": 25.0})  # done again after a restart; the third was of the attempt that died
    with pytest.raises(Enough):
        brakes(3, {"seconds_step": 25.0})


def test_the_tokens_that_were_sampled_count():
    found = pressed(RoundConfig(max_sampled_tokens=1000), [{"sampled_tokens": 300.0}] * 9)
    assert found == (4, "1200 tokens were sampled, and 1000 may be (max_sampled_tokens)")


def test_what_rises_too_far_ends_it_and_what_was_high_from_the_start_does_not():
    config = RoundConfig(stop_malformed=0.3, stop_kl=0.0)
    rising = [0.1] * 5 + [0.2, 0.3, 0.6, 0.6, 0.6] + [0.6] * 10
    assert pressed(config, [{"malformed_share": each, "kl": 9.0 * n} for n, each in enumerate(rising)]) == (
        10, "the share of malformed outputs rose from 0.100 to 0.460 (stop_malformed = 0.3)",
    )  # fmt: skip
    assert pressed(config, [{"malformed_share": 0.7}] * 20) is None
    drifting = [{"kl": 0.1 * step} for step in range(34)]
    found = pressed(RoundConfig(stop_kl=1.0), drifting)
    assert found == (16, "the divergence from the reference rose from 0.200 to 1.300 (stop_kl = 1)")


def test_one_bad_step_is_no_reason():
    steps = [{"malformed_share": 0.02}] * 12 + [{"malformed_share": 1.0}] + [{"malformed_share": 0.02}] * 12
    assert pressed(RoundConfig(), steps) is None


def test_a_loss_that_is_no_number_ends_it():
    assert pressed(RoundConfig(), [{"loss": 0.1}, {"loss": math.nan}]) == (2, "the loss of step 2 is nan")


def test_the_last_step_is_never_cut():
    assert pressed(RoundConfig(steps=2, max_minutes=0.1), [{"seconds_step": 1.0}, {"seconds_step": 100.0}]) is None


def looks(*means: tuple[float, float], spread: float = 0.1) -> list[Look]:
    dice = np.random.default_rng(0)
    prompts = dice.normal(0, 1, 16)

    def scores(mean: float) -> list[float]:
        return list(prompts + mean + dice.normal(0, spread, 16))

    return [Look(10 * place, scores(reward), scores(judge)) for place, (reward, judge) in enumerate(means)]


def test_a_judge_who_turns_down_twice_ends_it_while_reward_still_rises():
    found = turned_down(looks((0.0, 0.0), (1.0, 0.8), (2.0, 0.3), (3.0, 0.1)))
    assert found is not None
    assert "the second judge fell from" in found
    assert "after 10 updates" in found
    assert turned_down(looks((0.0, 0.0), (1.0, 0.8), (2.0, 0.3))) is None  # once is not enough
    assert turned_down(looks((0.0, 0.0), (1.0, 0.8), (2.0, 0.3), (3.0, 0.9))) is None


def test_held_out_reward_that_falls_ends_it_too():
    assert "the reward model fell" in (turned_down(looks((0.5, 0.0), (1.0, 0.0), (0.2, 0.1), (0.1, 0.2))) or "")


def test_chance_seldom_does():
    def alarm(seed: int) -> bool:
        dice = np.random.default_rng(seed)
        steady = [Look(10 * n, *(list(dice.normal(0.0, 0.5, 16)) for _ in range(2))) for n in range(4)]
        return turned_down(steady) is not None

    assert sum(alarm(seed) for seed in range(500)) <= 3  # of 500 rounds that learn nothing at all


def test_gradients_that_are_no_number_end_it_and_so_does_the_last_step():
    found = pressed(RoundConfig(steps=2), [{"loss": 0.1, "grad_norm": 1.0}, {"loss": 0.1, "grad_norm": math.inf}])
    assert found == (2, "the norm of the gradients of step 2 is inf")


def test_a_round_that_breaks_in_its_first_step_has_nothing_to_judge(tmp_path):
    def run(states, saved):
        raise Enough("the loss of step 1 is nan", broken=True)

    work = SimpleNamespace(folder=tmp_path, config=RoundConfig(), round_id=1)
    with pytest.raises(RuntimeError, match="before its first state was saved: the loss of step 1 is nan"):
        trained(work, run)


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_what_breaks_training_sends_the_state_before_to_the_gate(site, monkeypatch, algorithm):
    from trl import GRPOTrainer

    import trainer.ppo

    trl_loss, our_loss, updates = GRPOTrainer._compute_loss, trainer.ppo.policy_loss, []

    def of_ppo(*arguments):
        updates.append(1)
        return our_loss(*arguments) * (math.nan if len(updates) > 4 else 1.0)  # two micro-batches an update

    def of_trl(trainer, *arguments):
        return trl_loss(trainer, *arguments) * (math.nan if trainer.state.global_step == 2 else 1.0)

    monkeypatch.setattr(GRPOTrainer, "_compute_loss", of_trl)
    monkeypatch.setattr("trainer.ppo.policy_loss", of_ppo)
    round_id = site.request(algorithm=algorithm, steps=6)
    house = site.open()
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(round_id).error
    stopped = site.round(round_id).verdict["stopped"]
    assert stopped == {"step": 2, "updates": 2, "why": "the loss of step 3 is nan"}


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_budget_ends_training_and_the_gate_judges_what_there_is(site, monkeypatch, algorithm):
    round_id = site.request(algorithm=algorithm, steps=6, max_sampled_tokens=300)
    step = Ledger.step

    def counted(ledger, number, figures):
        assert figures["sampled_tokens"] > 12  # of 12 samples
        step(ledger, number, dict(figures) | {"sampled_tokens": 100.0})

    monkeypatch.setattr(Ledger, "step", counted)  # so that it is known when the budget is spent
    house = site.open(save_every=50)  # what it ends with is saved in any case
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(round_id).error
    found = site.round(round_id)
    done = 3
    assert found.verdict["stopped"] == {
        "step": done, "updates": done, "why": "300 tokens were sampled, and 300 may be (max_sampled_tokens)",
    }  # fmt: skip
    assert f"(training ended after {done} of 6 steps: 300 tokens" in found.verdict["words"]
    assert found.step == done
    assert max(step for step, _ in site.metrics(round_id)["reward"]) == 3


class SoursAfter(Reds):
    """Likes the policy less from the so-manieth call on, as a judge does whose weakness is being used."""

    def __init__(self, calls: int) -> None:
        self.calls, self.left = 0, calls

    def score(self, pairs):
        self.calls += 1
        return [one - (5.0 if self.calls > self.left else 0.0) for one in super().score(pairs)]


@pytest.mark.parametrize("algorithm", ["grpo", "dpo"])
def test_a_judge_who_turns_down_gets_the_weights_back_that_it_liked(site, algorithm):
    round_id = site.request(algorithm=algorithm, steps=9, lookout_every=2, lookout_samples=2, dpo_min_valid=2)
    house = site.open()
    house.judge = SoursAfter(2)  # likes the weights after 0 and 2 updates
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(round_id).error
    stopped = site.round(round_id).verdict["stopped"]
    assert "the second judge fell from" in stopped["why"]
    assert stopped["step"] == 7  # two looks later, after 4 and after 6 updates, which the step after them takes
    folder = site.settings.home / "rounds" / str(round_id)
    seen = json.loads((folder / "looks.json").read_text())
    assert [one["updates"] for one in seen] == [0, 2, 4, 6]
    means = [sum(one["judge"]) for one in seen]
    assert stopped["updates"] == (2 if means[1] > means[0] else 7)  # no look at the round's own weights was better
    assert len(site.metrics(round_id)["lookout_judge"]) == 4
    assert not (folder / "best").exists()
