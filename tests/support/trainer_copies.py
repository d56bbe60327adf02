"""Trainers as processes of their own that have imported everything already: copies of one that waits for that.

To import what a trainer needs takes longer than a short round. From there a copy goes on as `python -m trainer` does.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
FIRST = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}  # these are read when the libraries are imported


class Copy:
    """One trainer; what it says is in its log. Its methods are those of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.over = threading.Event()

    def send_signal(self, number: int) -> None:
        if not self.over.is_set():
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Its exit code, or minus the signal that ended it. Raises subprocess.TimeoutExpired."""
        if not self.over.wait(timeout):
            raise subprocess.TimeoutExpired("a trainer", timeout)
        assert self.returncode is not None
        return self.returncode


class Copies:
    """Starts one trainer after the other, never two at once."""

    def __init__(self) -> None:
        environment = os.environ | FIRST | {"PYTHONPATH": str(REPOSITORY / "tests")}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._first = subprocess.Popen(
            [sys.executable, "-m", "support.trainer_copies"], cwd=REPOSITORY, env=environment, text=True, **pipes
        )

    def start(self, code: str, environment: Mapping[str, str], log: Path) -> Copy:
        """A copy that does `code`, with these variables beside those of this process."""
        assert self._first.stdin is not None
        self._first.stdin.write(json.dumps({"code": code, "environment": dict(environment), "log": str(log)}) + "\n")
        self._first.stdin.flush()
        copy = Copy(int(self._told()))
        threading.Thread(target=self._attend, args=(copy,), daemon=True).start()
        return copy

    def close(self) -> None:
        self._first.kill()
        self._first.wait()

    def _attend(self, copy: Copy) -> None:
        copy.returncode = int(self._told())
        copy.over.set()

    def _told(self) -> str:
        assert self._first.stdout is not None
        line = self._first.stdout.readline()
        assert line, "what trainers are copied from has ended"
        return line


def _serve() -> dict[str, Any] | None:
    """Make a copy for each line, and tell its process id and how it ended. Returns in a copy what it is to do."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            wish: dict[str, Any] = json.loads(line)
            return wish
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return None


def _become(wish: dict[str, Any]) -> None:
    """Take on what a process of its own would have."""
    os.environ.update(wish["environment"])
    log = os.open(wish["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, end in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(number, end)
    sys.argv = ["trainer", "--once"]


if __name__ == "__main__":
    import datasets  # noqa: F401
    import transformers.models.qwen3.modeling_qwen3  # noqa: F401

    import trainer.dpo
    import trainer.grpo
    import trainer.loop
    import trainer.ppo
    import trainer.trl_bridge
    import trainer.trl_offline  # noqa: F401

    found = _serve()
    if found is not None:
        _become(found)
        exec(found["code"], {"__name__": "copy"})  # noqa: S102
