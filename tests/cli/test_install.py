"""Installing goes on where it was broken off, and returns at once where nothing is new.

Python, pip and uv are small scripts here that write down how they were called.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with an environment in which everything is installed, for Python 3.11.2."""
    (tmp_path / "requirements").mkdir()
    shutil.copy(ROOT / "requirements" / "install.sh", tmp_path / "requirements")
    (tmp_path / "requirements" / "cpu.txt").write_text("torch==0\n")
    (tmp_path / "pyproject.toml").write_text("")
    script(tmp_path / "system-python", "system python")
    for name in ("python", "pip", "uv"):
        script(tmp_path / "venv" / "bin" / name, name)
    install(tmp_path)
    (tmp_path / "calls").unlink()
    return tmp_path


def script(path: Path, name: str, version: str = "3.11.2") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'#!/bin/sh\ncase "$1" in --version) echo "Python {version}"; exit 0;; -c) exit 0;; esac\n'
        f'echo "{name} $*" >>"$CALLS"\n'
    )
    path.chmod(0o755)


def install(clone: Path, comes_to_its_end: bool = True) -> str:
    """Run it; gives what was called, one call a line."""
    calls = clone / "calls"
    env = {"CALLS": str(calls), "PYTHON": str(clone / "system-python"), "RUMINATE_DEVICE": "cpu"}
    command = [str(clone / "requirements" / "install.sh"), "venv"]
    subprocess.run(command, cwd=clone, env=os.environ | env, check=comes_to_its_end, capture_output=True, timeout=60)
    return calls.read_text() if calls.exists() else ""


def test_where_nothing_is_new_nothing_is_done(clone: Path) -> None:
    assert install(clone) == ""


def test_an_environment_that_was_broken_off_is_made_again(clone: Path) -> None:
    for name in ("pip", "uv"):
        (clone / "venv" / "bin" / name).unlink()
    (clone / "venv" / ".installed").unlink()
    called = install(clone, comes_to_its_end=False)  # these scripts make nothing
    assert called.splitlines()[0] == "system python -m venv venv"


def test_another_python_in_the_environment_is_installed_for(clone: Path) -> None:
    script(clone / "venv" / "bin" / "python", "python", "3.12.1")
    assert "uv pip install" in install(clone)
    (clone / "calls").unlink()
    assert install(clone) == ""
