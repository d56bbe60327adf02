"""Adapters on a CPU engine, computed adapter by adapter. Imported by vLLM's workers through --worker-extension-cls.

vLLM's own CPU operations (0.32, lora/ops/torch_ops) read the index -1, which stands for "no adapter", as the last slot:
a request for the base model that shares a batch with others is answered with somebody else's adapter
(vllm-project/vllm, pull requests 48421 and 49656, both open). They also copy an adapter's matrices for every token.
Here each adapter multiplies the rows that are its own, and rows without one are left as they are.
"""

from typing import Any

import torch
from vllm.lora.punica_wrapper import punica_cpu

# A product of few rows is rounded otherwise than one of many; in blocks of one size a row's result does not depend on
# how many others share the batch, and a greedy answer is the same alone and in a crowd.
BLOCK = 16


class GroupedPunicaWrapper(punica_cpu.PunicaWrapperCPU):
    """Multiplies by adapters in linear layers, the only ones that `cli.engine` lets adapters touch."""

    _groups: list[tuple[int, torch.Tensor, torch.Tensor]]  # slot, its rows, and the same padded to whole blocks

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Called by vLLM once for each batch."""
        super().update_metadata(*args, **kwargs)
        indices = self.token_lora_indices
        self._groups = []
        for slot in sorted(set(indices.tolist()) - {-1}):
            rows = (indices == slot).nonzero().squeeze(1)
            padding = rows[:1].expand(-len(rows) % BLOCK)
            self._groups.append((slot, rows, torch.cat([rows, padding])))

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        """y[t, slice] += scale * B @ A @ x[t] with the adapter of row t; x [tokens, in], y [tokens, out].

        A [slots, 1, rank, in] and B [slots, 1, width, rank] for each slice of a merged layer (q, k, v; gate, up).
        """
        x, y = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        for slot, rows, padded in self._groups:
            mine = x[padded].view(-1, BLOCK, x.shape[1])
            start = 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                change = _blockwise(_blockwise(mine, a[slot, 0]), b[slot, 0]).view(-1, width).mul_(scale)
                y[:, start : start + width].index_add_(0, rows, change[: len(rows)])
                start += width


def _blockwise(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x [blocks, BLOCK, in] times weight [out, in] transposed: [blocks, BLOCK, out]."""
    return torch.bmm(x, weight.t().expand(len(x), -1, -1))


class Extension:
    """What vLLM mixes into its worker: nothing. That this module is imported is what counts."""


punica_cpu.PunicaWrapperCPU = GroupedPunicaWrapper  # type: ignore[misc]
