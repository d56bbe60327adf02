"""The trainer's smaller parts: settings, whole files, the gateway's patience, the heartbeat, the probe."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from support.tiny_adapters import write_tiny_adapter, write_tiny_full

from trainer.files import publish_folder, read_json, sha256, write_json
from trainer.gateway import Gateway, GatewayError
from trainer.lease import Heartbeat, LeaseLost
from trainer.probe import APART, MAX_TOKENS, Token, all_sides, choose, make_probe
from trainer.remote import connection
from trainer.round_config import RoundConfig
from trainer.settings import BadSetting, TrainerSettings, read_settings
from trainer.work import algorithm

REPOSITORY = Path(__file__).parents[2]


def run_trainer(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "trainer", *arguments],
        cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_bad_setting_is_one_sentence_and_exit_code_2():
    found = run_trainer("--once", RUMINATE_TRAINER_LEARNING_RATE="-1")
    assert found.returncode == 2
    assert "RUMINATE_TRAINER_LEARNING_RATE = '-1': Input should be greater than 0" in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_a_database_that_is_gone_is_worth_a_new_start_of_the_trainer_that_works_on(tmp_path):
    (tmp_path / "a.db").write_text("no database at all, but a file of the same name")
    gone = {"RUMINATE_DATABASE_URL": f"sqlite:///{tmp_path}/a.db", "RUMINATE_HOME": str(tmp_path)}
    found = {mode: run_trainer(*mode, **gone) for mode in ((), ("--once",))}
    assert all("file is not a database" in one.stderr for one in found.values()), found
    assert [one.returncode for one in found.values()] == [1, 2]


def test_a_path_that_is_not_there_is_a_bad_setting():
    with pytest.raises(BadSetting, match=r"RUMINATE_TRAINER_BASE_MODEL = '/nowhere': expected a file or folder"):
        read_settings(base_model="/nowhere")


def test_the_help_loads_no_model_library():
    code = (
        "import sys, runpy; sys.argv = ['trainer', '--help']\ntry: runpy.run_module('trainer', run_name='__main__')\n"
    )
    code += "except SystemExit: pass\nheavy = {'torch', 'trl', 'transformers', 'peft', 'vllm'} & set(sys.modules)\n"
    found = subprocess.run([sys.executable, "-c", code + "sys.exit(str(heavy) if heavy else 0)"], cwd=REPOSITORY)
    assert found.returncode == 0


def test_settings_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RUMINATE_HOME", str(tmp_path))
    monkeypatch.setenv("RUMINATE_TRAINER_STEPS", "3")
    (tmp_path / "service.key").write_text("secret\n")
    settings = TrainerSettings()
    assert (settings.home, settings.steps, settings.key) == (tmp_path, 3, "secret")
    assert settings.database == f"sqlite:///{tmp_path}/ruminate.db"
    assert "secret" not in repr(settings)


def test_every_setting_has_a_sentence_for_the_operator():
    for model in (RoundConfig, TrainerSettings):
        assert all((field.description or "").endswith((".", ")")) for field in model.model_fields.values())


def test_a_round_overrides_settings_and_nothing_else():
    settings = TrainerSettings(steps=9)
    config = settings.round_config({"learning_rate": 0.01}, seed=5)
    assert (config.steps, config.learning_rate, config.seed) == (9, 0.01, 5)
    with pytest.raises(BadSetting, match="round config learning_speed: no setting of a round"):
        settings.round_config({"learning_speed": 1}, 1)
    with pytest.raises(BadSetting, match="round config steps = 0"):
        settings.round_config({"steps": 0}, 1)
    with pytest.raises(BadSetting, match=r"= 15 must be a multiple of micro_batch = 4"):
        settings.round_config({"prompts_per_step": 5, "group_size": 3, "micro_batch": 4}, 1)
    uneven = {"algorithm": "sft", "prompts_per_step": 5, "group_size": 3, "micro_batch": 4}
    assert settings.round_config(uneven, 1).prompts_per_step == 5  # a lesson is no group


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"gateway": "localhost:8000"}, "RUMINATE_TRAINER_GATEWAY = 'localhost:8000': .*https"),
        ({"teacher_data": "owner/lessons"}, "RUMINATE_TRAINER_TEACHER_DATA = 'owner/lessons': .*folder that exists$"),
        ({"refresh_pairs": "owner/pairs"}, "RUMINATE_TRAINER_REFRESH_PAIRS = 'owner/pairs': .*folder that exists$"),
        ({"base_mix": "nowhere.jsonl"}, "RUMINATE_TRAINER_BASE_MIX = 'nowhere.jsonl': .*or a hub name"),
        ({"refresh_after": 5, "reward_model": "two.toml"},
         "RUMINATE_TRAINER_REFRESH_AFTER = 5: only a single sequence classifier.*two.toml"),
    ],
)  # fmt: skip
def test_what_could_only_fail_later_is_refused_at_the_start(tmp_path, monkeypatch, values, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.toml").write_text("[[models]]\nkind = 'classifier'\nmodel = 'x'\n")
    with pytest.raises(BadSetting, match=told):
        read_settings(**values)


def test_an_algorithm_is_chosen_by_name():
    assert hasattr(algorithm("grpo"), "train")
    with pytest.raises(ValueError, match="'magic': there is none of this name; known are grpo"):
        algorithm("magic")


def test_a_folder_is_published_whole_and_never_rewritten(tmp_path):
    aside = tmp_path / ".v1.aside"
    aside.mkdir()
    (aside / "weights").write_bytes(b"abc")
    (aside / "weights").chmod(0o600)
    final = publish_folder(aside, tmp_path / "v1")
    assert not aside.exists()
    assert (final / "weights").stat().st_mode & 0o777 == 0o644
    assert sha256(final / "weights") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    aside.mkdir()
    with pytest.raises(FileExistsError, match="never rewritten"):
        publish_folder(aside, final)


def test_json_replaces_what_stood_there_in_one_piece(tmp_path):
    write_json(tmp_path / "a.json", {"n": 1})
    write_json(tmp_path / "a.json", {"n": 2})
    assert read_json(tmp_path / "a.json") == {"n": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    (tmp_path / "a.json").write_bytes(b'{"n": 2')
    with pytest.raises(ValueError, match=r"a.json is damaged.*put a copy of it back"):
        read_json(tmp_path / "a.json")


def test_a_gateway_that_restarts_is_waited_for(gateway, monkeypatch):
    monkeypatch.setattr("trainer.gateway.RETRY_SECONDS", 0.01)
    gateway.busy = 3
    client = Gateway(gateway.url, "service", patience=5)
    assert len(client.sample("ruminate-v0", [[1, 2]], 2, max_tokens=3, temperature=1.0, seed=1)) == 2
    gateway.busy = 10**9
    with pytest.raises(GatewayError, match="503 the engine restarts"):
        Gateway(gateway.url, "service", patience=0.05).unload_adapter("x")


def test_another_server_than_the_gateway_is_told_by_its_words(monkeypatch):
    client = Gateway("http://gateway", "service", patience=5)
    client._http = httpx.Client(
        base_url="http://gateway", transport=httpx.MockTransport(lambda request: httpx.Response(200, text="<html>Hi"))
    )
    with pytest.raises(GatewayError, match=r"internal/adapters/x answered 200 with b'<html>Hi'.*is that the gateway"):
        client.unload_adapter("x")
    with pytest.raises(GatewayError, match=r"internal/sample answered 200 with '<html>Hi'"):
        client.sample("ruminate-v0", [[1]], 1, max_tokens=3, temperature=1.0, seed=1)


def test_patience_begins_with_the_first_trouble_and_anew_with_each_sample(monkeypatch):
    """The clock is ours: a request of an hour, cut off after each of its samples; and later one of no more samples."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("trainer.gateway.time.monotonic", lambda: clock.now)
    monkeypatch.setattr("trainer.gateway.time.sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    asked = []

    def answer(request):
        asked.append(clock.now)
        clock.now += 3600.0
        rows = [
            {"prompt": 0, "sample": at, "token_ids": [1], "logprobs": [-1.0], "finish_reason": "stop"}
            for at in range(min(len(asked), 3))
        ]
        return httpx.Response(200, text="".join(json.dumps(row) + "\n" for row in rows))

    client = Gateway("http://gateway", "", patience=10)
    client._http = httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(answer))
    assert len(client.sample("m", [[1]], 3, max_tokens=3, temperature=1.0, seed=1)) == 3
    assert len(asked) == 3
    asked.clear()
    with pytest.raises(GatewayError, match="3 of 4 samples came"):
        client.sample("m", [[1]], 4, max_tokens=3, temperature=1.0, seed=1)
    assert len(asked) == 4  # once more after the third had come


def test_a_gateway_that_is_gone_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setattr("trainer.gateway.RETRY_SECONDS", 0.01)
    with pytest.raises(GatewayError, match="http://127.0.0.1:9/internal/adapters/x: ConnectError"):
        Gateway("http://127.0.0.1:9", "", patience=0.05).unload_adapter("x")


@pytest.mark.parametrize(("url", "reads"), [("http://gateway:8000", 0), ("https://gateway", 1), ("HTTPS://gateway", 1)])
def test_certificates_are_read_where_there_is_tls_and_only_there(monkeypatch, url, reads):
    made, make = [], ssl.create_default_context

    def noted(*given, **named):
        made.append(make(*given, **named))
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", noted)
    Gateway(url, "service").close()
    assert len(made) == reads
    connection(url, "", 1.0).close()
    assert [context.verify_mode for context in made] == [ssl.CERT_REQUIRED] * 2 * reads


def test_a_refusal_is_an_error_at_once(gateway):
    with pytest.raises(GatewayError, match="401 only the service key") as caught:
        Gateway(gateway.url, "wrong").load_adapter("round-1-step-1", Path("/nowhere"))
    assert caught.value.status == 401
    client = Gateway(gateway.url, "service")
    client.unload_adapter("never loaded")  # is no error
    with pytest.raises(GatewayError, match="404 no model"):
        client.sample("nobody", [[1]], 1, max_tokens=1, temperature=1.0, seed=1)


def test_the_lease_is_kept_while_work_goes_on():
    beats = []
    with Heartbeat(lambda: beats.append(1) or True, 0.04):
        time.sleep(0.2)
    assert len(beats) >= 5
    count = len(beats)
    time.sleep(0.05)
    assert len(beats) == count


def test_a_lost_lease_ends_the_work_at_once():
    start = time.monotonic()
    with pytest.raises(LeaseLost), Heartbeat(lambda: False, 0.04):
        time.sleep(30)
    assert time.monotonic() - start < 5
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_probe_takes_tokens_that_differ_clearly_and_are_not_unlikely():
    row = [Token([1], 2, -0.5, -0.6), Token([1, 2], 3, -1.0, -3.0), Token([1, 2, 3], 4, -9.0, -1.0)]
    other = [Token([5], 6, -0.1, -4.1)]
    assert choose([row, other]) == [other[0], row[1]]
    small = [[Token([1], 2, -0.5, -0.5 - apart / 100)] for apart in range(9)]  # a gentle round: nothing is far apart
    assert choose(small) == [row[0] for row in small[:3:-1]]


def test_a_probe_has_little_to_read():
    early = [Token([1] * 9, 2, -0.5, -1.6), Token([1] * 400, 2, -0.5, -2.5)]  # far enough apart, and much shorter
    assert choose([early] * 20) == [early[0]] * MAX_TOKENS
    alike = [[Token([row] * (60 + 9 * at), 2, -0.5, -2.5) for at in range(9)] for row in range(20)]
    chosen = choose(alike)
    assert len(chosen) == MAX_TOKENS
    assert Counter(token.before[0] for token in chosen) == {0: 3, 1: 3, 2: 2}  # three of one completion, no more
    assert max(len(token.before) for token in chosen) == 60 + 2 * 9


def test_half_of_a_probe_tells_the_parent_where_it_can_be_told():
    near = [Token([at], 2, -0.5, -4.5 - at / 100, -0.5) for at in range(MAX_TOKENS)]  # as the parent says it
    far = [Token([50 + at], 2, -0.5, -0.5, -0.5 - APART * (1 + at)) for at in range(MAX_TOKENS)]
    chosen = choose([[token] for token in (*near, *far)])
    assert chosen == near[::-1][: MAX_TOKENS // 2] + far[::-1][: MAX_TOKENS // 2]
    rounding = [Token([50 + at], 2, -0.5, -0.5, -0.5 - APART / 2) for at in range(MAX_TOKENS)]
    assert choose([[token] for token in (*near, *rounding)]) == near[::-1]


@pytest.mark.parametrize("write", [write_tiny_adapter, write_tiny_full])
def test_a_probe_has_the_numbers_of_the_weights_that_the_candidate_was_trained_from(policy, tmp_path, write):
    parent, candidate = write(policy, tmp_path / "v1", 1), write(policy, tmp_path / "v2", 2)
    pairs = [([1, 2, 3], [4, 5, 6, 7, 8]), ([9, 10], [11, 12, 13, 14])]
    probe = make_probe(policy, candidate, pairs, parent)
    asked = [(one["prompt_ids"], one["completion_ids"]) for one in probe["sequences"]]
    for folder, key in ((candidate, "logprobs_candidate"), (parent, "logprobs_parent")):
        told = [tokens[0].candidate for tokens in all_sides(policy, folder, asked)]
        assert told == pytest.approx([one[key][0] for one in probe["sequences"]], abs=1e-5)
    assert probe["sequences"][0]["logprobs_parent"] != probe["sequences"][0]["logprobs_candidate"]
    assert "logprobs_parent" not in make_probe(policy, candidate, pairs)["sequences"][0]


def test_a_published_checkpoints_probe_is_what_the_engine_says(site):
    from trainer.loop import PUBLISHED, claim, work_on

    learns = {"steps": 14, "prompts_per_step": 6, "group_size": 8, "micro_batch": 48, "learning_rate": 1e-2}
    learns |= {"gate_max_kl": 10.0, "gate_max_repetition": 1.0, "gate_max_malformed": 1.0}  # one word of ten for all
    site.request(kl_beta=0.0, **learns)
    house = site.open()
    ended = work_on(house, claim(house))
    assert ended == PUBLISHED, site.round(1).verdict["words"]
    live = site.live()
    probe = json.loads((Path(live.path) / "manifest.json").read_text())["probe"]
    house.gateway.load_adapter("ruminate-v1", Path(live.path))
    asked = [(one["prompt_ids"], one["completion_ids"]) for one in probe["sequences"]]
    for model, key in (("ruminate-v1", "logprobs_candidate"), ("ruminate-v0", "logprobs_base")):
        told = sum(house.gateway.logprobs(model, asked), [])
        assert told == pytest.approx([one[key][0] for one in probe["sequences"]], abs=1e-4)
    gaps = [abs(one["logprobs_candidate"][0] - one["logprobs_base"][0]) for one in probe["sequences"]]
    assert sum(gaps) / len(gaps) > 2 * probe["tolerance"]
