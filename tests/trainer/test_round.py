"""A whole round, small and real: sampled over HTTP, trained by TRL, judged, published or put away."""

import json
import re
import time
from pathlib import Path

from support.tiny_policy import Reds

from trainer import loop
from trainer.files import sha256
from trainer.ledger import Ledger
from trainer.loop import AGAIN, FAILED, PUBLISHED, REJECTED, claim, work_on
from trainer.tidy import sweep

LEARNS = {"steps": 14, "prompts_per_step": 6, "group_size": 8, "micro_batch": 48, "learning_rate": 1e-2, "kl_beta": 0.0}
# One word of ten for all of them: far from the base, and all the same.
LEARNS |= {"gate_max_kl": 10.0, "gate_max_repetition": 1.0, "gate_max_malformed": 1.0}


class Constant:
    """A judge that sees no difference."""

    def score(self, pairs):
        return [0.0] * len(pairs)


def test_a_round_learns_what_is_rewarded_and_the_next_one_continues_its_adapter(site):
    first = site.request(**LEARNS)
    house = site.open()
    assert work_on(house, claim(house)) == PUBLISHED, site.round(first).verdict or site.round(first).error
    row, figures = site.round(first), site.metrics(first)
    assert (row.state, row.phase, row.step, row.error) == ("published", "publish", 14, None)
    rewards = [value for _, value in figures["reward_well_formed"]]
    assert sum(rewards[-4:]) > sum(rewards[:4]) + 0.4
    assert row.verdict["publish"]
    assert row.verdict["judge"]["low"] > 0
    assert row.verdict["kl"] > 0.1  # and by how much it left the base is measured
    assert {"entropy", "malformed_share", "thought_tokens", "response_tokens", "is_ratio_mean"} <= set(figures)
    assert {"seconds_sample", "seconds_score", "seconds_train", "is_cut_share", "reward_std"} <= set(figures)

    live = site.live()
    manifest = json.loads((Path(live.path) / "manifest.json").read_text())
    assert (live.name, live.parent_id, live.round_id) == ("v1", 0, first)
    assert manifest["files"] == {name: sha256(Path(live.path) / name) for name in manifest["files"]}
    assert manifest["prompts"] == {"recorded": 0, "mix": 84}
    assert [sorted(sample) for sample in manifest["samples"]] == [["after", "before", "prompt"]] * 4
    assert (Path(live.path) / "README.md").read_text().startswith("---\nlibrary_name: peft")
    assert not (site.settings.home / "rounds" / str(first) / "states").exists()
    assert site.gateway.pruned == [10]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in Path(live.path).iterdir())

    site.gateway.answer("POST", "/internal/adapters", {"name": "ruminate-v1", "path": live.path}, "Bearer service")
    second = site.request(steps=1)
    ended = work_on(house, claim(house))
    assert ended in (PUBLISHED, REJECTED), site.round(second).error
    assert site.round(second).parent_checkpoint_id == live.id
    assert site.metrics(second)["reward_well_formed"][0][1] > rewards[0] + 0.1  # it started where the first ended
    assert site.metrics(second)["kl"][0][1] > 0.01  # and is measured from the base


def test_every_step_samples_under_a_new_name_and_at_most_two_are_loaded(site):
    site.request(steps=4)
    house = site.open()
    loaded = []
    site.gateway.before_sample = lambda body: loaded.append((body["model"], len(site.gateway.loaded)))
    work_on(house, claim(house))
    steps = [name for name, _ in loaded if not name.startswith("ruminate")]
    assert loaded[0][0] == "ruminate-v0"
    assert steps[:3] == ["round-1-step-1", "round-1-step-2", "round-1-step-3"]
    assert len(set(site.gateway.history)) == len(site.gateway.history)
    assert max(count for _, count in loaded) <= 2
    assert not site.gateway.loaded


def test_a_candidate_that_only_the_reward_model_likes_is_put_away_and_the_watch_rings(site, caplog):
    round_id = site.request(**LEARNS)
    house = site.open()
    house.judge = Constant()
    assert work_on(house, claim(house)) == REJECTED
    row = site.round(round_id)
    assert row.state == "rejected"
    assert row.verdict["reward"]["low"] > 0
    assert "second judge" in row.verdict["words"]
    (alert,) = [one for one in row.verdict["watch"]["alerts"] if one["name"] == "parted"]
    assert [sorted(one) for one in alert["examples"]] == [["after", "before", "prompt"]] * 3
    assert alert["words"].startswith("reward rose by +")
    assert re.search(r"the second judge's score by [+-]0\.0\d$", alert["words"])  # but for a malformed answer or two
    assert f"round {round_id}: the watch for reward hacking rings, parted: {alert['words']}" in caplog.messages
    assert site.live().name == "v0"
    assert site.checkpoint(row.candidate_checkpoint_id).state == "rejected"


def test_a_round_that_fails_twice_says_why_and_the_trainer_lives_on(site):
    class Broken(Reds):
        def score(self, pairs):
            raise ArithmeticError("the reward model is out of order")

    failed = site.request()
    house = site.open()
    house.reward = Broken()
    assert work_on(house, claim(house)) == AGAIN
    assert site.round(failed).state == "running"
    assert site.round(failed).error == "tried once more after ArithmeticError: the reward model is out of order"
    assert work_on(house, claim(house)) == FAILED
    assert site.round(failed).state == "failed"
    assert site.round(failed).error == "ArithmeticError: the reward model is out of order"
    assert claim(house) is None
    assert sweep(house.database, house.gateway, site.settings.home) == [failed]
    left = sorted(path.name for path in (site.settings.home / "rounds" / str(failed)).iterdir())
    assert left == ["plan.json", "prompts.json"]
    assert sweep(house.database, house.gateway, site.settings.home) == []
    house.reward = Reds()
    site.request(steps=1)
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED)


def test_a_round_that_failed_once_goes_on_from_its_last_step_and_forgets_the_failure(site):
    class FailsAt(Reds):
        calls = 0

        def score(self, pairs):
            self.calls += 1
            if self.calls == 3:
                raise ConnectionError("the reward model is away")
            return super().score(pairs)

    round_id = site.request(steps=4)
    house = site.open()
    house.reward = FailsAt()
    assert work_on(house, claim(house)) == AGAIN
    assert site.round(round_id).step == 2
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED)
    row = site.round(round_id)
    assert (row.step, row.attempts, row.error) == (4, 2, None)
    assert house.reward.calls == 3 + 2 + 1  # the third step again, the fourth, and the gate


def test_a_heartbeat_that_comes_when_a_round_has_just_been_ended_takes_nothing_from_it(site, monkeypatch):
    site.request(steps=1)
    house = site.open(lease_seconds=0.4)
    monkeypatch.setattr(loop, "make_room", lambda work: time.sleep(0.5))  # five heartbeats
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED)


def test_a_heartbeat_tells_that_somebody_else_has_ended_the_round(site):
    site.request()
    house = site.open()
    work = site.begin(house)
    assert work.ledger.heartbeat(8)
    work.ledger.failed("it was given up")
    assert not Ledger(house.database, work.round_id, house.owner).heartbeat(8)


def test_a_round_with_a_wrong_setting_fails_at_once(site):
    round_id = site.request(learning_speed=1)
    house = site.open()
    assert work_on(house, claim(house)) == FAILED
    assert "learning_speed: no setting of a round" in site.round(round_id).error


def test_an_engine_that_restarts_in_the_middle_gets_the_adapter_again(site):
    site.request(steps=2)
    house = site.open()
    restarts = []

    def restart(name):
        if not restarts:
            restarts.append(name)
            site.gateway.busy = 1
            site.gateway.lose_adapters()

    site.gateway.after_load = restart
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED)
    assert site.gateway.history[:3] == ["round-1-step-1", "round-1-step-1", "round-1-step-2"]


def test_what_a_killed_trainer_was_writing_goes_once_its_round_has_ended(site):
    round_id = site.request()
    house = site.open()
    work = site.begin(house)
    name, home = work.ledger.reserve(work.parent.id, "adapter").name, site.settings.home
    asides = [work.folder / ".candidate.aside", home / "checkpoints" / f".{name}.aside"]
    of_others = home / "checkpoints" / ".v99.aside"  # nothing is known of it
    somebodys_copy = home / "rounds" / f"{round_id}.bak" / "states"
    for folder in (*asides, of_others, somebodys_copy):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    assert sweep(house.database, house.gateway, home) == []
    assert all(folder.exists() for folder in asides)
    work.ledger.failed("it was given up")
    assert sweep(house.database, house.gateway, home) == [round_id]
    assert not any(folder.exists() for folder in asides)
    assert of_others.exists()
    assert somebodys_copy.exists()
