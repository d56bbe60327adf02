"""Holds what `trainer.trl_bridge` reaches for in TRL: if TRL changes there, these fail and say where."""

import math

import pytest
import torch

from trainer.policy import load_policy, load_tokenizer, save_adapter
from trainer.round_config import RoundConfig

REWARDS = [1.0, 2.0, 3.0, 6.0]


def config(**changes):
    return RoundConfig(steps=1, prompts_per_step=1, group_size=4, micro_batch=4, **({"kl_beta": 0.0} | changes))


def first_step(policy, tmp_path, settings, *, parent=None, log_ratio=0.0, bridged=True, mode="token_truncate"):
    """One real step of TRL on fixed completions whose engine log-probabilities are off by `log_ratio` nats.

    Returns the trainer, the batch that TRL made, and its logs."""
    from datasets import Dataset

    from trainer.trl_bridge import BridgedGRPOTrainer

    from trl import GRPOConfig, GRPOTrainer  # isort: skip  after the bridge, which keeps TRL from importing the engine

    tokenizer = load_tokenizer(policy, "chatml")
    asked = tokenizer("red cat")["input_ids"]
    texts = ("red", "blue fox", "gold", "hen owl")
    answers = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in texts]
    exact = engine_logprobs(policy, parent, asked, answers, settings.temperature)
    made, published = {}, []

    class Watched(BridgedGRPOTrainer if bridged else GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            made.update(super()._generate_and_score_completions(inputs))
            return dict(made)

        def _compute_loss(self, model, inputs):
            loss = super()._compute_loss(model, inputs)
            if "importance_sampling_ratio" in inputs:
                made["weights"] = inputs["importance_sampling_ratio"].expand_as(inputs["completion_mask"])[
                    inputs["completion_mask"].bool()
                ]
            return loss

    own = {"publish": lambda: published.append("sync"), "keep_reference": settings.reference != "base"}
    trainer = Watched(
        **(own if bridged else {}),
        model=load_policy(policy, parent, settings),
        processing_class=tokenizer,
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"),
            max_steps=1,
            per_device_train_batch_size=4,
            num_generations=4,
            learning_rate=1e-3,
            beta=settings.kl_beta,
            temperature=settings.temperature,
            loss_type="dapo",
            logging_steps=1,
            save_strategy="no",
            vllm_importance_sampling_correction=True,
            vllm_importance_sampling_mode=mode,
            vllm_importance_sampling_clip_max=2.0,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            shuffle_dataset=False,
            max_grad_norm=1e9,
            disable_tqdm=True,
        ),  # fmt: skip
        train_dataset=Dataset.from_dict({"prompt": ["0"]}),
        rollout_func=lambda prompts, _: {
            "prompt_ids": [asked] * 4,
            "completion_ids": answers,
            "logprobs": [[value - log_ratio for value in row] for row in exact],
        },
        reward_funcs=lambda completion_ids, **_: REWARDS,
    )
    trainer.train()
    logs = next(entry for entry in trainer.state.log_history if "grad_norm" in entry)
    return trainer, made | {"published": published}, logs


def engine_logprobs(policy, parent, asked, answers, temperature=1.0):
    model = load_policy(policy, parent, config()).eval()
    rows = []
    with torch.inference_mode():
        for answer in answers:
            said = model(input_ids=torch.tensor([asked + answer])).logits[0, len(asked) - 1 : -1]
            told = torch.log_softmax(said / temperature, -1)
            rows.append(told.gather(-1, torch.tensor(answer)[:, None]).squeeze(-1).tolist())
    return rows


@pytest.fixture(scope="module")
def adapter(policy, tmp_path_factory):
    """An adapter that does something, as a round before would have left it."""
    model = load_policy(policy, None, config())
    torch.manual_seed(3)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.05)
    return save_adapter(model, tmp_path_factory.mktemp("adapter") / "v1")


def test_the_importance_ratio_is_really_applied(policy, tmp_path):
    norms = {}
    for ratio in (1.0, 1.5, 1.0 / 3, 7.0):
        _, batch, logs = first_step(policy, tmp_path, config(), log_ratio=math.log(ratio))
        norms[ratio] = logs["grad_norm"]
        assert torch.allclose(batch["weights"], torch.tensor(min(ratio, 2.0)), rtol=1e-4)
        assert logs["is_cut_share"] == (1.0 if ratio > 2 else 0.0)
    assert norms[1.5] / norms[1.0] == pytest.approx(1.5, rel=1e-3)
    assert norms[1.0 / 3] / norms[1.0] == pytest.approx(1 / 3, rel=1e-3)
    assert norms[7.0] / norms[1.0] == pytest.approx(2.0, rel=1e-3)  # truncated at the cap


def test_log_probabilities_are_those_of_the_sampling_temperature(policy, tmp_path, adapter):
    settings = config(temperature=0.7, kl_beta=0.05, reference="base")
    _, batch, logs = first_step(policy, tmp_path, settings, parent=adapter)
    assert torch.allclose(batch["weights"], torch.ones_like(batch["weights"]), atol=1e-4)
    assert logs["sampling/sampling_logp_difference/mean"] < 1e-4
    base = engine_logprobs(policy, None, batch["prompt_ids"][0].tolist(), unpadded(batch), temperature=0.7)
    assert flat(batch["ref_per_token_logps"], batch) == pytest.approx(sum(base, []), abs=1e-4)


@pytest.mark.parametrize(("beta", "passes"), [(0.0, 1), (0.05, 2)])
def test_each_sample_is_computed_once_for_the_loss_and_once_for_the_reference(
    policy, tmp_path, monkeypatch, beta, passes
):
    """TRL would compute it once more, for the importance ratio, of weights that have not changed."""
    from trainer import trl_bridge

    seen, moved = [], trl_bridge.moved_together

    def counted(ids, mask, completion):
        seen.append(len(ids))
        return moved(ids, mask, completion)

    monkeypatch.setattr(trl_bridge, "moved_together", counted)
    first_step(policy, tmp_path, config(kl_beta=beta))
    assert sum(seen) == passes * len(REWARDS)


@pytest.mark.parametrize("mode", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"])
def test_a_correction_by_hand(mode):
    from trainer.trl_bridge import Correction, told_of

    sampled = torch.tensor([[-1.0, -2.0, 0.0], [-1.0, math.nan, -3.0]])
    logprobs = torch.tensor([[-1.0 + math.log(1.5), -2.0 + math.log(3.0), 9.0], [-1.0, -5.0, -3.0 + math.log(0.5)]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    found = Correction(logprobs, sampled, mask, mode, 0.0, 2.0)
    expected = {  # ratios are 1.5 and 3 (together 4.5), and 1, untold and 0.5 (together 0.5)
        "token_truncate": [[1.5, 2.0, 1.0], [1.0, 1.0, 0.5]],
        "token_mask": [[1.5, 0.0, 1.0], [1.0, 1.0, 0.5]],
        "sequence_truncate": [[2.0], [0.5]],
        "sequence_mask": [[0.0], [0.5]],
    }[mode]
    assert torch.allclose(found.weight, torch.tensor(expected))
    told = told_of([found])
    assert told["is_cut_share"] == pytest.approx(2 / 5 if mode.startswith("sequence") else 1 / 5)
    gaps = [math.log(1.5), math.log(3.0), 0.0, math.log(2.0)]
    assert told["sampling/sampling_logp_difference/mean"] == pytest.approx(sum(gaps) / 4)
    said = [expected[0][0], expected[-1][-1]] if mode.startswith("sequence") else [*expected[0][:2], *expected[1]]
    prefix = "sampling/importance_sampling_ratio/"
    assert told[f"{prefix}min"] == pytest.approx(min(said))
    assert told[f"{prefix}max"] == pytest.approx(max(said))
    assert told[f"{prefix}mean"] == pytest.approx(sum(said) / len(said))


def test_without_the_bridge_trl_ignores_the_engines_log_probabilities(policy, tmp_path):
    """Why the bridge exists. When this fails, TRL has learnt to do it, and the bridge can go."""
    _, right, exact = first_step(policy, tmp_path, config(), bridged=False)
    _, _, wrong = first_step(policy, tmp_path, config(), bridged=False, log_ratio=1.0)
    assert "weights" not in right
    assert exact["grad_norm"] == wrong["grad_norm"]


def test_a_masked_sequence_has_no_weight(policy, tmp_path):
    _, batch, logs = first_step(policy, tmp_path, config(), log_ratio=2.0, mode="sequence_mask")
    assert batch["weights"].abs().sum() == 0
    assert logs["grad_norm"] == 0
    assert logs["is_cut_share"] == 1.0


def test_advantages_are_the_reward_against_its_group(policy, tmp_path):
    _, batch, logs = first_step(policy, tmp_path, config())
    deviation = math.sqrt((4 + 1 + 0 + 9) / 3)  # mean 3; unbiased
    expected = [(reward - 3.0) / (deviation + 1e-4) for reward in REWARDS]
    assert batch["advantages"].tolist() == pytest.approx(expected, abs=1e-5)
    assert logs["reward_std"] == pytest.approx(deviation, rel=1e-5)


def test_the_adapter_is_published_before_the_first_sample_of_a_step(policy, tmp_path):
    _, batch, _ = first_step(policy, tmp_path, config())
    assert batch["published"] == ["sync"]


def test_the_reference_is_the_base_when_asked_for(policy, tmp_path, adapter):
    settings = config(kl_beta=0.05, reference="base")
    trainer, batch, logs = first_step(policy, tmp_path, settings, parent=adapter)
    assert list(trainer.model.peft_config) == ["default"]
    base = engine_logprobs(policy, None, batch["prompt_ids"][0].tolist(), unpadded(batch))
    assert flat(batch["ref_per_token_logps"], batch) == pytest.approx(sum(base, []), abs=1e-4)
    assert logs["kl"] > 1e-4


def test_the_reference_is_the_rounds_start_when_asked_for(policy, tmp_path, adapter):
    settings = config(kl_beta=0.05, reference="round_start")
    _, batch, logs = first_step(policy, tmp_path, settings, parent=adapter)
    start = engine_logprobs(policy, adapter, batch["prompt_ids"][0].tolist(), unpadded(batch))
    assert flat(batch["ref_per_token_logps"], batch) == pytest.approx(sum(start, []), abs=1e-4)
    assert logs["kl"] == pytest.approx(0, abs=1e-6)


def test_only_the_adapter_under_training_is_trained(policy, tmp_path, adapter):
    for reference in ("base", "round_start"):
        trainer, _, _ = first_step(policy, tmp_path, config(kl_beta=0.05, reference=reference), parent=adapter)
        trained = [name for name, weights in trainer.model.named_parameters() if weights.requires_grad]
        assert trained
        assert all(".default." in name for name in trained)
        assert not any("lm_head" in name for name in trained)


def test_less_padding_changes_neither_log_probabilities_nor_gradients(policy, tmp_path):
    from trl import GRPOTrainer

    trainer, batch, _ = first_step(policy, tmp_path, config())
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    ids = torch.nn.functional.pad(ids, (2, 0))  # as if another prompt of the step were longer
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    mask = torch.nn.functional.pad(mask, (2, 0))
    wide, done = batch["completion_ids"].size(1), batch["completion_mask"].bool()

    def measured(method, size):
        trainer.model.zero_grad()
        logprobs, entropies, _ = method(trainer, trainer.model, ids, mask, wide, size, compute_entropy=True)
        (logprobs[done].sum() + entropies[done].sum()).backward()
        gradients = [w.grad.clone() for w in trainer.model.parameters() if w.grad is not None]
        return logprobs[done], entropies[done], torch.cat([gradient.flatten() for gradient in gradients])

    theirs = measured(GRPOTrainer._get_per_token_logps_and_entropies, None)
    for size in (None, 1, 3):
        ours = measured(type(trainer)._get_per_token_logps_and_entropies, size)
        for one, other in zip(ours, theirs, strict=True):
            assert torch.allclose(one, other, atol=1e-4)


def test_samples_are_moved_to_where_their_row_begins():
    from trainer.trl_bridge import moved_together

    ids = torch.tensor([[0, 0, 5, 6, 7, 0, 0], [0, 1, 2, 3, 4, 8, 0]])
    together, labels, back = moved_together(ids, (ids > 0).long(), 4)
    assert together.tolist() == [[5, 6, 7, 0, 0], [1, 2, 3, 4, 8]]
    assert labels.tolist() == [[-100, 6, 7, -100, -100], [-100, -100, 3, 4, 8]]
    figures = torch.tensor([[6.0, 7.0, 9.0, 9.0], [9.0, 3.0, 4.0, 8.0]], requires_grad=True)  # of the next token each
    told = back(figures)
    assert told.tolist() == [[6.0, 7.0, 0.0, 0.0], [3.0, 4.0, 8.0, 0.0]]
    told.sum().backward()
    assert figures.grad.tolist() == [[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0]]


@pytest.mark.parametrize("patched", [True, False])
def test_only_what_a_completion_says_is_scored(policy, tmp_path, monkeypatch, patched):
    """Without the bridge's word TRL scores each place on a CPU. When the second case fails, that word can go."""
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    trainer, batch, _ = first_step(policy, tmp_path, config())
    if not patched:
        monkeypatch.setattr(utils, "_use_triton", chunked_logprob._use_triton)
    scored, inner = [], utils._ChunkedLogProbFunction

    class Watched:
        @staticmethod
        def apply(hidden, *others):
            scored.append(len(hidden))
            return inner.apply(hidden, *others)

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Watched)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, batch["completion_ids"].size(1))
    assert (scored == [int(batch["completion_mask"].sum())]) is patched


def unpadded(batch):
    rows = zip(batch["completion_ids"], batch["completion_mask"], strict=True)
    return [ids[mask.bool()].tolist() for ids, mask in rows]


def flat(values, batch):
    return values[batch["completion_mask"].bool()].tolist()
