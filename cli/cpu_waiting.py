"""How a CPU engine's processes wait for each other. A vLLM plugin: vLLM calls `rest_while_waiting` in each of them.

Between two tokens vLLM's scheduler and its worker (0.32, shm_broadcast) look at a shared flag without pause and call
`sched_yield` in between. On a machine with few cores that keeps one of them taken, and some kernels (Linux 6.18 was
seen to) then leave another process of that core waiting until the answer has ended: the tokens are written one by one,
and their reader gets them all at once. A rest of some 50 µs, the least that a kernel gives, lets everybody else run.
"""

import time


def rest_while_waiting() -> None:
    """Make this process's busy waits short sleeps, if it belongs to an engine without a GPU."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        from vllm.distributed.device_communicators import shm_broadcast

        shm_broadcast.sched_yield = _rest


def _rest() -> None:
    time.sleep(1e-6)
