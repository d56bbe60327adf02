"""PPO's arithmetic against numbers worked out by hand."""

import math

import pytest
import torch
from torch import tensor

from trainer.ppo_math import (
    clipped_share,
    explained_variance,
    gae,
    importance_ratios,
    importance_weights,
    k3,
    policy_loss,
    value_loss,
    whitened,
)


def test_advantages_by_hand():
    rewards, values = tensor([0.0, 0.0, 1.0]), tensor([0.5, 0.6, 0.7])
    # errors, from the last: 1 - 0.7 = 0.3; 0.9 * 0.7 - 0.6 = 0.03; 0.9 * 0.6 - 0.5 = 0.04
    # advantages: 0.3; 0.03 + 0.9 * 0.5 * 0.3 = 0.165; 0.04 + 0.45 * 0.165 = 0.11425
    advantages, returns = gae(rewards, values, gamma=0.9, lam=0.5)
    assert advantages.tolist() == pytest.approx([0.11425, 0.165, 0.3])
    assert returns.tolist() == pytest.approx([0.61425, 0.765, 1.0])


def test_with_gamma_and_lambda_1_an_advantage_is_the_reward_less_the_value():
    advantages, returns = gae(tensor([0.0, 0.0, 2.0]), tensor([0.5, 1.5, 3.0]), 1.0, 1.0)
    assert advantages.tolist() == [1.5, 0.5, -1.0]
    assert returns.tolist() == [2.0, 2.0, 2.0]


def test_with_lambda_0_an_advantage_looks_one_token_ahead():
    advantages, _ = gae(tensor([0.0, 1.0]), tensor([0.25, 0.5]), 1.0, 0.0)
    assert advantages.tolist() == [0.25, 0.5]


def test_whitening_by_hand():
    assert whitened(tensor([1.0, 2.0, 3.0])).tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=1e-6)
    assert whitened(tensor([7.0])).tolist() == [0.0]
    assert whitened(tensor([7.0, 7.0])).tolist() == [0.0, 0.0]


def test_k3_by_hand():
    new, reference = tensor([0.2, 0.5]).log(), tensor([0.4, 0.5]).log()
    assert k3(new, reference).tolist() == pytest.approx([2.0 - math.log(2) - 1, 0.0], abs=1e-6)


def test_k3_is_right_on_average():
    new, reference = tensor([0.7, 0.2, 0.1]), tensor([0.5, 0.3, 0.2])
    exact = float((new * (new / reference).log()).sum())
    assert float((new * k3(new.log(), reference.log())).sum()) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual", "expected"),
    [
        (1.1, 2.0, 0.0, -2.2),  # inside
        (1.5, 2.0, 0.0, -2.4),  # clipped at 1.2
        (0.5, 2.0, 0.0, -1.0),  # a good token became rarer: not clipped
        (0.5, -2.0, 0.0, 1.6),  # clipped at 0.8
        (5.0, -2.0, 0.0, 10.0),  # a bad token became likelier: not clipped
        (5.0, -2.0, 3.0, 6.0),  # but for the second clip
        (5.0, 2.0, 3.0, -2.4),  # which leaves good ones alone
    ],
)
def test_the_clipped_loss_by_hand(ratio, advantage, dual, expected):
    old = tensor([-3.0])
    loss = policy_loss(old + math.log(ratio), old, tensor([advantage]), clip=0.2, dual_clip=dual)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_what_is_clipped_is_counted_where_it_has_an_effect():
    ratios, advantages = tensor([[1.5, 1.5, 0.5, 0.5, 9.0]]), tensor([[1.0, -1.0, 1.0, -1.0, 1.0]])
    share = clipped_share(ratios.log(), torch.zeros(1, 5), advantages, tensor([[1.0, 1, 1, 1, 0]]), 0.2)
    assert share == 0.5


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (1.2, 0.5 * (1.2 - 2.0) ** 2),  # near the old value of 1: plain
        (1.9, 0.5 * (1.5 - 2.0) ** 2),  # moved further than 0.5: the value at the edge counts, there is nothing to win
        (0.2, 0.5 * (0.2 - 2.0) ** 2),  # moved away from the return: the larger error counts
    ],
)
def test_the_clipped_value_loss_by_hand(new, expected):
    loss = value_loss(tensor([new]), tensor([1.0]), tensor([2.0]), clip=0.5)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_value_that_was_clipped_has_no_gradient():
    new = tensor([1.9], requires_grad=True)
    value_loss(new, tensor([1.0]), tensor([2.0]), clip=0.5).sum().backward()
    assert new.grad.item() == 0.0


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("token_truncate", [[1.5, 2.0, 0.5]]),
        ("token_mask", [[1.5, 0.0, 0.5]]),
        ("sequence_truncate", [[2.0, 2.0, 2.0]]),  # 1.5 * 4 * 0.5 = 3
        ("sequence_mask", [[0.0, 0.0, 0.0]]),
    ],
)
def test_importance_weights_by_hand(mode, expected):
    ratios = tensor([[1.5, 4.0, 0.5, 100.0]])
    found = importance_ratios(ratios.log(), torch.zeros(1, 4), tensor([[1.0, 1, 1, 0]]), mode)
    weights = importance_weights(found, mode, cap=2.0)
    assert weights[:, :3].tolist() == [pytest.approx(row) for row in expected]


def test_explained_variance_by_hand():
    returns = tensor([1.0, 3.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(tensor([2.0, 2.0]), returns) == 0.0
    assert explained_variance(tensor([3.0, 1.0]), returns) == -3.0
    assert explained_variance(tensor([3.0, 1.0]), tensor([2.0, 2.0])) == 0.0
