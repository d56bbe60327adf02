"""How many threads a training step has, while samples are drawn beside it and while none are.

An engine on the same processor draws for a part of a step only; where people leave it idle as well, its cores are free
for the rest of the step, in the middle of a micro-batch as a rule. So it is looked before each layer, forwards and
backwards. What is summed by more threads is rounded otherwise: with other threads a round that is resumed is not the
same to the last bit.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trainer.work import Work


@contextmanager
def threads_of(work: Work, model: nn.Module, is_drawing: Callable[[], bool]) -> Iterator[None]:
    """Within it `model` is trained with the settings' `threads` while `is_drawing`, else with its `threads_alone`."""
    few, many = work.settings.threads, work.settings.threads_alone
    if many is None or many == few:
        yield
        return

    def look() -> None:
        wanted = few if is_drawing() else many
        if torch.get_num_threads() != wanted:
            torch.set_num_threads(wanted)

    hooks = before_each_layer(model, look)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        torch.set_num_threads(few)


def before_each_layer(model: nn.Module, look: Callable[[], None]) -> list[Any]:
    """Have `look` called before each layer of each stack of layers, and before each one's gradient. Returns hooks, to
    be removed."""

    def forwards(layer: nn.Module, inputs: Any) -> None:
        look()

    def backwards(layer: nn.Module, inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if first.requires_grad:
            first.register_hook(lambda gradient: look())

    layers = [layer for stack in model.modules() if isinstance(stack, nn.ModuleList) for layer in stack]
    return [
        *(layer.register_forward_pre_hook(forwards) for layer in layers),
        *(layer.register_forward_hook(backwards) for layer in layers),
    ]
