"""Starting the page: what it refuses, and that refusing is quick."""

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from db.queries.replays import TRIGGER as REBUILD
from trainer.habits import Habits
from trainer.triggers import Reason
from ui.settings import BadSetting, load_settings
from ui.verdicts import HABITS
from ui.words import load_words

UI = Path(__file__).parents[2] / "ui"


def start(**settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings}
    return subprocess.run([sys.executable, "-m", "ui"], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("RUMINATE_UI_PORT", "http", "integer"),
        ("RUMINATE_UI_PORT", "99999", "65535"),
        ("RUMINATE_UI_GATEWAY", "localhost", "http://127.0.0.1:8000"),
        ("RUMINATE_UI_LANGUAGE", "xx", "there are: en"),
    ],
)
def test_a_bad_setting_ends_with_one_sentence_and_2(key: str, value: str, expected: str) -> None:
    ended = start(**{"RUMINATE_UI_PORT": "0", key: value})
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert key in ended.stderr
    assert repr(value) in ended.stderr
    assert expected in ended.stderr


def test_a_port_in_use_ends_with_one_sentence_and_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = start(RUMINATE_UI_PORT=port)
    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "RUMINATE_UI_PORT" in ended.stderr


def test_gradio_is_not_imported_before_the_settings_are_good() -> None:
    code = "import sys, ui.__main__; sys.exit('gradio' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_wrong_setting_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUMINATE_UI_PORT", "-1")
    with pytest.raises(BadSetting, match=r"RUMINATE_UI_PORT='-1' cannot be used"):
        load_settings()


def test_every_sentence_that_scripts_and_python_name_exists() -> None:
    known = load_words("en").sentences
    scripts = "".join(path.read_text() for path in (UI / "static").glob("*.js"))
    python = "".join(path.read_text() for path in UI.glob("*.py"))
    named = set(re.findall(r'\bsay\("(\w+)"[,)]', scripts)) | set(re.findall(r"_say\(\s*[\"'](\w+)[\"']", python))
    named |= set(re.findall(r"_head\(([^)]*)\)", python) and re.findall(r'"(col_\w+|sample_\w+)"', python))
    assert len(named) > 60
    assert named <= known.keys(), named - known.keys()


def test_what_the_trainer_names_has_words() -> None:
    known = load_words("en").sentences
    gate = (UI.parent / "trainer" / "gate.py").read_text()
    checks = set(re.findall(r'(?:_check|_no_more)\(\s*"(\w+)"', gate))
    assert {"judge", "refusals", "kl"} < checks
    habits = {field.name for field in fields(Habits)}
    assert habits == set(HABITS)
    triggers = {*get_args(get_type_hints(Reason)["trigger"]), REBUILD, "person"}
    named = {f"{family}_{check}" for family in ("check", "fail") for check in checks}
    named |= {f"habit_{habit}" for habit in habits} | {f"trigger_{trigger}" for trigger in triggers}
    assert named <= known.keys(), named - known.keys()
    assert triggers == {key.removeprefix("trigger_") for key in known if key.startswith("trigger_")}


def test_no_sentence_is_left_over() -> None:
    code = "".join(path.read_text() for path in [*UI.glob("*.py"), *(UI / "static").glob("*.js")])
    built = (
        "effort_",
        "compare_",
        "by_",
        "habit_",
        "metric_",
        "state_",
        "phase_",
        "thoughts_",
        "suggest_",
        "trouble_",
        "trust_",
        "consent_",
        "tag_",
        "series_",
        "kind_",
        "algorithm_",
        "trigger_",
        "check_",
        "fail_",
        "sample_",
        "alert_",
        "saw_",
        "rang_",
    )
    left = [
        key
        for key in json.loads((UI / "words" / "en.json").read_text())
        if not re.search(rf"[\"']{key}[\"']", code) and not key.startswith(built)
    ]
    assert not left, left
