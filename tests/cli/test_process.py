"""A supervised process is restarted with backoff, reported, and leaves nobody behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.waiting import wait_until

from cli.house import end_all
from cli.process import Supervised


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[Supervised, list[str]]]]:
    made: list[Supervised] = []

    def make(code: str, ready: Callable[[], bool] = lambda: True) -> tuple[Supervised, list[str]]:
        events: list[str] = []
        command = [sys.executable, "-c", code]
        process = Supervised("worker", command, {"SAID": "yes"}, tmp_path / "worker.log", ready, events.append)
        process.start()
        made.append(process)
        return process, events

    yield make
    for process in made:
        process.ask_to_end()
        process.kill()


def tick_until(process: Supervised, condition: Callable[[], bool], seconds: float = 10) -> None:
    """Let its owner look after it until the condition holds."""

    def holds() -> bool:
        if condition():
            return True
        process.tick()
        return False

    wait_until(holds, "nothing happened", seconds=seconds)


def test_a_dead_process_is_reported_and_started_again(start: Callable[..., tuple[Supervised, list[str]]]) -> None:
    process, events = start("import time; time.sleep(60)")
    process.tick()
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    tick_until(process, lambda: process.pid not in (None, first) and process.is_ready)
    assert "worker ended (killed by SIGKILL); starting it again in 1 s" in events[0]
    assert "back after" in events[1]


def test_a_process_has_its_own_group_within_its_owners_session(
    start: Callable[..., tuple[Supervised, list[str]]],
) -> None:
    """Ctrl-C in a terminal reaches its owner alone, and the kernel weighs all that the owner started together."""
    process, _ = start("import os; print('in', os.getsid(0), 'leads', os.getpgrp() == os.getpid())")
    wait_until(process.last_sentence, "it said nothing", lambda said: "leads" in said)
    assert process.last_sentence() == f"in {os.getsid(0)} leads True"


def test_the_wait_before_a_restart_grows(start: Callable[..., tuple[Supervised, list[str]]]) -> None:
    process, events = start("import sys; sys.exit(7)", lambda: False)
    tick_until(process, lambda: len(events) == 2)
    assert "exit code 7" in events[0]
    assert "in 1 s" in events[0]
    assert "in 2 s" in events[1]
    assert process.failed_starts == 2


def test_children_of_children_end_with_it(start: Callable[..., tuple[Supervised, list[str]]], tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    process, _ = start(code)
    tick_until(process, lambda: process.log.read_text().strip().splitlines()[-1].isdigit())
    child = int(process.log.read_text().split()[-1])
    process.ask_to_end()
    assert not process.ended()  # it ignores SIGTERM
    process.kill()
    tick_until(process, process.ended)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_the_engine_writes_on_until_the_gateway_has_ended(tmp_path: Path) -> None:
    on_sigterm = "import signal, sys, time\ndef end(*_):\n    {}\n    sys.exit()\nsignal.signal(signal.SIGTERM, end)\n"
    told = {
        "engine": f"print('the gateway has ended:', __import__('os').path.exists({str(tmp_path / 'over')!r}))",
        "server": f"time.sleep(0.5); open({str(tmp_path / 'over')!r}, 'w').close()",
        "ui": f"print('asked at once:', not __import__('os').path.exists({str(tmp_path / 'over')!r}))",
    }
    processes = []
    for name, does in told.items():
        code = on_sigterm.format(does) + "print('up', flush=True); time.sleep(60)"
        one = Supervised(
            name, [sys.executable, "-c", code], {}, tmp_path / f"{name}.log", lambda: True, lambda _: None
        )  # fmt: skip
        one.start()
        processes.append(one)
    try:
        for one in processes:
            wait_until(one.last_sentence, f"{one.name} did not start", "up")
            one.tick()
    finally:
        end_all(processes)
    assert all(one.ended() for one in processes)
    assert [one.last_sentence() for one in processes[::2]] == ["the gateway has ended: True", "asked at once: True"]


def test_it_dies_with_its_owner(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from cli.process import Supervised\n"
        "command = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        f"p = Supervised('w', command, {{}}, Path({str(tmp_path)!r}) / 'l', lambda: True, print)\n"
        "p.start(); print(p.pid, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    child = psutil.Process(int(owner.stdout.readline()))
    owner.kill()
    owner.wait()
    assert child.wait(timeout=5) is not None or not child.is_running()


def test_readiness_is_what_the_owner_says(start: Callable[..., tuple[Supervised, list[str]]]) -> None:
    answers = iter([False, False, True])
    process, _ = start("import time; time.sleep(60)", lambda: next(answers))
    process.tick()
    assert not process.is_ready
    process.tick()
    process.tick()
    assert process.is_ready
    assert process.log.read_text().startswith("--- worker started")


def test_one_that_refuses_its_first_start_is_not_started_again(
    start: Callable[..., tuple[Supervised, list[str]]],
) -> None:
    process, events = start("import sys; print('warming up'); sys.exit('' or print('no: a is b') or 2)", lambda: False)
    assert not process.refused
    tick_until(process, lambda: process.refused)
    assert process.last_sentence() == "no: a is b"
    process.tick()
    assert (process.pid, events) == (None, [])


def test_one_that_was_ready_before_is_started_again_whatever_it_ends_with(
    start: Callable[..., tuple[Supervised, list[str]]], tmp_path: Path
) -> None:
    code = (
        f"import pathlib, sys, time; p = pathlib.Path({str(tmp_path / 'go')!r})\nwhile not p.exists(): time.sleep(.02)"
    )
    process, events = start(code + "\nsys.exit(2)")  # as a trainer does whose database went away
    process.tick()
    assert process.is_ready
    (tmp_path / "go").touch()
    tick_until(process, lambda: bool(events))
    assert "exit code 2" in events[0]
    assert not process.refused


def test_a_log_that_takes_nothing_costs_the_log_alone(tmp_path: Path) -> None:
    for log in (Path("/dev/full"), tmp_path / "no folder" / "worker.log"):
        process = Supervised("worker", [sys.executable, "-c", "pass"], {}, log, lambda: True, print)
        process.start()
        assert process.pid is not None or process.ended()
        process.kill()


def test_a_log_is_bounded_while_its_process_writes(
    start: Callable[..., tuple[Supervised, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.process._LOG_LIMIT", 4000)
    log, before = tmp_path / "worker.log", tmp_path / "worker.log.1"
    process, events = start("import time\nwhile True: print('x' * 99, flush=True); time.sleep(.001)")
    tick_until(process, before.exists)
    assert before.stat().st_size > 4000
    first = before.stat().st_mtime_ns
    tick_until(process, lambda: before.stat().st_mtime_ns > first)  # it goes on writing to the same file
    assert log.stat().st_size < 100_000
    assert b"\0" not in log.read_bytes()  # from its beginning, and not from where it was cut
    assert not events


def test_a_log_that_finds_no_room_to_be_set_aside_is_cut_all_the_same(
    start: Callable[..., tuple[Supervised, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, to: Path) -> None:
        to.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cli.process._LOG_LIMIT", 4000)
    monkeypatch.setattr("cli.process.shutil.copyfile", full)
    process, _ = start("import time; print('x' * 9999, flush=True); time.sleep(60)")
    tick_until(process, lambda: (tmp_path / "worker.log").stat().st_size > 4000)
    process.tick()
    assert (tmp_path / "worker.log").stat().st_size == 0
    assert not (tmp_path / "worker.log.1").exists()


def test_one_that_cannot_be_started_again_just_now_is_tried_later(
    start: Callable[..., tuple[Supervised, list[str]]],
) -> None:
    process, events = start("import sys; sys.exit(7)", lambda: False)
    process.command = ["/no/such/program"]
    tick_until(process, lambda: len(events) == 2)
    assert "worker could not be started (No such file or directory); starting it again in 2 s" in events[1]
