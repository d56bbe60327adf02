"""PPO's arithmetic on tensors: advantages, losses, divergence, importance weights. Knows no model and no round.

Formulas: GAE (arXiv 1506.02438, eq. 16), PPO (1707.06347, eq. 7), dual clip (1912.09729, eq. 5), clipped values
(OpenAI's baselines), k3 (J. Schulman, "Approximating KL divergence", 2020). Log-probabilities are natural; shapes are
one value per token, and a mask (1: a token of a completion) where rows are padded.
"""

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns of one completion, shape (tokens,). Its last token ends the episode: nothing follows."""
    advantages = torch.zeros_like(rewards)
    following, value_after = 0.0, 0.0
    for at in range(len(rewards) - 1, -1, -1):
        error = float(rewards[at]) + gamma * value_after - float(values[at])
        following = error + gamma * lam * following
        advantages[at], value_after = following, float(values[at])
    return advantages, advantages + values


def whitened(values: Tensor) -> Tensor:
    """Mean 0 and (unbiased) variance 1 over everything; shape kept. A single value becomes 0."""
    if values.numel() < 2:
        return torch.zeros_like(values)
    return (values - values.mean()) * torch.rsqrt(values.var() + 1e-8)


def k3(new: Tensor, reference: Tensor) -> Tensor:
    """An estimate of KL(new, reference) for each token sampled from new: unbiased, of low variance, never below 0."""
    difference = reference - new
    return torch.exp(difference) - difference - 1


def kl_term(new: Tensor, old: Tensor, reference: Tensor, corrected: bool) -> Tensor:
    """The divergence in the loss of each token. `corrected`: by the ratio, which has a gradient even where it is 1."""
    return k3(new, reference) * (torch.exp(new - old) if corrected else 1.0)


def policy_loss(new: Tensor, old: Tensor, advantages: Tensor, clip: float, dual_clip: float) -> Tensor:
    """The clipped loss of each token. `dual_clip` bounds the ratio where an advantage is below 0; 0: no bound."""
    ratio = torch.exp(new - old)
    worst = torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))
    if not dual_clip:
        return worst
    return torch.where(advantages < 0, torch.min(worst, -advantages * dual_clip), worst)


def clipped_share(new: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> float:
    """The share of tokens whose ratio is clipped in the direction in which its advantage pushes it."""
    ratio = torch.exp(new - old)
    cut = ((ratio < 1 - clip) & (advantages < 0)) | ((ratio > 1 + clip) & (advantages > 0))
    return float((cut * mask).sum() / mask.sum())


def value_loss(new: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Half the squared error of each value, or of the value moved by `clip` at most: the larger of both."""
    near = torch.min(torch.max(new, old - clip), old + clip)
    return 0.5 * torch.max((new - returns) ** 2, (near - returns) ** 2)


def importance_ratios(old: Tensor, sampled: Tensor, mask: Tensor, mode: str) -> Tensor:
    """Probability under the trainer (`old`) over that under the engine, per token or (`sequence_`) of the whole row."""
    difference = (old - sampled) * mask
    if mode.startswith("sequence"):
        difference = difference.sum(-1, keepdim=True).expand_as(difference)
    return torch.exp(difference)


def importance_weights(ratios: Tensor, mode: str, cap: float) -> Tensor:
    """What each token's loss counts: its ratio; above `cap` that is truncated, or (`_mask`) nothing."""
    return ratios.masked_fill(ratios > cap, 0.0) if mode.endswith("mask") else ratios.clamp(max=cap)


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """How much of the returns' variance the critic foresaw: 1 all, 0 none, below 0 worse than their mean."""
    variance = returns.var(correction=0)
    return float(1 - (returns - values).var(correction=0) / variance) if variance > 0 else 0.0
