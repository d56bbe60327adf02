"""Threads of a training step: few while the next samples are drawn beside it, more while none are."""

from types import SimpleNamespace

import pytest
import torch
from support.waiting import wait_until

from trainer.loop import claim, work_on
from trainer.threads import threads_of

CONFIG = {"steps": 4, "prompts_per_step": 3, "group_size": 4, "gate_prompts": 8, "gate_samples": 1}


class Noting(torch.nn.Linear):
    """A layer that notes with how many threads it is computed."""

    def forward(self, inputs):
        self.notes.append(torch.get_num_threads())
        return super().forward(inputs)


@pytest.fixture
def model():
    class Layers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(Noting(2, 2) for _ in range(3))

        def forward(self, inputs):
            for layer in self.layers:
                inputs = layer(inputs)
            return inputs

    Noting.notes = []
    before = torch.get_num_threads()
    yield Layers()
    torch.set_num_threads(before)


def work_with(threads, threads_alone):
    return SimpleNamespace(settings=SimpleNamespace(threads=threads, threads_alone=threads_alone))


def test_the_threads_change_between_two_layers_and_on_the_way_back(model):
    torch.set_num_threads(1)
    drawing = iter([True, False, True, True, False, True])  # three layers forwards, then three gradients
    backwards = []
    with threads_of(work_with(1, 2), model, lambda: next(drawing)):
        told = model(torch.ones(1, 2))
        for layer in model.layers:
            layer.weight.register_hook(lambda gradient: backwards.append(torch.get_num_threads()))
        told.sum().backward()
    assert Noting.notes == [1, 2, 1]
    assert backwards == [1, 2, 1]
    assert torch.get_num_threads() == 1
    with pytest.raises(StopIteration):
        next(drawing)  # each was looked at once
    model(torch.ones(1, 2))  # and nothing looks any more


@pytest.mark.parametrize("alone", [None, 1])
def test_without_the_setting_nothing_is_looked_at(model, alone):
    def never():
        raise AssertionError("looked at")

    with threads_of(work_with(1, alone), model, never):
        model(torch.ones(1, 2)).sum().backward()
    assert set(Noting.notes) == {torch.get_num_threads()}


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_round_takes_the_cores_that_the_engine_leaves(site, monkeypatch, algorithm):
    """The draw for step 1 ends while step 0 is trained; the one for step 2 is held until fewer threads train."""
    round_id = site.request(algorithm=algorithm, overlap=True, **CONFIG)
    house = site.open(threads=1, threads_alone=2)
    taken, asked, set_threads = [], [], torch.set_num_threads

    def noted(count):
        taken.append(count)
        set_threads(count)

    def hold(body):
        asked.append(body)
        if len(asked) == 3:
            wait_until(lambda: taken, "two threads while nothing is drawn, then one", lambda seen: seen[-1:] == [1], 60)

    monkeypatch.setattr(torch, "set_num_threads", noted)
    site.gateway.before_sample = hold
    work_on(house, claim(house))
    assert site.round(round_id).step == CONFIG["steps"], site.round(round_id).error
    assert taken[:2] == [2, 1]
    assert torch.get_num_threads() == 1
