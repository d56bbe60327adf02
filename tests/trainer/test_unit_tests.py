"""Code in a response, run against the tests of its prompt's row, within limits."""

import json
import os
import socket
import subprocess
import sys

import pytest
from support.tiny_policy import Reds, prompt

from trainer.prompts import wording
from trainer.reward_file import read_reward_file
from trainer.unit_tests import code_of, passes
from trainer.verify import Check, UnitTests, Verified, read_checks

RULE = UnitTests(kind="unit_tests", seconds=20.0)
TESTS = {"tests": "assert add(1, 2) == 3\nassert add(-1, 1) == 0\n"}


def answer(code: str, language: str = "python") -> str:
    return f"Here it is:\n\n```{language}\n{code}\n```\nIt adds."


def test_code_that_passes_its_tests_earns_and_other_code_does_not():
    def earned(response):
        return RULE.check(prompt(1), response, TESTS)

    assert earned(answer("def add(a, b):\n    return a + b")) == 1.0
    assert earned(answer("def add(a, b):\n    return a - b")) == 0.0
    assert earned(answer("def add(a, b)\n    return a")) == 0.0  # no Python
    assert earned("add(a, b) is a + b") == 0.0  # no code at all


def test_which_blocks_are_code():
    assert code_of(answer("x = 1") + answer("y = 2") + answer("ls", "sh")) == "x = 1\n\n\ny = 2\n"
    assert code_of(answer("x = 1", "")) == "x = 1\n"
    assert code_of(answer("ls", "sh")) is None
    assert code_of("no fence") is None


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos._exit(0)",  # before the tests ran
        "raise SystemExit(0)",
        "import sys, io\nsys.stdout = io.StringIO()\nsys.exit()",
        "x = ' ' * (4 << 30)",  # more memory than there may be
        "open('big', 'w').write('x' * (64 << 20))",
    ],
)
def test_what_ends_early_or_takes_too_much_does_not_pass(code):
    assert not passes(code, "pass", seconds=20.0, memory_mib=256)
    assert passes("x = 1", "pass", seconds=20.0, memory_mib=256)


def test_what_never_ends_is_ended():
    assert not passes("while True: pass", "pass", seconds=1.0, memory_mib=256)


def test_the_process_sees_no_environment_and_not_the_trainers_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("A_SECRET", "x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("x")
    look = "import os\nassert 'A_SECRET' not in os.environ\nassert not os.path.exists('mine.txt')"
    assert passes("x = 1", look, seconds=20.0, memory_mib=256)
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_the_process_reaches_no_network_where_it_may_leave_it():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        there = passes("import socket", f"socket.create_connection(('127.0.0.1', {port}), 5)", 20.0, 256)
    leave = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x50000000) != 0)"
    if subprocess.run([sys.executable, "-c", leave], check=False).returncode:
        pytest.skip("this kernel lets no process leave its network")
    assert not there


def test_a_rule_of_a_file_decides_with_the_tests_of_a_row(tmp_path):
    file = tmp_path / "reward.toml"
    file.write_text(
        "[[models]]\nkind='classifier'\nmodel='x'\n[rules.code]\nkind='unit_tests'\nseconds=20.0\nweight=2.0\n"
    )
    rule = read_reward_file(str(file)).rules["code"]
    model = Verified(Reds(), {wording(prompt(1)): Check(rule, TESTS)})
    right, wrong = (answer(f"def add(a, b):\n    return a {sign} b") for sign in "+-")
    assert model.score([(prompt(1), right), (prompt(1), wrong), (prompt(2), "red red red red")]) == [2.0, 0.0, 1.0]
    assert model.figures["verified_passed"] == 0.5
    mix = tmp_path / "mix.jsonl"
    mix.write_text(json.dumps({"messages": prompt(1), "source": "code", "arguments": {"answer": "3"}}))
    with pytest.raises(ValueError, match="line 1, of the source 'code': it has unit tests, and .* no `tests`"):
        read_checks(mix, {"code": rule}, [])
