"""Where PPO computes what TRL computes as well, the numbers agree: clipped loss, k3, entropy, weights, DPO."""

import math

import pytest
import torch
from datasets import Dataset

from trainer.actor_critic import ACTOR, CRITIC, ActorCritic, rows
from trainer.pairs import Pair
from trainer.policy import load_policy, load_tokenizer
from trainer.ppo_math import importance_ratios, importance_weights, kl_term, policy_loss
from trainer.round_config import RoundConfig
from trainer.trl_bridge import BridgedGRPOTrainer
from trainer.trl_offline import PairTrainer

from trl import DPOConfig, GRPOConfig, GRPOTrainer  # isort: skip  after the bridge, which keeps TRL from importing the engine

SHARED = {"report_to": [], "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True}
TEXTS = ("red", "blue fox", "gold", "hen owl")


def config(**changes):
    return RoundConfig(steps=1, prompts_per_step=1, group_size=4, micro_batch=4, **changes)


@pytest.fixture
def batch(policy):
    tokenizer = load_tokenizer(policy, "chatml")
    answers = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in TEXTS]
    return rows([tokenizer("red cat")["input_ids"]] * 4, answers, tokenizer.pad_token_id, "cpu")


def trl(policy, tmp_path, **arguments):
    trainer = BridgedGRPOTrainer(
        publish=lambda: None,
        keep_reference=False,
        model=load_policy(policy, None, config()),
        processing_class=load_tokenizer(policy, "chatml"),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            num_generations=4,
            loss_type="dapo",
            vllm_importance_sampling_correction=True,
            **SHARED,
            **arguments,
        ),  # fmt: skip
        train_dataset=Dataset.from_dict({"prompt": ["0"]}),
        reward_funcs=lambda completion_ids, **_: [0.0] * 4,
    )
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def padded_left(batch):
    """The same samples as TRL has them: prompts and completions in columns of their own."""
    start = int(batch.mask[0].argmax()) + 1
    completion = batch.attention[:, start:]
    return {
        "prompt_ids": batch.ids[:, :start],
        "prompt_mask": batch.attention[:, :start],
        "completion_ids": batch.ids[:, start:],
        "completion_mask": completion,
    }, start - 1


@pytest.mark.parametrize("corrected", [True, False])
def test_one_loss_of_ours_is_trls(policy, tmp_path, batch, corrected):
    both = ActorCritic(policy, None, None, config(kl_beta=0.1))
    with both.acting_as(ACTOR):
        new, entropy = both.logprobs(batch, 1.0)
    torch.manual_seed(0)
    old = new.detach() + 0.8 * torch.randn_like(new) * batch.mask
    reference = new.detach() + 0.5 * torch.randn_like(new) * batch.mask
    sampled = old + 0.9 * torch.randn_like(new) * batch.mask
    advantages = torch.tensor([1.5, -2.0, 0.5, -0.3])
    ratios = importance_ratios(old, sampled, batch.mask, "token_truncate")
    weights = importance_weights(ratios, "token_truncate", 2.0)
    each = policy_loss(new, old, advantages[:, None].expand_as(new), 0.2, 1.5) * weights
    apart = kl_term(new, old, reference, corrected)
    ours = ((each + 0.1 * apart - 0.05 * entropy) * batch.mask).sum() / batch.mask.sum()

    theirs = trl(
        policy, tmp_path, beta=0.1, epsilon=0.2, delta=1.5, entropy_coef=0.05, use_bias_correction_kl=corrected
    )
    inputs, first = padded_left(batch)
    inputs |= {
        "advantages": advantages,
        "old_per_token_logps": old[:, first:],
        "ref_per_token_logps": reference[:, first:],
        "importance_sampling_ratio": weights[:, first:],
        "num_items_in_batch": batch.mask.sum(),
    }
    loss = GRPOTrainer._compute_loss(theirs, theirs.model.train(), inputs)  # the bridge's finds the ratio by itself
    assert ours.item() == pytest.approx(loss.item(), abs=1e-5)
    kl = theirs._metrics["train"]["kl"][0]
    assert float((apart * batch.mask).sum() / batch.mask.sum()) == pytest.approx(kl, abs=1e-5)
    assert theirs._metrics["train"]["entropy"][0] == pytest.approx(
        float((entropy * batch.mask).sum() / batch.mask.sum()), abs=1e-5
    )


def test_logprobs_are_those_of_each_sample_alone_and_zero_elsewhere(policy, batch):
    both = ActorCritic(policy, None, None, config())
    with torch.no_grad():
        told, entropy = both.logprobs(batch, 0.7)
        for at in range(4):
            length = int(batch.attention[at].sum())
            logits = both.model(input_ids=batch.ids[at : at + 1, :length]).logits[0, :-1] / 0.7
            alone = torch.log_softmax(logits, -1).gather(-1, batch.ids[at, 1:length, None]).squeeze(-1)
            inside = batch.mask[at, : length - 1].bool()
            assert torch.allclose(told[at, : length - 1][inside], alone[inside], atol=1e-5)
    assert (told * (1 - batch.mask)).abs().sum() == 0
    assert (entropy >= 0).all()


def test_actor_and_critic_learn_apart(policy, batch):
    both = ActorCritic(policy, None, None, config())
    with both.acting_as(ACTOR):
        both.logprobs(batch, 1.0)[0].sum().backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in both.actor_parameters())
    assert all(weight.grad is None for weight in both.critic_parameters())
    torch.nn.init.normal_(both.head.weight)
    before = [weight.grad.clone() for weight in both.actor_parameters() if weight.grad is not None]
    with both.acting_as(CRITIC):
        both.values(batch).sum().backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in both.critic_parameters()[:-2])
    after = [weight.grad for weight in both.actor_parameters() if weight.grad is not None]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_new_critic_expects_nothing(policy, batch):
    both = ActorCritic(policy, None, None, config())
    with both.acting_as(CRITIC), torch.no_grad():
        assert both.values(batch).abs().sum() == 0


def test_both_are_saved_and_found_again(policy, tmp_path, batch):
    both = ActorCritic(policy, None, None, config())
    torch.manual_seed(1)
    for weight in [*both.actor_parameters(), *both.critic_parameters()]:
        torch.nn.init.normal_(weight, std=0.1)
    both.save(tmp_path)
    again = ActorCritic(policy, None, tmp_path, config(seed=9))
    with torch.no_grad():
        for adapter, ask in ((ACTOR, lambda b: b.logprobs(batch, 1.0)[0]), (CRITIC, lambda b: b.values(batch))):
            with both.acting_as(adapter), again.acting_as(adapter):
                assert torch.allclose(ask(both), ask(again), atol=1e-6)
    assert len(again.actor_parameters()) == len(both.actor_parameters())


def test_the_reference_is_the_base_or_the_rounds_start(policy, tmp_path, batch):
    first = ActorCritic(policy, None, None, config())
    torch.manual_seed(1)
    for weight in first.actor_parameters():
        torch.nn.init.normal_(weight, std=0.1)
    first.save(tmp_path)
    with torch.no_grad():
        of_base = ActorCritic(policy, None, None, config()).logprobs(batch, 1.0)[0]
        of_start = first.logprobs(batch, 1.0)[0]
    assert not torch.allclose(of_base, of_start, atol=1e-2)
    for reference, expected in (("base", of_base), ("round_start", of_start)):
        both = ActorCritic(policy, tmp_path, None, config(reference=reference, kl_beta=0.1))
        with torch.no_grad():
            for weight in both.actor_parameters():
                weight.mul_(0.5)
        assert torch.allclose(both.reference_logprobs(batch, 1.0), expected, atol=1e-5)
        assert not any(".ref." in name and w.requires_grad for name, w in both.model.named_parameters())


class Fixed:
    def __init__(self, pairs):
        self.all = pairs

    def allowed(self, places):
        return [self.all[place] for place in places]


def test_dpo_trains_on_our_tokens_by_the_papers_loss(policy, tmp_path):
    tokenizer = load_tokenizer(policy, "chatml")
    asked = tokenizer("red cat")["input_ids"]
    answer = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in TEXTS]
    pairs = [Pair(asked, answer[0], answer[1], 1.0, None), Pair(asked, answer[2], answer[3], 1.0, None)]
    model = load_policy(policy, None, config())
    trainer = PairTrainer(
        pairs=Fixed(pairs), keep_reference=False, model=model, processing_class=tokenizer,
        args=DPOConfig(output_dir=str(tmp_path), per_device_train_batch_size=2, beta=0.1, max_length=None, **SHARED),
    )  # fmt: skip
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    chosen = inputs["input_ids"][:2][inputs["completion_mask"][:2].bool()].tolist()
    assert sorted(chosen) == sorted(answer[0] + answer[2])
    assert trainer.compute_loss(model.train(), inputs).item() == pytest.approx(math.log(2), abs=1e-6)

    torch.manual_seed(3)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)

    def logprob(ids):
        whole = torch.tensor([asked + ids])
        told = torch.log_softmax(model(input_ids=whole).logits[0, len(asked) - 1 : -1], -1)
        return told.gather(-1, torch.tensor(ids)[:, None]).sum()

    with torch.no_grad():
        new = [logprob(ids) for ids in answer]
        with model.disable_adapter():
            old = [logprob(ids) for ids in answer]
        ahead = [(new[at] - old[at]) - (new[at + 1] - old[at + 1]) for at in (0, 2)]
        by_hand = sum(math.log(1 + math.exp(-0.1 * float(one))) for one in ahead) / 2
        assert trainer.compute_loss(model, inputs).item() == pytest.approx(by_hand, abs=1e-5)
