"""Rounds of full weights: trained whole, sampled on an engine of their own, published as what the gateway takes."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import load_file
from support.fake_vllm import FakeVllm
from support.tiny_policy import Reds, prompt

from server.manifest import check_checkpoint, config_hash
from trainer.actor_critic import rows
from trainer.export import CannotExport, export_adapter, export_merged
from trainer.files import read_json
from trainer.full import copy_full, full_files, load_full, save_full
from trainer.gateway import Gateway, GatewayError, Sample
from trainer.lease import Stopped
from trainer.ledger import Ledger
from trainer.loop import AGAIN, FAILED, PUBLISHED, REJECTED, claim, work_on
from trainer.own_engine import OwnEngine
from trainer.policy import load_policy, policy_of
from trainer.ppo import models_of
from trainer.probe import all_sides
from trainer.round_config import RoundConfig
from trainer.settings import TrainerSettings

LEARNS = {"steps": 12, "prompts_per_step": 6, "group_size": 8, "micro_batch": 48, "learning_rate": 2e-3, "kl_beta": 0.0}
LEARNS |= {"gate_max_kl": 10.0, "gate_max_repetition": 1.0, "gate_max_empty": 1.0, "gate_max_malformed": 1.0}
LEARNS |= {"weights": "full"}


@pytest.fixture
def sampler(policy: Path) -> Iterator[FakeVllm]:
    fake = FakeVllm(policy)
    yield fake
    fake.close()


def test_a_round_of_full_weights_learns_on_its_own_engine_and_the_next_one_continues_it(site, sampler, policy):
    first = site.request(**LEARNS)
    house = site.open(sampling_engine=sampler.url)
    served: list[object] = []
    site.gateway.before_sample = served.append
    assert work_on(house, claim(house)) == PUBLISHED, site.round(first).verdict
    figures = site.metrics(first)
    rewards = [value for _, value in figures["reward_well_formed"]]
    assert sum(rewards[-4:]) > sum(rewards[:4]) + 0.4
    # what is sampled is rounded as it is stored, what is trained is not: close, and not the same
    assert max(abs(value - 1) for _, value in figures["is_ratio_mean"]) < 0.05
    assert (served, site.gateway.history) == ([], []), "the engine that serves people was used"
    live = site.live()
    folder = Path(live.path)
    assert (live.name, live.kind, live.parent_id) == ("v1", "full", 0)
    manifest = check_checkpoint(folder, "v1", config_hash(policy), "full", policy)
    assert set(manifest["files"]) == {"config.json", "model.safetensors"}
    assert "rank" not in manifest
    base, learnt = load_file(policy / "model.safetensors"), load_file(folder / "model.safetensors")
    assert {name: tensor.dtype for name, tensor in learnt.items()} == {n: tensor.dtype for n, tensor in base.items()}
    assert sum(not tensor.equal(base[name]) for name, tensor in learnt.items()) > len(base) / 2
    assert "library_name: transformers" in (folder / "README.md").read_text()
    assert sampler.reloads[0] == str(policy)
    assert not (site.settings.home / "rounds" / str(first) / "versions").exists()

    second = site.request(**(LEARNS | {"steps": 1}))
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(second).error
    assert site.metrics(second)["reward_well_formed"][0][1] > rewards[0] + 0.1  # it started where the first ended

    third = site.request(steps=1)
    assert work_on(house, claim(house)) == FAILED
    assert "is full weights, and adapters stand on the base; set weights = 'full'" in site.round(third).error


def test_it_starts_from_an_adapter_that_is_live_and_resumes_where_it_failed(site, sampler, policy):
    adapter = site.request(**(LEARNS | {"weights": "lora", "learning_rate": 1e-2}))
    house = site.open(sampling_engine=sampler.url)
    assert work_on(house, claim(house)) == PUBLISHED, site.round(adapter).error
    taught = site.metrics(adapter)["reward_well_formed"]

    class FailsOnce(Reds):
        calls = 0

        def score(self, pairs):
            self.calls += 1
            if self.calls == 3:
                raise ArithmeticError("out of order")
            return super().score(pairs)

    full = site.request(**(LEARNS | {"steps": 4}))
    house.reward = FailsOnce()
    assert work_on(house, claim(house)) == AGAIN
    assert site.round(full).step == 2
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(full).error
    row = site.round(full)
    assert site.metrics(full)["reward_well_formed"][0][1] > taught[0][1] + 0.1
    assert [step for step, _ in site.metrics(full)["reward"]] == [1, 2, 3, 4]
    candidate = site.checkpoint(row.candidate_checkpoint_id)
    assert candidate.kind == "full"
    asked = candidate.manifest["probe"]["sequences"]
    pairs = [(one["prompt_ids"], one["completion_ids"]) for one in asked]
    parents = all_sides(policy, site.settings.home / "checkpoints" / "v1", pairs)
    assert [one["logprobs_parent"][0] for one in asked] == pytest.approx([t[0].candidate for t in parents], abs=1e-4)
    assert not (site.settings.home / "rounds" / str(full) / "start").exists()


@pytest.mark.parametrize("reference", ["base", "round_start"])
def test_the_divergence_is_measured_from_where_the_setting_says(site, sampler, policy, reference):
    first = site.request(**(LEARNS | {"steps": 6}))
    house = site.open(sampling_engine=sampler.url)
    house.judge = house.reward
    work_on(house, claim(house))
    with site.database.transaction() as session:  # live in any case
        from db.queries import checkpoints, deployments

        row = site.round(first)
        if site.live().id != row.candidate_checkpoint_id:
            current = deployments.current(session)
            deployments.propose(session, row.candidate_checkpoint_id, "test", "for what comes", current.id)
            checkpoints.set_state(session, row.candidate_checkpoint_id, "published")
    second = site.request(**(LEARNS | {"steps": 1, "kl_beta": 0.01, "reference": reference}))
    work_on(house, claim(house))
    kl = site.metrics(second)["kl"][0][1]
    assert kl > 0.01 if reference == "base" else kl < 0.01, kl


@pytest.mark.parametrize("algorithm", ["dpo", "sft"])
def test_the_other_algorithms_train_full_weights_too(site, sampler, tmp_path, algorithm):
    rows = [{"messages": prompt(n), "thought": "plan", "response": "red red red red"} for n in range(60)]
    lessons = tmp_path / "lessons.jsonl"
    lessons.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = site.request(algorithm=algorithm, **(LEARNS | {"steps": 3, "dpo_min_valid": 2, "learning_rate": 1e-3}))
    house = site.open(sampling_engine=sampler.url, teacher_data=str(lessons))
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(asked).error
    assert [step for step, _ in site.metrics(asked)["loss"]] == [1, 2, 3]
    assert site.checkpoint(site.round(asked).candidate_checkpoint_id).kind == "full"


def test_without_an_engine_of_its_own_a_round_says_what_to_set(site):
    asked = site.request(weights="full")
    house = site.open()
    assert work_on(house, claim(house)) == FAILED
    assert "set RUMINATE_TRAINER_SAMPLING_ENGINE to its" in site.round(asked).error


def test_an_engine_that_serves_people_is_refused(site, sampler):
    asked = site.request(weights="full")
    sampler.adapters.append("ruminate-v3")
    house = site.open(sampling_engine=sampler.url)
    assert work_on(house, claim(house)) == FAILED
    assert "serves people (it has ruminate-v3); give rounds one of their own" in site.round(asked).error
    assert sampler.reloads == []


def test_ppo_trains_two_whole_models_and_ends_as_if_it_had_not_been_interrupted(
    site, second_site, sampler, policy, monkeypatch
):
    wanted = LEARNS | {"steps": 3, "kl_beta": 0.02, "critic_learning_rate": 1e-3, "gate_prompts": 4}
    note, ends = Ledger.step, []

    def stop_after_two(ledger, step, figures):
        note(ledger, step, figures)
        if step == 3:
            raise Stopped("SIGTERM")

    for where in (site, second_site):
        asked = where.request(algorithm="ppo", **wanted)
        if where is second_site:
            house = where.open(sampling_engine=sampler.url)
            with monkeypatch.context() as patch:
                patch.setattr(Ledger, "step", stop_after_two)
                with pytest.raises(Stopped):
                    work_on(house, claim(house))
            assert where.round(asked).step == 3
        house = where.open(sampling_engine=sampler.url)
        assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), where.round(asked).error
        made = where.checkpoint(where.round(asked).candidate_checkpoint_id)
        assert made.kind == "full"
        ends.append(load_file(Path(made.path) / "model.safetensors"))
        assert where.gateway.history == [], "the engine that serves people was used"
    figures = site.metrics(asked)
    assert [step for step, _ in figures["value_loss"]] == [1, 2, 3]
    assert all(norm > 0 for _, norm in figures["value_grad_norm"])
    assert figures["kl"][0][1] < 1e-3 < figures["kl"][2][1]
    base = load_file(policy / "model.safetensors")
    assert sum(not ends[0][name].equal(tensor) for name, tensor in base.items()) > len(base) / 2
    for name, tensor in ends[0].items():
        assert torch.allclose(tensor.float(), ends[1][name].float(), atol=1e-5), name


@pytest.mark.parametrize("reference", ["base", "round_start"])
def test_actor_critic_and_reference_of_ppo_are_three_models(site, sampler, policy, tmp_path, reference):
    site.request(**(LEARNS | {"algorithm": "ppo", "reference": reference, "kl_beta": 0.1}))
    house = site.open(sampling_engine=sampler.url)
    work = site.begin(house)
    taught = load_full(work, policy)
    with torch.no_grad():
        for parameter in taught.parameters():
            parameter.add_(0.3 * parameter.std() * torch.randn_like(parameter))
    work = replace(work, parent=replace(work.parent, path=save_full(taught, tmp_path / "v1", policy), kind="full"))
    batch = rows([[5, 6, 7]] * 2, [[8, 9], [8]], 0, "cpu")
    both = models_of(work, None)
    with torch.no_grad():
        own, apart = both.logprobs(batch, 1.0)[0], both.reference_logprobs(batch, 1.0)
        assert torch.allclose(own, apart, atol=1e-5) == (reference == "round_start")
        assert both.values(batch).abs().sum() == 0  # a new critic expects nothing
    torch.nn.init.normal_(both.head.weight)
    both.logprobs(batch, 1.0)[0].sum().backward()
    assert all(weight.grad is None for weight in both.critic_parameters())
    before = [weight.grad.clone() for weight in both.actor_parameters()]
    both.values(batch).sum().backward()
    assert all(one.equal(weight.grad) for one, weight in zip(before, both.actor_parameters(), strict=True))
    assert sum(weight.grad.abs().sum() > 0 for weight in both.critic_parameters()) > len(before) / 2
    both.save(tmp_path / "state")
    again = models_of(work, tmp_path / "state")
    with torch.no_grad():
        assert torch.equal(again.values(batch), both.values(batch))
        assert torch.equal(again.logprobs(batch, 1.0)[0], own)


def test_a_wrong_url_is_refused_at_once():
    with pytest.raises(ValueError, match="sampling_engine"):
        TrainerSettings(sampling_engine="127.0.0.1:8000")


def test_what_a_restarted_engine_wrote_is_asked_for_again(sampler, policy, site, tmp_path, monkeypatch):
    taught = tmp_path / "taught"
    model = load_policy(policy, None, RoundConfig(dtype="float32")).unload()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * parameter.std() * torch.randn_like(parameter))
    save_full(model, taught, policy)
    house = Gateway(site.gateway.url, "service")
    engine = OwnEngine(sampler.url, house, 5.0)
    engine.load_adapter("base", policy)
    engine.load_adapter("taught", taught)
    ids = [[5, 6, 7], [5, 6, 7]]

    def asked(name: str) -> list[tuple[tuple[int, ...], list[float]]]:
        samples = engine.sample(name, ids, 2, max_tokens=8, temperature=1.0, seed=3)
        scored = engine.logprobs(name, [(ids[one.prompt], one.token_ids) for one in samples])
        for one, again in zip(samples, scored, strict=True):
            assert one.logprobs == pytest.approx(again, abs=1e-4)
        return [(tuple(one.token_ids), [round(each, 3) for each in one.logprobs]) for one in samples]

    before, other = asked("base"), asked("taught")
    assert sampler.reloads == [str(policy), str(taught)]
    assert before != other
    assert before[:2] != before[2:], "equal prompts got equal samples"

    def restart(_: object) -> None:
        sampler.before_sample = None
        sampler.forget()

    sampler.before_sample = restart
    assert asked("taught") == other
    assert asked("base") == before
    reload, post, restarts = sampler._reload, engine._http.post, 2

    def restart_after(body: dict[str, object]) -> tuple[int, object]:
        nonlocal restarts
        done, restarts = reload(body), restarts - 1
        if restarts == 1:  # before the engine is asked what it has
            sampler.forget()
        return done

    def restart_before(path: str, json: object) -> httpx.Response:
        if restarts == 0:  # between that and the naming, which nobody takes then
            monkeypatch.setattr(engine._http, "post", post)
            sampler.forget()
            raise httpx.ConnectError("nobody listens")
        return post(path, json=json)

    monkeypatch.setattr(sampler, "_reload", restart_after)
    monkeypatch.setattr(engine._http, "post", restart_before)
    assert asked("taught") == other, "the base, which a restart brings back, was named as what was there before it"
    assert restarts < 0
    with pytest.raises(GatewayError, match="no full weights are known as 'nothing'"):
        engine.sample("nothing", ids, 1, max_tokens=2, temperature=1.0, seed=1)
    engine.close()
    house.close()


def test_a_prompts_samples_are_told_of_while_those_of_others_are_written(sampler, policy, site):
    engine, first, told = OwnEngine(sampler.url, Gateway(site.gateway.url, "service"), 5.0), threading.Event(), []
    engine.load_adapter("base", policy)

    def wait(_: object) -> None:
        assert sampler.asked == 1 or first.wait(30), "nothing was told of while samples were written"

    def arrived(place: int, sample: Sample) -> None:
        told.append((place, sample.prompt))
        first.set()

    sampler.before_sample = wait
    samples = engine.sample("base", [[5, 6, 7], [5, 6]], 2, max_tokens=4, temperature=1.0, seed=3, arrived=arrived)
    assert sorted(told) == [(place, sample.prompt) for place, sample in enumerate(samples)]
    engine.close()


def test_a_saved_state_is_rounded_as_the_base_is_stored(policy, tmp_path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(policy, dtype="float32")
    model.save_pretrained(tmp_path / "state")
    copied = copy_full(tmp_path / "state", tmp_path / "copied", policy)
    saved = save_full(model, tmp_path / "saved", policy)
    assert full_files(copied) == full_files(saved) == ("config.json", "model.safetensors")
    base, one, two = (load_file(folder / "model.safetensors") for folder in (policy, copied, saved))
    for name, tensor in base.items():
        assert (one[name].dtype, two[name].dtype) == (tensor.dtype, tensor.dtype)
        assert one[name].equal(two[name])
        assert one[name].equal(tensor)
    assert read_json(saved / "config.json") == read_json(policy / "config.json")


def test_full_weights_are_exported_as_the_model_that_they_are(site, sampler, policy, tmp_path):
    asked = site.request(**(LEARNS | {"steps": 1}))
    house = site.open(sampling_engine=sampler.url)
    work_on(house, claim(house))
    folder = Path(site.checkpoint(site.round(asked).candidate_checkpoint_id).path)
    with pytest.raises(CannotExport, match="is full weights and no adapter; export it with --merged"):
        export_adapter(folder, tmp_path / "adapter")
    out = export_merged(folder, str(policy), "chatml", tmp_path / "model")
    assert (out / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert {"config.json", "tokenizer.json", "ruminate.json"} <= {path.name for path in out.iterdir()}


def test_the_policy_under_training_is_whole(site, sampler):
    site.request(**LEARNS)
    house = site.open(sampling_engine=sampler.url)
    work = site.begin(house)
    model = policy_of(work)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not hasattr(model, "peft_config") or not model.peft_config
