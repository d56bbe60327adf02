"""vLLM's own server, as `python -m cli.vllm_server ARGUMENTS`. Imports nothing before it is the program itself.

vLLM starts a process for its scheduler and one for its worker. Each spawned one imports the module that was run first
once more: where that is vLLM's own entry point, a whole HTTP server for nothing. And each imports torch and vLLM anew,
unless it is forked, as vLLM does it on a GPU. On a CPU it spawns both, for the sake of the worker, whose threads must
be bound before anything is imported; the scheduler computes nothing, and is forked here as well.
"""

import os
import socket
import stat


def fork_the_scheduler() -> None:
    """Saves some 7 s of processor time at an engine's start, and 230 MiB that both need."""
    import multiprocessing

    from vllm.platforms import current_platform
    from vllm.v1.engine import utils

    if current_platform.is_cpu():
        os.register_at_fork(after_in_child=leave_the_port)
        utils.get_mp_context = lambda: multiprocessing.get_context("fork")


def leave_the_port() -> None:
    """Keep no copy of a socket that is bound to a port: were the server killed, clients would wait for an answer."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in map(int, os.listdir("/dev/fd")):
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
        except OSError:  # the listing's own file, which is closed by now
            continue
        with socket.socket(fileno=os.dup(number)) as found:
            bound = found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1]
        if bound:
            os.dup2(nothing, number, inheritable=False)  # whoever closes it there closes nothing else
    os.close(nothing)


if __name__ == "__main__":
    from vllm.entrypoints.launchers.api_server.entry import main

    fork_the_scheduler()
    main()
