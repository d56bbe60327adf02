"""The CPU engine's adapter arithmetic, against the plain formula for each row."""

import importlib.util
from types import SimpleNamespace

import pytest
from support.components import require_component


@pytest.mark.parametrize("slots", [[-1] * 5, [1] * 20, [0, -1, 2, 2, 1, -1, 0] * 9, [2]], ids=str)
def test_each_row_gets_its_own_adapter_and_a_row_without_one_stays_as_it_is(slots: list[int]) -> None:
    require_component(importlib.util.find_spec("vllm") is not None, "vLLM")
    import torch

    from cli.cpu_lora import GroupedPunicaWrapper

    torch.manual_seed(0)
    rows, rank, wide, widths, scale = len(slots), 4, 32, (16, 8, 8), 0.5
    a = tuple(torch.randn(3, 1, rank, wide) for _ in widths)
    b = tuple(torch.randn(3, 1, width, rank) for width in widths)
    x, before = torch.randn(rows, wide), torch.randn(rows, sum(widths))
    wrapper = GroupedPunicaWrapper(64, 64, "cpu")
    mapping = SimpleNamespace(index_mapping=[s + 1 for s in slots], prompt_mapping=[1], is_prefill=True)
    wrapper.update_metadata(mapping, [1, 2, 3], 3, 100)
    after = before.clone()
    wrapper.add_lora_linear(after, x, a, b, scale, widths)
    for row, slot in enumerate(slots):
        change = torch.zeros(sum(widths))
        if slot >= 0:
            change = torch.cat([scale * (bs[slot, 0] @ (as_[slot, 0] @ x[row])) for as_, bs in zip(a, b, strict=True)])
        torch.testing.assert_close(after[row], before[row] + change)
        assert slot >= 0 or torch.equal(after[row], before[row])
