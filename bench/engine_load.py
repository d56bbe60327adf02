"""The real engine asked directly, through a bare pass-through, the gateway and, where its environment is named,
LiteLLM's proxy, by the client of vLLM's own `bench serve`.

The gateway has authentication, limits, routing and recording on. The ways are asked in turns, so that a machine that
grows busier meets all alike; what is compared is the tokens per second of the same requests, of a fixed length.

On a machine whose every core the engine and the client want, whatever stands between them takes its processor time from
both. `apart` keeps the engine to one core and all else to the others, as where it has a card of its own.
"""

import json
import os
import statistics
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import psutil

from bench.fronts import WIDE, bare, cpu_seconds, litellm_proxy, make_key
from bench.stack import running
from cli.profiles import TINY

TOKENS = 128  # of each answer; the engine is told to go on past its end
REQUESTS = {1: 32, 16: 256, 64: 768, 128: 768}  # so that each measurement takes some 10 s
LITELLM_REQUESTS = {1: 8, 16: 64, 64: 192, 128: 256}  # which takes an answer at a time
DIRECT, BARE, GATEWAY, LITELLM = "direct", "bare", "gateway", "litellm"


def measure(
    concurrencies: Sequence[int], repeats: int = 2, apart: bool = False, litellm: Path | None = None
) -> dict[str, Any]:
    """By concurrency: tokens per second and first pieces (ms) of each way, its share of direct, and the processor time
    for a token of what stands before the engine."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        limits = {name.lower(): value for name, value in WIDE.items()} | {"loopback_without_key": "false"}
        with ExitStack() as opened:
            stack = opened.enter_context(running(home, 1, TINY, **limits))
            before = [opened.enter_context(bare(stack.engines[0], home))]
            if litellm is not None:
                before.append(opened.enter_context(litellm_proxy(stack.engines[0], home, litellm)))
            own = stack.processes["server"].pid
            if apart:
                engines = [one.pid for name, one in stack.processes.items() if name != "server"]
                _keep_apart(engines, [own, os.getpid(), *(front.process.pid for front in before)])
            prompts = home / "prompts.jsonl"
            _write_prompts(prompts)
            ways: dict[str, tuple[str, str, int | None]] = {
                DIRECT: (stack.engines[0], "none", None),
                GATEWAY: (stack.gateway, make_key(home), own),
                **{one.name: (f"http://127.0.0.1:{one.port}", one.key, one.process.pid) for one in before},
            }
            found: dict[str, Any] = {}
            for concurrency in concurrencies:
                runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
                for _ in range(repeats):
                    for name, (url, secret, pid) in ways.items():
                        used = 0.0 if pid is None else cpu_seconds(pid)
                        count = (LITELLM_REQUESTS if name == LITELLM else REQUESTS).get(concurrency, 8 * concurrency)
                        run = _ask(url, secret, prompts, concurrency, count, home / "client.log")
                        took = 0.0 if pid is None else cpu_seconds(pid) - used
                        runs[name].append(run | {"cpu_us": took / run["total_output_tokens"] * 1e6})
                found[f"x{concurrency}"] = row = _row(runs)
                said = ", ".join(
                    f"{name} {one['tokens_per_s']:.0f} tokens/s ({one['share']:.3f}), first piece "
                    f"{one['first_ms_p50']:.1f} ms, {one['cpu_us_per_token']:.1f} µs of processor time a token"
                    for name, one in row.items()
                )  # fmt: skip
                print(f"engine x{concurrency:<4} {said}", flush=True)
    return found


def _keep_apart(engines: Sequence[int | None], others: Sequence[int | None]) -> None:
    """These processes, with their children and threads, on a core of their own each side."""
    first, *rest = sorted(os.sched_getaffinity(0))
    if not rest:
        raise SystemExit("two cores are needed to keep the engine apart, and this machine gives one")
    for pids, cores in ((engines, {first}), (others, set(rest))):
        for pid in filter(None, pids):
            family = [pid]
            if pid != os.getpid():  # whose children are the others
                family += [child.pid for child in psutil.Process(pid).children(recursive=True)]
            for member in family:
                for task in Path(f"/proc/{member}/task").iterdir():
                    with suppress(ProcessLookupError):  # it has ended just now
                        os.sched_setaffinity(int(task.name), cores)


def _row(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The medians of each way. `share`: of the direct tokens per second; `shares`: of each pair of runs."""
    row: dict[str, dict[str, Any]] = {}
    for name, some in runs.items():
        pairs = zip(runs[DIRECT], some, strict=True)
        shares = [round(one["output_throughput"] / plain["output_throughput"], 3) for plain, one in pairs]
        row[name] = {
            "tokens_per_s": round(statistics.median(run["output_throughput"] for run in some), 1),
            "first_ms_p50": round(statistics.median(run["median_ttft_ms"] for run in some), 2),
            "gap_ms_p99": round(statistics.median(run["p99_itl_ms"] for run in some), 2),
            "cpu_us_per_token": round(statistics.median(run["cpu_us"] for run in some), 1),
            "failed": sum(run["failed"] for run in some),
            "shares": shares,
            "share": round(statistics.median(shares), 3),
        }
    return row


def _ask(url: str, key: str, prompts: Path, concurrency: int, count: int, log: Path) -> dict[str, Any]:
    """One run of vLLM's client; its result. What it prints goes to `log`."""
    from vllm.benchmarks.serve import add_cli_args, main
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    os.environ["OPENAI_API_KEY"] = key
    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    arguments: Namespace = parser.parse_args(
        [
            *("--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", url),
            *("--model", "ruminate-v0", "--served-model-name", "ruminate-v0", "--tokenizer", TINY.base_model),
            *("--dataset-name", "custom", "--dataset-path", str(prompts), "--skip-chat-template"),
            *("--custom-output-len", str(TOKENS), "--ignore-eos", "--temperature", "0.7"),
            *("--num-prompts", str(count), "--max-concurrency", str(concurrency)),
            *("--num-warmups", str(min(concurrency, 16)), "--disable-tqdm"),
        ]
    )
    with log.open("a") as out, redirect_stdout(out):
        result: dict[str, Any] = main(arguments)
    return result


def _write_prompts(path: Path) -> None:
    """First messages of the small world's held-out prompts."""
    lines = (Path(TINY.base_mix).parent / "heldout.jsonl").read_text().splitlines()
    asked = [json.loads(line)["messages"] for line in lines]
    texts = [messages[0]["content"] for messages in asked if len(messages) == 1]
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
