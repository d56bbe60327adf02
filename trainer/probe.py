"""The probe of a checkpoint: tokens by which an engine can be told to serve it, and not the base or something else.

Chosen where base and candidate differ most, from completions of the candidate to prompts of the base mix (what people
wrote is never put into a manifest). Log-probabilities are the trainer's, in float32, at temperature 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.policy import is_adapter

MAX_TOKENS = 8  # of a probe: few, since an engine reads all that stands before each while people wait
EARLY = 0.5  # of a completion's greatest difference is enough: an earlier token has less before it
LIKELY = -4.0  # tokens less likely than this to the candidate are left out: bfloat16 is too coarse for them
SHARE = 0.25  # of the distance between base and candidate is the tolerance
NARROWEST = 0.02  # nats; what a bfloat16 engine differs from float32 by, with room


@dataclass(frozen=True)
class Token:
    """A token in its place: what stands before it, and how likely it is to both (nats)."""

    before: list[int]
    token: int
    candidate: float
    base: float


def make_probe(base: Path, weights: Path, sequences: Sequence[tuple[list[int], list[int]]]) -> dict[str, Any]:
    """A manifest's probe from (prompt ids, completion ids) pairs. Raises ValueError if the weights are the base's."""
    chosen = choose(both_sides(base, weights, sequences))
    gap = sum(abs(token.candidate - token.base) for token in chosen) / max(len(chosen), 1)
    if gap == 0:
        raise ValueError(f"{weights}: no token is more or less likely than with the base; it can't be told from it")
    return {
        "sequences": [
            {
                "prompt_ids": token.before,
                "completion_ids": [token.token],
                "logprobs_candidate": [token.candidate],
                "logprobs_base": [token.base],
            }
            for token in chosen
        ],
        "tolerance": max(NARROWEST, SHARE * gap),
    }


def choose(rows: Sequence[Sequence[Token]]) -> list[Token]:
    """The first token of each completion on which the two differ enough; of these the most different, at most
    MAX_TOKENS."""
    best = []
    for tokens in rows:
        likely = [token for token in tokens if token.candidate > LIKELY] or tokens
        enough = EARLY * max(map(_distance, likely))
        best.append(next(token for token in likely if _distance(token) >= enough))
    return sorted(best, key=_distance, reverse=True)[:MAX_TOKENS]


def _distance(token: Token) -> float:
    return abs(token.candidate - token.base)


def both_sides(base: Path, weights: Path, sequences: Sequence[tuple[list[int], list[int]]]) -> list[list[Token]]:
    """Every completion token of each sequence, with the log-probabilities of both."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def model(folder: Path) -> Any:
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return loaded.to(device).eval()

    @torch.inference_mode()
    def logprobs(policy: Any, prompt: list[int], completion: list[int]) -> list[float]:
        logits = policy(input_ids=torch.tensor([prompt + completion], device=device)).logits[0].float()
        told = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
        return told.gather(-1, torch.tensor(completion, device=device)[:, None]).squeeze(-1).tolist()

    policy = model(base)
    old = [logprobs(policy, *pair) for pair in sequences]
    if is_adapter(weights):
        policy = PeftModel.from_pretrained(policy, weights).to(device).eval()
    else:
        del policy  # one of them at a time: they may be large
        policy = model(weights)
    new = [logprobs(policy, *pair) for pair in sequences]
    return [
        [Token(prompt + completion[:at], completion[at], new[row][at], old[row][at]) for at in range(len(completion))]
        for row, (prompt, completion) in enumerate(sequences)
    ]
