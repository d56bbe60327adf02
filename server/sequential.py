"""Evidence that may be looked at after every event: the wealth of somebody who bets against a claim.

The claim is that every gain has a mean of at most 0, whatever came before. Who stakes the share `bet` of their money on
each has the product of 1 + bet x gain; where the claim is true that is a supermartingale that starts at 1, and so is
its mean over several bets. By Ville's inequality it ever reaches 1 / level with a probability of at most `level`: no
number of looks has to be fixed beforehand, and 1 / wealth is an always-valid p-value. Exact for any sample size, with
bounded gains and nothing else assumed (Ville 1939; Waudby-Smith and Ramdas, Estimating means of bounded random
variables by betting, JRSS B 86, 2024, arXiv 2010.09686, sections 4 and B.2; the mixture as in Robbins 1970).
Numbers only.
"""

import numpy as np

BETS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.95])
"""Shares of the largest stake that can't ruin: small ones see small differences, large ones see large ones soon."""


def evidence(gains: np.ndarray, worst: float) -> np.ndarray:
    """The largest wealth there ever was, from gains of shape (..., events), none below -worst. 1.0 without events.

    Raises ValueError for a gain that could ruin: the bound is what the whole argument stands on.
    """
    if worst <= 0 or (gains.size and float(gains.min()) < -worst - 1e-9):
        raise ValueError(f"a gain of {gains.min() if gains.size else None} is below -{worst}")
    total = np.full((*gains.shape[:-1], gains.shape[-1] + 1), -np.inf)
    for bet in BETS / worst:
        grown = np.log1p(bet * gains).cumsum(-1)
        total = np.logaddexp(total, np.concatenate([np.zeros((*gains.shape[:-1], 1)), grown], -1))
    return np.exp(np.minimum(total.max(-1) - np.log(len(BETS)), 700.0))


def differences(candidate: np.ndarray, live: np.ndarray, share: float) -> np.ndarray:
    """Candidate minus live, event by event, each outcome 0 to 1 and in the order in which it came.

    The candidate gets `share` of the traffic, so that each of its outcomes is compared with the mean of as many of
    live's as come in meanwhile; what waits for its counterpart is left out. Where both arms are alike every difference
    has the mean 0, whatever came before.
    """
    block = max(1, round((1 - share) / share))
    pairs = min(len(candidate), len(live) // block)
    return candidate[:pairs] - live[: pairs * block].reshape(pairs, block).mean(1)


def worse(gaps: np.ndarray) -> float:
    """Evidence that the candidate's outcomes are higher than live's. `gaps`: see `differences`."""
    return float(evidence(gaps, 1.0))


def no_worse(gaps: np.ndarray, margin: float) -> float:
    """Evidence that they are higher by less than `margin`, between 0 and 1."""
    return float(evidence(margin - gaps, 1.0 - margin))


def above(outcomes: np.ndarray, bound: float) -> float:
    """Evidence that outcomes, 0 to 1, have a mean above `bound`, itself between 0 and 1."""
    return float(evidence(outcomes - bound, bound))
