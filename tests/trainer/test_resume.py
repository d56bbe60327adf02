"""A trainer that is killed or stopped anywhere: the round goes on where it was, once, and ends as if nothing had been.

Real processes, real signals. The gateway's samples follow from the seed, so an interrupted round must end with exactly
the weights of one that was left alone.
"""

import json
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support.tiny_policy import make_classifier, prompt
from support.trainer_copies import Copies

from db.queries import checkpoints, curation, deployments
from trainer import publish, selection
from trainer.files import read_json, sha256
from trainer.lease import Stopped
from trainer.ledger import Ledger
from trainer.loop import FAILED, PUBLISHED, REJECTED, claim, work_on
from trainer.policy import load_policy, save_adapter
from trainer.rewards import SequenceClassifier
from trainer.settings import RoundConfig

CONFIG = {"steps": 4, "prompts_per_step": 3, "group_size": 4, "micro_batch": 6, "learning_rate": 5e-3, "kl_beta": 0.02}
QUICK = CONFIG | {"steps": 1, "gate_prompts": 4, "gate_samples": 1}
GATE = {"gate_prompts": 8, "gate_samples": 2, "max_completion_tokens": 32}


RUNS = """
import runpy

runpy.run_module("trainer", run_name="__main__", alter_sys=True)
"""
DIES = """
import os, signal
from trainer.ledger import Ledger

note = Ledger.step

def step(ledger, number, figures):
    note(ledger, number, figures)
    if number == {step}:
        os.kill(os.getpid(), signal.SIGKILL)

Ledger.step = step
"""
"""A trainer that is killed, as by `kill -9`, when a step's figures are in the rows and its state is not saved yet."""


@pytest.fixture(scope="module")
def copies():
    made = Copies()
    yield made
    made.close()


class Trainer:
    """`python -m trainer --once` over a site. `dies_at`: the step in which it is killed. `more`: settings by field."""

    def __init__(self, copies, site, judge: Path, dies_at: int = 0, **more):
        settings = site.settings
        self.log = settings.home / "trainer.log"
        environment = {
            "RUMINATE_HOME": str(settings.home),
            "RUMINATE_SERVICE_KEY": "service",
            "RUMINATE_TRAINER_GATEWAY": settings.gateway,
            "RUMINATE_TRAINER_BASE_MODEL": str(settings.base_model),
            "RUMINATE_TRAINER_REWARD_MODEL": str(judge),
            "RUMINATE_TRAINER_JUDGE_MODEL": str(judge),
            "RUMINATE_TRAINER_BASE_MIX": str(settings.base_mix),
            "RUMINATE_TRAINER_HELDOUT": str(settings.heldout),
            "RUMINATE_TRAINER_LEASE_SECONDS": "8",
        }
        environment |= {f"RUMINATE_TRAINER_{name.upper()}": str(value) for name, value in (GATE | more).items()}
        code = (DIES.format(step=dies_at) if dies_at else "") + RUNS
        self.process = copies.start(code, environment, self.log)

    def wait(self, seconds: float = 240.0) -> int:
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()

    @property
    def told(self) -> str:
        return self.log.read_text()


def interrupt(site, when, how):
    """Send `how` to the trainer when the gateway is asked something for which `when(path, body)` holds."""
    running = {}
    answer = site.gateway.answer

    def watch(method, path, body, authorization):
        if running.get("trainer") and when(path, body):
            trainer = running.pop("trainer")
            running["sent"] = True
            trainer.process.send_signal(how)
            trainer.process.wait(60)  # it ends while its request is still unanswered
        return answer(method, path, body, authorization)

    site.gateway.answer = watch
    return running


@pytest.fixture
def judge(policy, tmp_path):
    return make_classifier(policy, tmp_path / "judge", seed=11)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_round_killed_in_training_and_in_the_gate_ends_like_one_that_was_not(
    site, second_site, judge, copies, overlap
):
    def sampling(step):
        return lambda path, body: path == "/internal/sample" and body["model"].endswith(step)

    site.request(**CONFIG, overlap=overlap)
    house = site.open(**GATE)
    house.reward = house.judge = SequenceClassifier(judge)
    ended = work_on(house, claim(house))
    assert ended in (0, 3)
    whole = Path(site.checkpoint(1).path)

    again = second_site  # the same round in another home, interrupted three times
    round_id = again.request(**CONFIG, overlap=overlap)
    second = "step-100002" if overlap else "step-100003"  # with overlap the last step is sampled by step 2's policy
    for when, how in (
        (sampling("step-2"), signal.SIGKILL),  # training, two steps saved
        (sampling(second), signal.SIGTERM),  # training again, by the second attempt
        (sampling("step-200004"), signal.SIGKILL),  # the gate
    ):
        running = interrupt(again, when, how)
        trainer = running["trainer"] = Trainer(copies, again, judge)
        code = trainer.wait()
        assert "sent" in running, trainer.told
        assert code == (-signal.SIGKILL if how == signal.SIGKILL else FAILED), trainer.told
        assert again.round(round_id).state == "running"
        if how == signal.SIGKILL:
            again.let_lapse(round_id)  # a stopped trainer gives its lease back itself
    last = Trainer(copies, again, judge)
    assert last.wait() == ended, last.told

    row = again.round(round_id)
    assert row.attempts == 4
    assert row.step == 4
    assert {step for step, _ in again.metrics(round_id)["reward"]} == {1, 2, 3, 4}
    assert "phase train, step 2" in last.told
    before = load_file(whole / "adapter_model.safetensors")
    after = load_file(Path(again.checkpoint(1).path) / "adapter_model.safetensors")
    furthest = max((before[name] - after[name]).abs().max().item() for name in before)
    assert furthest < 1e-6, furthest
    assert again.metrics(round_id)["reward"] == site.metrics(1)["reward"]


@pytest.mark.parametrize("algorithm", ["ppo", "dpo", "sft"])
def test_a_killed_round_of_another_algorithm_ends_like_one_that_was_not(
    site, second_site, judge, copies, tmp_path, algorithm
):
    lessons = tmp_path / "lessons.jsonl"
    rows = [{"messages": prompt(n), "thought": "plan", "response": "red red red red"} for n in range(60)]
    lessons.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = CONFIG | {"dpo_min_valid": 2, "warmup": 0.25, "lr_schedule": "cosine", "ppo_epochs": 2}

    site.request(algorithm=algorithm, **settings)
    house = site.open(teacher_data=str(lessons), **GATE)
    house.reward = house.judge = SequenceClassifier(judge)
    ended = work_on(house, claim(house))
    assert ended in (PUBLISHED, REJECTED)

    again = second_site
    round_id = again.request(algorithm=algorithm, **settings)
    dead = Trainer(copies, again, judge, dies_at=3, teacher_data=lessons)
    assert dead.wait() == -signal.SIGKILL, dead.told
    assert (again.round(round_id).state, again.round(round_id).step) == ("running", 3)
    again.let_lapse(round_id)
    last = Trainer(copies, again, judge, teacher_data=lessons)
    assert last.wait() == ended, last.told
    assert again.round(round_id).attempts == 2
    assert {step for step, _ in again.metrics(round_id)["loss"]} == {1, 2, 3, 4}
    before, after = (
        load_file(Path(one.checkpoint(1).path) / "adapter_model.safetensors") for one in (site, second_site)
    )
    assert max((before[name] - after[name]).abs().max().item() for name in before) < 1e-6
    assert any(weights.abs().max() > 0 for name, weights in after.items() if "lora_B" in name)
    sampled = [name for name in again.gateway.history if name.startswith("round-1-step-100")]
    if algorithm == "ppo":  # what was saved is gone on from, and not begun again
        assert "round-1-step-100001" not in sampled
        assert "round-1-step-100003" in sampled


def test_a_trainer_that_dies_right_after_the_swap_finds_it_done(site):
    learns = {"steps": 14, "prompts_per_step": 6, "group_size": 8, "micro_batch": 48, "learning_rate": 1e-2}
    learns |= {"gate_max_kl": 10.0, "gate_max_repetition": 1.0, "gate_max_malformed": 1.0}  # one word of ten for all
    round_id = site.request(kl_beta=0.0, **learns)
    house = site.open()
    deploy = house.gateway.deploy

    def die_after(*args):
        deploy(*args)
        raise Stopped("SIGTERM")

    house.gateway.deploy = die_after
    with pytest.raises(Stopped):
        work_on(house, claim(house))
    assert site.live().name == "v1"
    assert site.round(round_id).state == "running"
    resumed = site.open()
    assert work_on(resumed, claim(resumed)) == PUBLISHED
    assert [one["checkpoint"] for one in site.gateway.deployed] == ["v1"]
    assert site.round(round_id).candidate_checkpoint_id == 1


@pytest.fixture(scope="module")
def parent(policy, tmp_path_factory):
    """An adapter that does something, as rounds before would have left it."""
    import torch

    model = load_policy(policy, None, RoundConfig())
    torch.manual_seed(3)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.02)
    return save_adapter(model, tmp_path_factory.mktemp("parent") / "v1")


def make_live(site, adapter):
    with site.database.transaction() as session:
        row = checkpoints.reserve_checkpoint(session, 0)
        checkpoints.complete_checkpoint(session, row.id, str(adapter), {})
        checkpoints.set_state(session, row.id, "published")
        deployments.propose(session, row.id, "test", "for the test", deployments.current(session).id)
    loaded = {"name": f"ruminate-{row.name}", "path": str(adapter)}
    assert site.gateway.answer("POST", "/internal/adapters", loaded, "Bearer service")[0] == 200


@pytest.mark.parametrize(
    ("algorithm", "reference"),
    [("grpo", "base"), ("grpo", "round_start"), ("dpo", "round_start"), ("ppo", "round_start")],
)
def test_a_later_round_that_was_stopped_goes_on_from_its_own_weights(
    site, second_site, parent, monkeypatch, algorithm, reference
):
    settings = QUICK | {"steps": 3, "algorithm": algorithm, "reference": reference, "dpo_min_valid": 2}
    note, after = Ledger.step, []

    def stop(ledger, step, figures):
        note(ledger, step, figures)
        if step == 3:
            raise Stopped("SIGTERM")

    for where, stops in ((site, False), (second_site, True)):
        make_live(where, parent)
        round_id = where.request(**settings)
        house = where.open()
        if stops:
            with monkeypatch.context() as patch:
                patch.setattr(Ledger, "step", stop)
                with pytest.raises(Stopped):
                    work_on(house, claim(house))
            house = where.open()
        assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), where.round(round_id).error
        assert where.round(round_id).parent_checkpoint_id == 1
        (_, apart), *_ = where.metrics(round_id)["implicit_chosen" if algorithm == "dpo" else "kl"]
        assert (abs(apart) < 1e-5) == (reference == "round_start"), apart  # in the first step
        after.append(load_file(Path(where.checkpoint(2).path) / "adapter_model.safetensors"))
    whole, resumed = after
    assert max((whole[name] - resumed[name]).abs().max().item() for name in whole) < 1e-6


def kill_at(monkeypatch, module, name, after=False):
    """The next call of `module.name` ends the trainer: before it does anything, or once it has done its work."""
    real = getattr(module, name)

    def deadly(*args, **options):
        monkeypatch.setattr(module, name, real)
        if after:
            real(*args, **options)
        raise Stopped("SIGTERM")

    monkeypatch.setattr(module, name, deadly)


def chosen(site, round_id):
    with site.database.reading() as session:
        rows = curation.round_prompts(session, round_id)
    return [(row.position, row.source, row.split, row.verdict, row.why, row.prompt) for row in rows]


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [
        (curation, "save_prompts", True),  # inside of the transaction that writes the rows
        (selection, "write_json", False),  # the rows are there, the mark that says so is not
        (selection, "write_json", True),
    ],
    ids=["in-the-rows", "before-the-mark", "after-the-mark"],
)
def test_a_trainer_that_dies_in_curation_chooses_the_same_once_more(
    site, second_site, monkeypatch, module, name, after
):
    round_id = site.request(**QUICK)
    kill_at(monkeypatch, module, name, after)
    house = site.open()
    with pytest.raises(Stopped):
        work_on(house, claim(house))
    resumed = site.open()
    assert work_on(resumed, claim(resumed)) in (PUBLISHED, REJECTED)
    assert site.round(round_id).attempts == 2
    left_alone = second_site.open()
    second_site.request(**QUICK)
    selection.select(site.begin(left_alone))
    assert chosen(site, round_id) == chosen(second_site, 1) != []


@pytest.mark.parametrize(
    ("module", "name", "after", "in_place"),
    [
        (publish, "write_json", True, False),  # all is written aside, and has not got its name
        (publish, "publish_folder", True, True),  # the files have their name, and the row knows nothing of them
        (Ledger, "complete", True, True),
    ],
    ids=["before-the-files", "before-the-row", "after-the-row"],
)
def test_a_trainer_that_dies_while_it_publishes_leaves_one_whole_checkpoint(
    site, monkeypatch, module, name, after, in_place
):
    round_id = site.request(**QUICK)
    kill_at(monkeypatch, module, name, after)
    house = site.open()
    with pytest.raises(Stopped):
        work_on(house, claim(house))
    home = site.settings.home / "checkpoints"
    assert (home / "v1").is_dir() == in_place
    assert (site.checkpoint(1).path is not None) == (module is Ledger), "visible before it is whole"
    written = sha256(home / "v1" / "manifest.json") if in_place else None
    resumed = site.open()
    assert work_on(resumed, claim(resumed)) in (PUBLISHED, REJECTED)
    row = site.checkpoint(1)
    assert site.round(round_id).candidate_checkpoint_id == 1
    assert (row.name, Path(row.path)) == ("v1", (home / "v1").absolute())
    assert [path.name for path in home.iterdir()] == ["v1"]
    manifest = read_json(home / "v1" / "manifest.json")
    assert row.manifest == manifest
    assert written in (None, sha256(home / "v1" / "manifest.json"))
    assert manifest["files"] == {file: sha256(home / "v1" / file) for file in manifest["files"]}


def test_what_a_round_keeps_on_disk_is_bounded(site):
    site.request(**CONFIG | {"steps": 6})
    house = site.open()
    sizes = []
    home = site.settings.home / "rounds" / "1"

    def count(body):
        sizes.append((len(list(home.glob("states/checkpoint-*"))), len(list(home.glob("versions/round-*")))))

    site.gateway.before_sample = count
    work_on(house, claim(house))
    assert max(states for states, _ in sizes) == 2
    assert max(versions for _, versions in sizes) <= 3
    assert sorted(path.name for path in home.iterdir()) == ["plan.json", "prompts.json", "samples.json", "verdict.json"]


def test_a_half_written_state_is_not_resumed_from(tmp_path):
    from trainer.states import COMPLETE, last_state

    for step in (1, 2, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}" / COMPLETE).write_text("{}")
    assert last_state(tmp_path) == tmp_path / "checkpoint-2"
    assert not (tmp_path / "checkpoint-10").exists()
    assert last_state(tmp_path / "nowhere") is None
