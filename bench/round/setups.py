"""What both sides train: the model, the sizes of a step, and what ours are told beside them. Plain data, but `policy`.

A policy is the embedded one, or one of random weights with its tokenizer, of which nothing can be learnt but whose
steps cost what steps cost. It never writes the tags of a thought, so that it is asked for none: then what happens to
end by itself is well-formed and gets a score, and what is cut off is not.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cli.profiles import TINY, Profile

EMBEDDED = Path(TINY.base_model)
NO_GATE = {"gate_prompts": 4, "gate_samples": 1, "gate_regressions": 0, "lookout_every": 0}
"""The other side has neither gate nor lookout: ours are as small as they can be, and are not timed."""
UNBRAKED = {"stop_kl": 0.0, "stop_malformed": 0.0}


@dataclass(frozen=True)
class Setup:
    """One comparison. `shape`: of random weights; None: the embedded policy. `heldout`: prompts; 0: nothing to learn.

    `every`: steps between the adapters that are kept and asked about held-out prompts. `goal`: how many times as many
    samples a second ours should have. `dtype`: of the weights, in engine, training and TRL alike.
    """

    name: str
    steps: int
    prompts_per_step: int
    group_size: int
    max_completion_tokens: int
    micro_batch: int
    every: int
    heldout: int
    samples: int
    goal: float
    shape: dict[str, int] | None = None
    dtype: str = "float32"

    def config(self, seed: int, **more: Any) -> dict[str, Any]:
        """Of our round, as its row has it."""
        names = ("steps", "prompts_per_step", "group_size", "max_completion_tokens", "micro_batch", "dtype")
        sizes = {name: getattr(self, name) for name in names}
        return sizes | NO_GATE | UNBRAKED | {"rlhf": self.thoughtless, "seed": seed} | more

    @property
    def thoughtless(self) -> bool:
        """Whether the policy is asked for a response alone."""
        return self.shape is not None


_100M = Setup(
    "100m", 4, 2, 8, 256, 8, every=4, heldout=0, samples=0, goal=1.5,
    shape={"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 12,
           "num_key_value_heads": 4, "head_dim": 64},
)  # fmt: skip
SETUPS = {
    one.name: one
    for one in (
        Setup("tiny", 20, 8, 8, 256, 16, every=4, heldout=64, samples=4, goal=1.0),
        _100M,
        replace(_100M, name="100m-bf16", dtype="bfloat16"),
    )
}
SMALLEST = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
SMOKE = {
    "tiny": replace(SETUPS["tiny"], steps=3, prompts_per_step=2, group_size=4, every=2, heldout=8, samples=2),
    **{
        name: replace(
            SETUPS[name], steps=3, prompts_per_step=4, every=3,
            shape=SMALLEST | {"num_key_value_heads": 2, "head_dim": 32},
        )
        for name in ("100m", "100m-bf16")
    },
}  # fmt: skip
"""Minutes: shows that it runs, and nothing more; the others are not of 100 M parameters either."""


def policy(setup: Setup, folder: Path) -> Path:
    """The folder of the policy; one of random weights is made in `folder`."""
    if setup.shape is None:
        return EMBEDDED
    import torch
    from transformers import Qwen3ForCausalLM

    made = folder / "policy"
    if not made.is_dir():
        aside = folder / ".policy.aside"
        shutil.rmtree(aside, ignore_errors=True)
        torch.manual_seed(0)
        model: Any = Qwen3ForCausalLM(shaped(setup.shape))
        model.to(torch.bfloat16).save_pretrained(aside)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
            shutil.copyfile(EMBEDDED / name, aside / name)
        aside.rename(made)
    return made


def shaped(shape: Mapping[str, int]) -> Any:
    """The embedded policy's configuration in another shape."""
    from transformers import Qwen3Config

    told = json.loads((EMBEDDED / "config.json").read_text(encoding="utf-8"))
    del told["layer_types"]  # one for each layer; the class fills them in
    return Qwen3Config(**told | shape)


def profile(base: Path, dtype: str = "float32") -> Profile:
    """The tiny profile on this policy."""
    return replace(TINY, base_model=str(base), engine=replace(TINY.engine, dtype=dtype))


def parameters(base: Path) -> int:
    """How many numbers a policy has."""
    from safetensors import safe_open

    count = 0
    for file in base.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118  it is no mapping
                count += _product(weights.get_slice(name).get_shape())
    return count


def _product(sizes: list[int]) -> int:
    found = 1
    for size in sizes:
        found *= size
    return found
