"""A trainer gives way to the engine, also where the kernel weighs sessions and not processes."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = "import os; from trainer.__main__ import give_way; give_way(7); print(os.nice(0))"


def test_the_priority_is_lowered_once_and_not_below_the_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.nice(3); {CODE}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "7"


def test_a_trainer_in_a_session_of_its_own_lowers_the_session() -> None:
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("this kernel has no autogroups: nice alone decides")
    code = f"{CODE}; print(open('/proc/self/autogroup').read())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, start_new_session=True
    )
    assert "nice 7" in done.stdout


def test_a_kernel_that_lets_no_session_be_lowered_just_now_keeps_no_trainer_from_starting() -> None:
    """Linux takes one such change in a tenth of a second, whoever makes it."""
    code = f"""
from pathlib import Path

def busy(path, text):
    raise BlockingIOError(11, "Resource temporarily unavailable")

Path.write_text, Path.exists = busy, lambda path: True
{CODE}
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, start_new_session=True
    )
    assert done.stdout.strip() == "7"
