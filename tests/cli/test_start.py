"""A start that cannot be fails in one sentence with the value and the remedy, and with exit code 2."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from cli import checks, settings
from cli.house import House
from cli.names import unread
from cli.profiles import TINY


def ruminate(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False)


def test_a_bad_setting_is_named_with_value_and_expectation(tmp_path: Path) -> None:
    done = ruminate("up", RUMINATE_HOME=str(tmp_path), RUMINATE_PROFILE="huge")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "ruminate: RUMINATE_PROFILE is 'huge': expected one of auto, tiny, small, single-gpu, paper"
    )


def test_a_port_in_use_is_named_with_the_remedy(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = ruminate("up", "--port", str(port), RUMINATE_HOME=str(tmp_path), RUMINATE_PROFILE="tiny")
    assert done.returncode == 2
    assert f"RUMINATE_PORT is {port}" in done.stderr
    assert "another port" in done.stderr


def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ruminate.db").write_text("this is not a database, " * 100)
    done = ruminate(
        "up", "--port", "0", "--ui-port", "0",
        RUMINATE_HOME=str(tmp_path), RUMINATE_PROFILE="tiny", RUMINATE_MIN_MEMORY_GIB="0",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "ruminate.db" in done.stderr
    assert "Traceback" not in done.stderr


def test_too_little_memory_is_said_with_both_figures(tmp_path: Path) -> None:
    done = ruminate(
        "up", "--port", "0", "--ui-port", "0",
        RUMINATE_HOME=str(tmp_path), RUMINATE_PROFILE="tiny", RUMINATE_MIN_MEMORY_GIB="100000",
    )  # fmt: skip
    assert done.returncode == 2
    assert re.fullmatch(
        r"ruminate: \d+\.\d GiB of memory are free and the profile 'tiny' needs 100000\.0 GiB; "
        r"close other programs, or set RUMINATE_MIN_MEMORY_GIB to a lower figure to try all the same\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("setting", "value", "others", "said"),
    [
        ("RUMINATE_SERVER_DEFAULT_CONSENT", "perhaps", ("TRAINER", "UI"), "'none', 'history' or 'train'"),
        ("RUMINATE_TRAINER_STEPS", "many", ("UI",), "valid integer"),
        ("RUMINATE_UI_LANGUAGE", "english!", ("TRAINER",), "pattern"),
    ],
)
def test_a_bad_setting_of_a_room_ends_the_start_with_its_sentence(
    setting: str, value: str, others: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    """Each room reads its own settings, so it is the room that refuses; the house passes on what it says."""
    done = ruminate(
        "up", "--port", "0", "--ui-port", "0",
        RUMINATE_HOME=str(tmp_path), RUMINATE_PROFILE="tiny", RUMINATE_MIN_MEMORY_GIB="0",
        **{f"RUMINATE_{other}": "false" for other in others}, **{setting: value},
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    sentence = done.stderr.strip().splitlines()
    assert len(sentence) == 1, done.stderr
    room = setting.split("_")[1].lower()
    assert sentence[0].startswith(f"ruminate: {room} can't start: {setting}")
    assert repr(value) in sentence[0]
    assert said in sentence[0]
    assert "starting it again" not in done.stdout
    assert " is at http" not in done.stdout


def test_a_trainer_is_ready_when_it_waits_for_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUMINATE_HOME", str(tmp_path))
    monkeypatch.setenv("RUMINATE_TRAINER_NICE", "0")  # nobody waits for the processor here but this test
    monkeypatch.setenv("RUMINATE_TRAINER_READY_FILE", str(tmp_path / "elsewhere"))  # the house's own file counts
    house = House(settings.load(port=0, ui_port=0), TINY, Console())
    checks.check_home(tmp_path)
    house._wire()
    trainer = next(process for process in house.processes if process.name == "trainer")
    sign = tmp_path / "run" / "trainer.json"
    sign.write_text(json.dumps({"pid": 1}))  # left of an earlier start
    trainer.start()
    try:
        trainer.tick()
        assert trainer.pid is not None
        assert not trainer.is_ready
        deadline = time.monotonic() + 500
        while not trainer.is_ready:
            assert time.monotonic() < deadline, trainer.last_lines(30)
            time.sleep(0.1)
            trainer.tick()
        assert json.loads(sign.read_text()) == {"pid": trainer.pid}
        assert "waiting:" in trainer.last_lines()
    finally:
        trainer.kill()


def test_a_page_for_others_before_a_gateway_without_keys_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for_all = settings.load(host="0.0.0.0")
    with pytest.raises(checks.CannotStart, match=r"RUMINATE_HOST is '0.0.0.0'.*LOOPBACK_WITHOUT_KEY=false"):
        checks.check_exposure(for_all, TINY)
    checks.check_exposure(settings.load(host="127.0.0.1"), TINY)
    checks.check_exposure(settings.load(host="0.0.0.0", ui=False), TINY)
    monkeypatch.setenv("RUMINATE_SERVER_LOOPBACK_WITHOUT_KEY", "false")
    checks.check_exposure(for_all, TINY)


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(checks.CannotStart, match="RUMINATE_HOME is"):
        checks.check_home(tmp_path / "home")


def test_no_gateway_is_said_with_the_command_that_starts_one(tmp_path: Path) -> None:
    done = ruminate(
        "status", RUMINATE_HOME=str(tmp_path), RUMINATE_GATEWAY=f"http://127.0.0.1:{checks.free_port('127.0.0.1')}"
    )
    assert done.returncode == 1
    assert "no gateway answers" in done.stderr
    assert "make up" in done.stderr


@pytest.mark.parametrize("url", ["localhost:8000", "http://[bad", "ftp://x", "http://"])
def test_a_gateway_that_is_no_address_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUMINATE_GATEWAY", url)
    with pytest.raises(settings.BadSetting, match=r"RUMINATE_GATEWAY is .*expected an address such as http://127"):
        settings.gateway_url(settings.load())


def test_the_commands_find_a_running_house(tmp_path: Path) -> None:
    house = settings.load(home=tmp_path)
    assert settings.gateway_url(house) == "http://127.0.0.1:8000"
    assert settings.gateway_url(settings.load(home=tmp_path, port=0)) == "http://127.0.0.1:8000"
    house.run_file.parent.mkdir()
    house.run_file.write_text(json.dumps({"gateway": "http://127.0.0.1:1234"}))
    with checks.only_one(tmp_path):
        assert settings.gateway_url(house) == "http://127.0.0.1:1234"


def test_what_a_killed_house_left_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    """Its port may be anybody's now, who would be sent the administrator's key."""
    house = settings.load(home=tmp_path)
    house.run_file.parent.mkdir()
    with checks.only_one(tmp_path):
        house.run_file.write_text(json.dumps({"gateway": "http://127.0.0.1:1234"}))
    assert settings.gateway_url(house) == "http://127.0.0.1:8000"


def test_a_second_house_on_one_home_is_refused(tmp_path: Path) -> None:
    checks.check_home(tmp_path)
    with checks.only_one(tmp_path):
        done = ruminate("up", "--port", "0", "--ui-port", "0", RUMINATE_HOME=str(tmp_path), RUMINATE_PROFILE="tiny")
    assert done.returncode == 2
    assert f"RUMINATE_HOME is {str(tmp_path)!r}, and another `ruminate up` runs there" in done.stderr
    with checks.only_one(tmp_path):
        pass  # the first has ended


@pytest.mark.parametrize("name", ["a%20b", "why?", "50%", "plain", "h#1"])
def test_the_database_lies_in_the_home_whatever_its_name(name: str, tmp_path: Path) -> None:
    from db.session import Database

    (tmp_path / name).mkdir()
    database = Database(settings.load(home=tmp_path / name).database)
    database.migrate()
    database.close()
    assert (tmp_path / name / "ruminate.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("RUMINATE_DATABASE_URL", "nonsense", "this is no database URL"),
        ("RUMINATE_DATABASE_URL", "mysql://u:hidden@host/db", "'mysql' is not supported"),
        ("RUMINATE_HOST", "192.0.2.1", "RUMINATE_HOST is '192.0.2.1', where nothing can listen"),
    ],
)
def test_an_address_that_is_none_is_one_sentence(setting: str, value: str, said: str, tmp_path: Path) -> None:
    done = ruminate(
        "up", "--port", "0", "--ui-port", "0",
        RUMINATE_HOME=str(tmp_path), RUMINATE_PROFILE="tiny", RUMINATE_MIN_MEMORY_GIB="0",
        RUMINATE_UI="false", **{setting: value},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "hidden" not in done.stderr


def test_a_folder_of_the_home_that_takes_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cli.checks.TemporaryFile", full)
    with pytest.raises(checks.CannotStart, match=r"cannot be written \(No space left on device\).*make room"):
        checks.check_home(tmp_path)


def test_a_file_of_another_user_in_the_home_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after one start with sudo. (Root may write anything, so the system's answer is put in its place.)"""
    checks.check_home(tmp_path)
    log = tmp_path / "logs" / "engine.log"
    log.write_text("")
    checks.check_home(tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != log)
    with pytest.raises(checks.CannotStart, match=r"engine\.log is not this user's to write"):
        checks.check_home(tmp_path)


def test_an_empty_service_key_is_made_again(tmp_path: Path) -> None:
    from cli.house import _service_key

    (tmp_path / "service.key").write_text("")
    key = _service_key(tmp_path)
    assert key.startswith("rs-")
    assert _service_key(tmp_path) == key
    assert (tmp_path / "service.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["service.key"]


def test_a_service_key_that_is_set_is_gateways_and_trainers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the commands, which take the one that is set, would not be let in by the gateway of their own house."""
    monkeypatch.setenv("RUMINATE_SERVICE_KEY", "rs-set")
    house = a_house(tmp_path, Console())
    house._wire()
    keys = {process.name: process.env["RUMINATE_SERVICE_KEY"] for process in house.processes}
    assert (keys["server"], keys["trainer"]) == ("rs-set", "rs-set")
    assert settings.admin_key(house.settings) == "rs-set"


def test_an_address_that_nobody_can_open_is_not_printed(tmp_path: Path) -> None:
    said = io.StringIO()
    house = House(settings.load(home=tmp_path, port=0, ui_port=0, host="0.0.0.0"), TINY, Console(file=said, width=200))
    house.settings.run_file.parent.mkdir()
    house._wire()
    house._announce(1.0)
    assert "0.0.0.0" not in said.getvalue()
    assert "0.0.0.0" not in house.settings.run_file.read_text()
    assert re.search(r"OpenAI base URL http://127\.0\.0\.1:\d+/v1", said.getvalue())
    assert re.search(r"Ruminate is at http://127\.0\.0\.1:(\d+)\n", said.getvalue())
    assert (
        f"others reach it by this machine's name or address, such as http://{socket.gethostname()}:" in said.getvalue()
    )
    env = {process.name: process.env for process in house.processes}
    assert env["server"]["RUMINATE_SERVER_HOST"] == env["ui"]["RUMINATE_UI_HOST"] == "0.0.0.0"


def test_a_name_that_nobody_reads_is_told() -> None:
    here = {"RUMINATE_HOME", "RUMINATE_SERVER_PORT", "RUMINATE_API_KEY", "RUMINATE_TRAINER_STEPS", "PATH"}
    assert unread(here) == []
    (told,) = unread({*here, "RUMINATE_SERVER_CANARY_SHAER"})
    assert told.startswith(
        "RUMINATE_SERVER_CANARY_SHAER is no setting and changes nothing; is RUMINATE_SERVER_CANARY_SHARE"
    )


def test_the_command_line_imports_nothing_heavy() -> None:
    code = (
        "import sys, cli.main, cli.client, cli.rounds, cli.talk, cli.tables, cli.settings, cli.checks\n"
        "heavy = {'torch', 'vllm', 'trl', 'transformers', 'gradio', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def a_house(home: Path, console: Console) -> House:
    return House(settings.load(home=home, port=0, ui_port=0), TINY, console)


def test_a_terminal_that_is_gone_ends_no_house(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe, open("/dev/full", "w") as full:
        for gone in (pipe, full):
            for _ in range(2):
                a_house(tmp_path, Console(file=gone))._say("engine ended; starting it again [in 1 s]")
        with suppress(OSError):
            pipe.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), pipe.fileno())  # what is left in the buffers
        os.dup2(pipe.fileno(), full.fileno())


def test_what_is_said_keeps_its_brackets(tmp_path: Path) -> None:
    said = io.StringIO()
    a_house(tmp_path, Console(file=said, width=200))._say("log: /srv/[/home]/engine.log")
    assert "log: /srv/[/home]/engine.log" in said.getvalue()


@pytest.mark.parametrize(("before", "ends"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_a_closed_terminal_ends_the_house_as_ctrl_c_does(before: signal.Handlers, ends: bool, tmp_path: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = {number: signal.getsignal(number) for number in numbers}
    try:
        signal.signal(signal.SIGHUP, before)
        house = a_house(tmp_path, Console())
        house._heed_signals()
        signal.raise_signal(signal.SIGHUP)
        assert house._stop is ends
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
