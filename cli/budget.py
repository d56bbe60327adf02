"""What a house needs of the card (or of main memory), part by part, and which setting makes fit what does not.

Arithmetic on plain values: `cli.sizing` reads them from models, settings and the machine, and shows the result. An
estimate: weights, KV cache, adapters and optimizer are counted, working memory is bounded from above.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

GIB = 2**30
COUNTED = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose weights `from_config` can count; of others only a size on disk tells."""
BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}

GPU_PROCESS = 0.5  # GiB: a CUDA context and what libraries keep; one for the engine, one for the trainer
GPU_ENGINE_WORK = 1.0  # GiB: an engine's activations and captured graphs, beside its KV cache
CPU_ENGINE = 2.0  # GiB: the three processes of a CPU engine, without weights and KV cache, as measured
CPU_TRAINER = 0.9  # GiB: torch, transformers and TRL
CPU_DOOR = 0.4  # GiB: gateway and page
MASTER = 4  # bytes of a weight under training: float32, as are its gradient and AdamW's two moments
LEAST_CONTEXT = 2048  # tokens; below that no remedy goes
LEAST_COMPLETION = 256


@dataclass(frozen=True)
class Model:
    """A transformer by its sizes. `stored` is the bytes of one weight as its files have it."""

    weights: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    stored: int = 2

    @property
    def kv_bytes(self) -> int:
        """Of keys and values for one token, at two bytes a number."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2

    def adapter_weights(self, rank: int) -> int:
        """Of a LoRA on the seven linear maps of each layer: rank x (in + out) for each."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = (self.hidden + q) * 2 + (self.hidden + kv) * 2
        return rank * self.layers * (attention + 3 * (self.hidden + self.intermediate))


def from_config(config: Mapping[str, Any], on_disk: int | None = None) -> Model | None:
    """The sizes that a `config.json` tells; None where it is of a kind that can't be told.

    `on_disk`: bytes of its weight files, where they are known; otherwise the weights are counted layer by layer.
    """
    try:
        hidden, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
        middle, vocabulary = config["intermediate_size"], config["vocab_size"]
    except KeyError:
        return None
    kv = config.get("num_key_value_heads") or heads
    dim = config.get("head_dim") or hidden // heads
    stored = BYTES.get(str(config.get("dtype") or config.get("torch_dtype") or "bfloat16"), 2)
    kind = config.get("model_type")
    if on_disk is not None:
        weights = on_disk // stored
    elif kind in COUNTED:
        layer = 2 * hidden * heads * dim + 2 * hidden * kv * dim + 3 * hidden * middle + 2 * hidden
        layer += (heads + 2 * kv) * dim if kind == "qwen2" or config.get("attention_bias") else 0  # bias of q, k, v
        layer += 2 * dim if kind == "qwen3" else 0  # norms of q and k
        classifies = "SequenceClassification" in "".join(config.get("architectures") or [])
        head = hidden if classifies else 0 if config.get("tie_word_embeddings") else vocabulary * hidden
        weights = layers * layer + vocabulary * hidden + hidden + head
    else:
        return None
    return Model(weights, hidden, layers, heads, kv, dim, middle, vocabulary, stored)


@dataclass(frozen=True)
class Machine:
    """What there is, in bytes: of the first card, or of main memory where the profile uses none."""

    gpu: bool
    total: int
    free: int


@dataclass(frozen=True)
class Plan:
    """What is to run. A model that is None is unknown and counts as nothing. Lengths in tokens."""

    base: Model | None
    classifiers: tuple[tuple[str, Model | None], ...] = ()  # reward and judge, with their part's name
    max_model_len: int = 1024
    max_num_seqs: int = 128
    engine_bytes: int = 2  # of a weight on the engine
    utilization: float = 0.45  # the engine's share of the card
    kv_gib: int = 1  # of the engine's KV cache on a CPU
    max_loras: int = 5
    max_lora_rank: int = 16
    engines: int = 1  # on a CPU; two where rounds of full weights sample on one of their own
    trains: bool = True
    algorithm: str = "grpo"
    full: bool = False
    reference: bool = False  # whether a further copy of what is trained is kept to measure from
    trained_bytes: int = 2  # of a frozen weight in the trainer
    lora_rank: int = 8
    micro_batch: int = 16
    max_prompt_tokens: int = 512
    max_completion_tokens: int = 256


@dataclass(frozen=True)
class Row:
    """One line of the table; `size` in bytes, None where it is unknown."""

    part: str
    what: str
    size: int | None


def rows(plan: Plan, machine: Machine) -> list[Row]:
    """All parts of `plan`, the engine's first."""
    found = [*_engine(plan, machine)]
    if plan.trains:
        found += _trainer(plan, machine.gpu)
        for name, model in plan.classifiers:
            size = None if model is None else model.weights * (2 if machine.gpu else 4)
            found.append(Row(name, "weights", size))
    if not machine.gpu:
        found.append(Row("gateway, page", "processes", round(CPU_DOOR * GIB)))
    return found


def needed(plan: Plan, machine: Machine) -> int:
    """Bytes of everything that is known."""
    return sum(row.size or 0 for row in rows(plan, machine))


def kv_tokens(plan: Plan, machine: Machine) -> int | None:
    """How many tokens the engine's KV cache holds; None without a known model. Below 0: its weights don't fit."""
    if plan.base is None:
        return None
    return _kv_room(plan, machine) // _kv_bytes(plan, plan.base)


def trouble(plan: Plan, machine: Machine) -> str | None:
    """Why it can't fit, in words; None where it can, as far as is known."""
    if plan.trains and _longest_sample(plan) > plan.max_model_len:
        return (
            f"a sample of a round may have {_longest_sample(plan):,} tokens (max_prompt_tokens and "
            f"max_completion_tokens), and the engine takes {plan.max_model_len:,} in one conversation"
        )
    held = kv_tokens(plan, machine)
    if held is not None and held < plan.max_model_len:
        room = f"{plan.utilization:.0%} of the card" if machine.gpu else f"{plan.kv_gib} GiB of KV cache"
        return (
            f"the engine has room for {max(0, held):,} tokens in {room}, and one conversation may have "
            f"{plan.max_model_len:,}"
        )
    wanted = needed(plan, machine)
    if wanted > machine.free:
        where = "on the card" if machine.gpu else "of memory"
        return f"{wanted / GIB:.1f} GiB are needed and {machine.free / GIB:.1f} GiB {where} are free"
    return None


def remedies(plan: Plan, machine: Machine) -> list[str]:
    """Each setting that, changed alone, makes `plan` fit, as it is to be set, with the least change of it; where none
    does, the first two that do together."""
    found: dict[str, str] = {}
    for name, value, changed in _changes(plan, machine.gpu):
        if name not in found and trouble(changed, machine) is None:
            found[name] = f"{name}={value}"
    if found:
        return list(found.values())
    for name, value, changed in _changes(plan, machine.gpu):
        for other, its_value, both in _changes(changed, machine.gpu):
            if other != name and trouble(both, machine) is None:
                return [f"{name}={value} and {other}={its_value}"]
    return []


# -- parts


def _engine(plan: Plan, machine: Machine) -> Iterator[Row]:
    base = plan.base
    if base is None:
        yield Row("engine", "weights", None)
        if machine.gpu:
            yield Row("engine", "all but weights, of its share of the card", round(plan.utilization * machine.total))
        else:
            size = round((plan.kv_gib + CPU_ENGINE) * GIB) * plan.engines
            yield Row("engine", "KV cache, working memory", size)
        return
    copies = 1 if machine.gpu else plan.engines
    yield Row("engine", "weights", base.weights * plan.engine_bytes * copies)
    yield Row("engine", f"{plan.max_loras} adapters", _adapters(plan, base) * copies)
    held = kv_tokens(plan, machine) or 0
    longest = held // plan.max_model_len
    said = f"KV cache: {max(0, held):,} tokens, {max(0, min(longest, plan.max_num_seqs))} of the longest conversations"
    yield Row("engine", said, max(0, _kv_room(plan, machine)) * copies)
    work = (GPU_PROCESS + GPU_ENGINE_WORK) if machine.gpu else CPU_ENGINE * copies
    yield Row("engine", "working memory", round(work * GIB))


def _trainer(plan: Plan, gpu: bool) -> Iterator[Row]:
    base, process = plan.base, GPU_PROCESS if gpu else CPU_TRAINER
    if base is None:
        yield Row("trainer", "weights, optimizer, activations", None)
    elif plan.full:
        models = 2 if plan.algorithm == "ppo" else 1  # actor and critic
        yield Row("trainer", "weights", models * base.weights * MASTER)
        yield Row("trainer", "gradients and optimizer", models * base.weights * 3 * MASTER)
        if plan.reference:
            yield Row("trainer", "reference", base.weights * MASTER)
    else:
        adapters = 2 if plan.algorithm == "ppo" else 1  # actor and critic
        yield Row("trainer", "weights", base.weights * plan.trained_bytes)
        learnt = base.adapter_weights(plan.lora_rank)
        yield Row("trainer", "adapter, gradients and optimizer", learnt * (4 * adapters + plan.reference) * MASTER)
    if base is not None:
        yield Row("trainer", f"activations of {plan.micro_batch} samples", activations(plan, base, gpu))
    yield Row("trainer", "working memory", round(process * GIB))


def activations(plan: Plan, base: Model, gpu: bool) -> int:
    """Bytes that a forward and backward pass of one micro-batch of the longest samples keeps.

    On a GPU layers are computed again in the backward pass: kept are each layer's input (2 bytes) and all of one layer,
    in bfloat16 and, where adapters read it, in float32 (8 bytes a number). On a CPU all of every layer is kept in
    float32. Log-probabilities come from tiles of the output layer in TRL (grpo, dpo, sft); our ppo has all of it, five
    times in float32. In dpo a micro-batch is half as many pairs of samples, one at least.
    """
    samples = 2 * max(1, plan.micro_batch // 2) if plan.algorithm == "dpo" else plan.micro_batch
    tokens = samples * (plan.max_prompt_tokens + plan.max_completion_tokens)
    q, kv = base.heads * base.head_dim, base.kv_heads * base.head_dim
    layer = 4 * base.hidden + q + 2 * kv + 3 * base.intermediate
    kept = tokens * (base.layers * base.hidden * 2 + layer * 8) if gpu else tokens * base.layers * layer * 4
    if plan.algorithm == "ppo":
        kept += samples * plan.max_completion_tokens * base.vocabulary * 5 * 4
    return kept


def _longest_sample(plan: Plan) -> int:
    """In tokens, with its prompt. An engine refuses a request that could become longer than it takes."""
    return plan.max_prompt_tokens + plan.max_completion_tokens


def _adapters(plan: Plan, base: Model) -> int:
    return plan.max_loras * base.adapter_weights(plan.max_lora_rank) * plan.engine_bytes


def _kv_bytes(plan: Plan, base: Model) -> int:
    return base.kv_bytes * plan.engine_bytes // 2


def _kv_room(plan: Plan, machine: Machine) -> int:
    """Bytes left for the KV cache of one engine, below 0 where its weights don't fit."""
    if not machine.gpu:
        return plan.kv_gib * GIB
    assert plan.base is not None
    fixed = plan.base.weights * plan.engine_bytes + _adapters(plan, plan.base)
    return round(plan.utilization * machine.total - fixed - (GPU_PROCESS + GPU_ENGINE_WORK) * GIB)


# -- what may be changed


def _changes(plan: Plan, gpu: bool) -> Iterator[tuple[str, str, Plan]]:
    """Settings with other values, of each setting the nearest first; those that cost least stand first."""
    yield from _halved(plan, "RUMINATE_TRAINER_MICRO_BATCH", "micro_batch", 1)
    if gpu:
        here = math.floor(plan.utilization * 20)
        for other in sorted(range(3, 19), key=lambda share: abs(share - here)):  # steps of 5 %
            share = other / 20
            yield "RUMINATE_GPU_MEMORY_UTILIZATION", f"{share:g}", replace(plan, utilization=share)
    if plan.trains and _longest_sample(plan) > plan.max_model_len:
        longest = _longest_sample(plan)
        yield "RUMINATE_MAX_MODEL_LEN", str(longest), replace(plan, max_model_len=longest)
    yield from _halved(plan, "RUMINATE_MAX_MODEL_LEN", "max_model_len", LEAST_CONTEXT)
    yield from _halved(plan, "RUMINATE_TRAINER_MAX_COMPLETION_TOKENS", "max_completion_tokens", LEAST_COMPLETION)
    if plan.full:
        yield "RUMINATE_TRAINER_WEIGHTS", "lora", replace(plan, full=False, engines=1)
    yield "RUMINATE_TRAINER", "false", replace(plan, trains=False, engines=1)


def _halved(plan: Plan, name: str, field: str, least: int) -> Iterator[tuple[str, str, Plan]]:
    value = getattr(plan, field) // 2
    while value >= least:
        yield name, str(value), replace(plan, **{field: value})
        value //= 2
