"""What a round's training takes of memory is given back before its gate, and the probe takes what there is."""

import gc
import weakref

import pytest

import trainer.loop
import trainer.policy
from trainer.loop import PUBLISHED, REJECTED, claim, work_on
from trainer.probe import device_for

GIB = 2**30


def test_the_policy_under_training_is_gone_when_the_gate_begins(site, monkeypatch):
    load, judge, policies, left = trainer.policy.load_policy, trainer.loop.judge, [], []

    def loaded(*arguments):
        model = load(*arguments)
        policies.append(weakref.ref(model))
        return model

    def judged(*arguments):
        left.extend(policy() for policy in policies)
        return judge(*arguments)

    monkeypatch.setattr(trainer.policy, "load_policy", loaded)
    monkeypatch.setattr(trainer.loop, "judge", judged)
    site.request(steps=1, gate_prompts=4, gate_samples=1)
    house = site.open()
    gc.disable()  # whether it comes by itself in time is chance
    try:
        assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(1).error
    finally:
        gc.enable()
    assert left == [None]


@pytest.mark.parametrize(("there", "free", "device"), [(True, 20, "cuda"), (True, 18, "cpu"), (False, 99, "cpu")])
def test_a_probe_goes_where_four_billion_weights_have_room(monkeypatch, there, free, device):
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: None)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (free * GIB, 80 * GIB))
    assert device_for(4_000_000_000) == device
