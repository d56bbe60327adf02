"""The probe of a checkpoint: tokens by which an engine can be told to serve it, and not the base or its parent.

Chosen where the candidate differs clearly from either, and where an engine has little to read for it, from completions
of the candidate to prompts of the base mix (what people wrote is never put into a manifest). Log-probabilities are the
trainer's, in float32, at temperature 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.policy import is_adapter

MAX_TOKENS = 8  # of a probe: few, since an engine reads all that stands before each while people wait
OF_ONE = 3  # of them at most are of one completion, whose beginning they share: it is read once
ENOUGH = 0.5  # nats that two models differ on a token by: far above rounding, so that more would prove little more
OF_GREATEST = 0.5  # of the greatest difference is enough as well, where all are small
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
    the distance to the base. Each row is a completion's tokens, in order."""
    chosen: dict[tuple[int, int], Token] = {}
    _add(chosen, rows, _from_parent, MAX_TOKENS // 2, APART)
    told = list(chosen.values())
    _add(chosen, rows, _from_base, MAX_TOKENS, 0.0)
    return [*list(chosen.values())[len(told) :], *told]


def _add(
    chosen: dict[tuple[int, int], Token],
    rows: Sequence[Sequence[Token]],
    distance: Callable[[Token], float],
    most: int,
    least: float,
) -> None:
    """Choose until there are `most`, by row and place: of the tokens that are far enough apart, at least `least` nats,
    each time the one for which the fewest tokens more have to be read."""
    likely: dict[tuple[int, int], Token] = {}
    for row, tokens in enumerate(rows):
        places = [at for at, token in enumerate(tokens) if token.candidate > LIKELY] or range(len(tokens))
        likely |= {(row, at): tokens[at] for at in places}
    enough = max(least, min(ENOUGH, OF_GREATEST * max(map(distance, likely.values()), default=0.0)))
    left = {place: token for place, token in likely.items() if distance(token) >= enough}

    def costs(place: tuple[int, int]) -> tuple[int, float]:
        token = left[place]
        read = max((len(other.before) for (row, _), other in chosen.items() if row == place[0]), default=0)
        return max(0, len(token.before) - read), -distance(token)

    while len(chosen) < most:
        full = {row for row, _ in chosen if sum(row == other for other, _ in chosen) >= OF_ONE}
        left = {place: token for place, token in left.items() if place[0] not in full and place not in chosen}
        if not left:
            return
        cheapest = min(left, key=costs)
        chosen[cheapest] = left[cheapest]


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
