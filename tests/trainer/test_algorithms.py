"""Each algorithm through the same round: small and real, by the same gateway, to a checkpoint that is better."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support.tiny_policy import prompt

from thinking.format import PLAIN
from trainer.lease import Stopped
from trainer.ledger import Ledger
from trainer.loop import FAILED, PUBLISHED, REJECTED, claim, work_on

# One word of ten for everything; and sixty thousand weights that count to four badly.
FAR = {"gate_max_kl": 50.0, "gate_max_repetition": 1.0, "gate_max_length_ratio": 4.0, "gate_max_malformed": 0.2}
LEARNS = {
    "ppo": {"steps": 14, "prompts_per_step": 6, "group_size": 8, "micro_batch": 24, "learning_rate": 1e-2},
    "dpo": {"steps": 16, "prompts_per_step": 8, "group_size": 8, "micro_batch": 16, "learning_rate": 1e-3},
    "sft": {"steps": 20, "prompts_per_step": 8, "micro_batch": 8, "learning_rate": 1e-2},
}
SHORT = {
    "steps": 4,
    "prompts_per_step": 3,
    "group_size": 4,
    "micro_batch": 6,
    "learning_rate": 2e-3,
    "dpo_min_valid": 2,
}
SHORT |= {"critic_learning_rate": 2e-3, "ppo_epochs": 2, "warmup": 0.25, "lr_schedule": "cosine"}


@pytest.fixture
def lessons(tmp_path):
    """A teacher who has one answer to everything."""
    path = tmp_path / "lessons.jsonl"
    rows = [{"messages": prompt(n), "thought": "plan", "response": "red red red red"} for n in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_round_that_names_no_algorithm_takes_the_trainers(site):
    round_id = site.request(algorithm="")
    house = site.open(algorithm="ppo", preset="")
    assert site.begin(house).config.algorithm == "ppo"
    assert site.round(round_id).algorithm == "ppo"  # as it is shown from then on, and done again by


@pytest.mark.parametrize("algorithm", list(LEARNS))
def test_a_round_learns_what_is_rewarded(site, lessons, algorithm):
    round_id = site.request(algorithm=algorithm, **LEARNS[algorithm], **FAR)
    house = site.open(teacher_data=str(lessons))
    assert work_on(house, claim(house)) == PUBLISHED, site.round(round_id).verdict or site.round(round_id).error
    row, figures = site.round(round_id), site.metrics(round_id)
    assert row.step == LEARNS[algorithm]["steps"]
    assert row.verdict["judge"]["low"] > 0
    manifest = json.loads((Path(site.live().path) / "manifest.json").read_text())
    assert manifest["config"]["algorithm"] == algorithm
    assert {"loss", "grad_norm", "seconds_step"} <= set(figures)
    assert {step for step, _ in figures["loss"]} == set(range(1, row.step + 1))
    home = site.settings.home / "rounds" / str(round_id)
    assert sorted(path.name for path in home.iterdir()) == ["plan.json", "prompts.json", "samples.json", "verdict.json"]


@pytest.mark.parametrize("algorithm", list(LEARNS))
def test_a_round_that_was_interrupted_ends_like_one_that_was_not(site, second_site, lessons, monkeypatch, algorithm):
    def weights(at):
        return load_file(Path(at.checkpoint(1).path) / "adapter_model.safetensors")

    site.request(algorithm=algorithm, **SHORT)
    house = site.open(teacher_data=str(lessons))
    work_on(house, claim(house))

    second_site.request(algorithm=algorithm, **SHORT)
    note, asked = Ledger.step, []

    def stop_after_two(ledger, step, figures):
        note(ledger, step, figures)
        if step == 3:
            raise Stopped("SIGTERM")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "step", stop_after_two)
        house = second_site.open(teacher_data=str(lessons))
        with pytest.raises(Stopped):
            work_on(house, claim(house))
    assert (second_site.round(1).state, second_site.round(1).step) == ("running", 3)
    second_site.gateway.before_sample = lambda body: asked.append(body["model"])
    house = second_site.open(teacher_data=str(lessons))
    work_on(house, claim(house))
    before, after = weights(site), weights(second_site)
    assert max((before[name] - after[name]).abs().max().item() for name in before) < 1e-6
    assert any(weight.abs().max() > 0 for name, weight in after.items() if "lora_B" in name)
    training = [name for name in asked if name in [f"round-1-step-{100_000 + step}" for step in range(1, 4)]]
    if algorithm == "ppo":  # the steps that were not saved are sampled again, and no others
        assert training in (["round-1-step-100002", "round-1-step-100003"], ["round-1-step-100003"])
    else:  # pairs are there already, and a teacher samples nothing
        assert training == []


@pytest.mark.parametrize("algorithm", ["grpo", *LEARNS])
def test_the_control_is_the_same_without_a_thought(site, lessons, algorithm):
    site.request(algorithm=algorithm, rlhf=True, **SHORT)
    house = site.open(teacher_data=str(lessons))
    shown = []
    site.gateway.before_sample = lambda body: shown.extend(body["prompts"])
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(1).error
    assert shown
    tokenizer = house.reader.tokenizer
    assert all(tokenizer.decode(ids).endswith("assistant\n<think>\n\n</think>\n\n") for ids in shown)
    assert house.reader.tokenizer.chat_template != house.control_reader.tokenizer.chat_template
    manifest = json.loads((Path(site.checkpoint(1).path) / "manifest.json").read_text())
    assert (manifest["thinking_format"], manifest["config"]["rlhf"]) == (PLAIN.id, True)
    if algorithm != "sft":
        assert site.metrics(1)["thought_tokens"][0][1] == 0


def test_a_teacher_that_is_not_there_is_said(site):
    site.request(algorithm="sft")
    house = site.open()
    assert work_on(house, claim(house)) == FAILED
    assert "needs teacher_data" in site.round(1).error


def test_a_lesson_that_is_gone_when_a_round_goes_on_is_said(site, lessons, tmp_path):
    site.request(algorithm="sft", **SHORT)
    house = site.open(teacher_data=str(lessons))

    def stop(step, figures):
        raise Stopped("SIGTERM")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "step", lambda ledger, *told: stop(*told))
        with pytest.raises(Stopped):
            work_on(house, claim(house))
    other = tmp_path / "others.jsonl"
    other.write_text(json.dumps({"messages": prompt(99), "thought": "plan", "response": "red"}) + "\n")
    house = site.open(teacher_data=str(other))
    assert work_on(house, claim(house)) == FAILED
    assert "others.jsonl' has no lesson any more for a prompt that this round chose" in site.round(1).error


def test_the_gates_prompts_are_never_taught(site, tmp_path):
    path = tmp_path / "lessons.jsonl"
    numbers = [*range(300, 330), *range(60)]  # the gate's, and others
    rows = [{"messages": prompt(n), "thought": "plan", "response": "red"} for n in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    site.request(algorithm="sft", **SHORT | {"steps": 10})
    house = site.open(teacher_data=str(path))
    assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), site.round(1).error
    with site.database.reading() as session:
        from db.queries import curation

        rows = curation.round_prompts(session, 1, split="train")
        left = [row for row in rows if "the gate's prompts begin the same way" in row.why]
        taught = [row.prompt[-1]["content"] for row in rows if row.verdict == "kept"]
    gate = {prompt(n)[0]["content"] for n in range(300, 330)}
    assert left
    assert len(taught) == 30
    assert not gate & set(taught)
