"""A rule that runs a response's code against unit tests, in a process of its own.

Limits: wall and processor time, memory, file size, no children (of a trainer that is not root), an empty folder, no
environment, Python's isolated mode, and no network where the kernel lets a process leave it. That keeps mistakes away
from the trainer. It is no security boundary: the code runs as the trainer's user and can read what that user can. Where
the policy's answers may be hostile, run the trainer in a container that holds no secret and reaches no network.
"""

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

BLOCK = re.compile(r"^```[ \t]*(\w*)[^\n]*\n(.*?)^```", re.M | re.S)
PYTHON = ("python", "py", "python3")

RUN = r"""
import ctypes, resource, sys
seconds, mebibytes = int(sys.argv[1]), int(sys.argv[2])
limits = {"CPU": seconds, "AS": mebibytes << 20, "FSIZE": 1 << 20, "NOFILE": 64, "NPROC": 0, "CORE": 0}
try:
    ctypes.CDLL(None).unshare(0x10000000 | 0x40000000)  # a user and a network of its own; refused in some containers
except (OSError, AttributeError):
    pass
for name, value in limits.items():
    if hasattr(resource, "RLIMIT_" + name):
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
names = {"__name__": "answer"}
for part in ("answer.py", "tests.py"):
    with open(part, encoding="utf-8") as source:
        text = source.read()
    exec(compile(text, part, "exec"), names)
with open("passed", "w") as sink:
    sink.write(sys.stdin.readline())
"""
"""What the process does. That it ran to its end it shows by a word that stands on its input until then: to exit with 0
is not enough."""


def code_of(response: str) -> str | None:
    """The Python in a response: its fenced blocks that say so, else those that name no language; None: it has none."""
    blocks = [(name.lower(), text) for name, text in BLOCK.findall(response)]
    named = [text for name, text in blocks if name in PYTHON]
    found = named or [text for name, text in blocks if not name]
    return "\n\n".join(found) or None


def passes(code: str, tests: str, seconds: float, memory_mib: int) -> bool:
    """Whether `tests` run to their end after `code`, with what it defines: no exception, and within the limits."""
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="ruminate-tests-") as scratch:
        folder = Path(scratch)
        (folder / "answer.py").write_text(code, encoding="utf-8", errors="replace")
        (folder / "tests.py").write_text(tests, encoding="utf-8", errors="replace")
        command = [sys.executable, "-I", "-S", "-B", "-c", RUN, str(max(1, round(seconds))), str(memory_mib)]
        process = subprocess.Popen(
            command, cwd=folder, env={"PATH": os.defpath, "HOME": scratch}, stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, text=True,
        )  # fmt: skip
        try:
            process.communicate(word, timeout=seconds)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            return False
        finally:
            _end(process)
        said = folder / "passed"
        return said.is_file() and said.read_text(errors="replace") == word


def _end(process: "subprocess.Popen[str]") -> None:
    """The process and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
