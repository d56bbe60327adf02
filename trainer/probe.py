"""The probe of a checkpoint: tokens by which an engine can be told to serve it, and not the base or its parent.

Chosen where the candidate differs most from either, from completions of the candidate to prompts of the base mix (what
people wrote is never put into a manifest). Log-probabilities are the trainer's, in float32, at temperature 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.policy import is_adapter

MAX_TOKENS = 8  # of a probe: few, since an engine reads all that stands before each while people wait
EARLY = 0.5  # of a completion's greatest difference is enough: an earlier token has less before it
LIKELY = -4.0  # tokens less likely than this to the candidate are left out: bfloat16 is too coarse for them
SHARE = 0.25  # of the distance between base and candidate is the tolerance
NARROWEST = 0.02  # nats; what a bfloat16 engine differs from float32 by, with room
ROOM = 1.3  # of a model's own size that it needs, with what it computes
APART = 0.1  # nats; a token on which candidate and parent differ by less says nothing, as the gateway sees it


@dataclass(frozen=True)
class Token:
    """A token in its place: what stands before it, and how likely it is to each (nats)."""

    before: list[int]
    token: int
    candidate: float
    base: float
    parent: float | None = None
    """None where the parent is the base."""


def make_probe(
    base: Path, weights: Path, sequences: Sequence[tuple[list[int], list[int]]], parent: Path | None = None
) -> dict[str, Any]:
    """A manifest's probe from (prompt ids, completion ids) pairs. Raises ValueError if the weights are the base's.

    `parent`: the weights that these were trained from, of the same kind; None where that is the base.
    """
    chosen = choose(all_sides(base, weights, sequences, parent))
    gap = sum(abs(token.candidate - token.base) for token in chosen) / max(len(chosen), 1)
    if gap == 0:
        raise ValueError(
            f"{weights}: no token of {len(sequences)} answers is more or less likely than with the base; it can't be "
            "told from it, since the round learnt nothing. See zero_std_share (groups whose samples all earned the "
            "same) and grad_norm in its metrics, and learning_rate"
        )
    return {
        "sequences": [
            {
                "prompt_ids": token.before,
                "completion_ids": [token.token],
                "logprobs_candidate": [token.candidate],
                "logprobs_base": [token.base],
                **({} if token.parent is None else {"logprobs_parent": [token.parent]}),
            }
            for token in chosen
        ],
        "tolerance": max(NARROWEST, SHARE * gap),
    }


def choose(rows: Sequence[Sequence[Token]]) -> list[Token]:
    """At most MAX_TOKENS, half of them by the distance to the parent where it is far enough to be told; the others by
    the distance to the base."""
    told = [token for token in _furthest(rows, _from_parent) if _from_parent(token) >= APART][: MAX_TOKENS // 2]
    others = [token for token in _furthest(rows, _from_base) if token not in told]
    return others[: MAX_TOKENS - len(told)] + told


def _furthest(rows: Sequence[Sequence[Token]], distance: Callable[[Token], float]) -> list[Token]:
    """The first token of each completion on which two models differ enough, the most different first."""
    best = []
    for tokens in rows:
        likely = [token for token in tokens if token.candidate > LIKELY] or tokens
        enough = EARLY * max(map(distance, likely))
        best.append(next(token for token in likely if distance(token) >= enough))
    return sorted(best, key=distance, reverse=True)


def _from_base(token: Token) -> float:
    return abs(token.candidate - token.base)


def _from_parent(token: Token) -> float:
    return 0.0 if token.parent is None else abs(token.candidate - token.parent)


def device_for(weights: int) -> str:
    """Where a float32 model of so many weights has room: a card has none beside an engine, or is not there."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    return "cuda" if free > ROOM * 4 * weights else "cpu"  # slower, and a round that is trained is not lost


def all_sides(
    base: Path, weights: Path, sequences: Sequence[tuple[list[int], list[int]]], parent: Path | None = None
) -> list[list[Token]]:
    """Every completion token of each sequence, with the log-probabilities of candidate, base and parent."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def model(folder: Path) -> Any:
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return loaded.to(device_for(loaded.num_parameters())).eval()

    @torch.inference_mode()
    def logprobs(policy: Any, prompt: list[int], completion: list[int]) -> list[float]:
        logits = policy(input_ids=torch.tensor([prompt + completion], device=policy.device)).logits[0].float()
        told = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
        return told.gather(-1, torch.tensor(completion, device=policy.device)[:, None]).squeeze(-1).tolist()

    policy = model(base)
    old = [logprobs(policy, *pair) for pair in sequences]
    trained = []
    for folder in (weights, *([] if parent is None else [parent])):
        if is_adapter(folder):
            adapted = PeftModel.from_pretrained(policy, folder).to(policy.device).eval()
            trained.append([logprobs(adapted, *pair) for pair in sequences])
            policy = adapted.unload()
        else:
            del policy  # one of them at a time: they may be large
            policy = model(folder)
            trained.append([logprobs(policy, *pair) for pair in sequences])
    new, before = trained[0], trained[1] if parent is not None else None
    return [
        [
            Token(prompt + completion[:at], token, new[row][at], old[row][at], before[row][at] if before else None)
            for at, token in enumerate(completion)
        ]
        for row, (prompt, completion) in enumerate(sequences)
    ]
