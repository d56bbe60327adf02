"""The CPU engine's waits: vLLM finds the plugin, and what it replaces is what vLLM waits with."""

import importlib.util
import inspect
from importlib.metadata import entry_points

import pytest
from support.components import require_component


def test_vllm_finds_the_plugin_and_rests_where_it_was_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    require_component(importlib.util.find_spec("vllm") is not None, "vLLM")
    from vllm.distributed.device_communicators import shm_broadcast
    from vllm.platforms import current_platform

    monkeypatch.setattr(shm_broadcast, "sched_yield", busy := shm_broadcast.sched_yield)  # put back afterwards
    [plugin] = [p for p in entry_points(group="vllm.general_plugins") if p.name == "ruminate_cpu_waiting"]
    plugin.load()()
    assert (shm_broadcast.sched_yield is not busy) == current_platform.is_cpu()
    assert "sched_yield()" in inspect.getsource(shm_broadcast.SpinCondition.wait)
