"""How a swap looks to people who chat: failed and mixed answers, gaps between tokens, seconds to the new checkpoint.

Clients stream greedy answers without pause while two checkpoints are made live in turn, many times, over one or more
engines. Every answer is then compared, text for text, with what its checkpoint alone writes. A restart of vLLM,
which a swap replaces, is timed beside it. The checkpoints are the base with small random LoRA matrices: a swap does not
care. With --full they are whole weights, for which engines are drained and reloaded, one after another.
"""

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.stack import Stack, running
from cli.profiles import TINY


@dataclass
class Answer:
    """One streamed answer: its checkpoint, its text, and when each piece came (s, monotonic)."""

    prompt: int
    began: float
    models: set[str] = field(default_factory=set)
    text: str = ""
    times: list[float] = field(default_factory=list)
    error: str | None = None


def main() -> None:
    """Parse options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--engines", type=int, default=1)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between swaps")
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--full", action="store_true", help="full weights in place of adapters")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), arguments.engines) as stack:
        names = make_checkpoints(stack, count=2, full=arguments.full)
        report = asyncio.run(measure(stack, names, arguments))
        report["restart_s"] = restart_engine(stack)
    print(json.dumps(report))


def make_checkpoints(stack: Stack, count: int, full: bool) -> list[str]:
    """Random adapters over the base, or merged with it as full weights, in the form that a trainer gives them: hashes,
    probe, row. Returns their names."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from db.queries import checkpoints
    from db.session import Database
    from trainer.files import sha256, write_json
    from trainer.full import save_full
    from trainer.policy import base_hash, prompt_ids, save_adapter, weight_files
    from trainer.probe import make_probe

    base = Path(TINY.base_model)
    tokenizer = AutoTokenizer.from_pretrained(base)
    thought = list(tokenizer("<think>\nA plan for this.")["input_ids"])
    pairs = [(prompt_ids(tokenizer, messages), thought) for messages in prompts(16)]
    database, names = Database(f"sqlite:///{stack.home / 'ruminate.db'}"), []
    for number in range(count):
        torch.manual_seed(number)
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        policy = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02)
        with database.transaction() as session:
            row = checkpoints.reserve_checkpoint(session, 0, kind="full" if full else "adapter")
            row_id, name, kind = row.id, row.name, row.kind
        folder = stack.home / "checkpoints" / name
        folder.parent.mkdir(exist_ok=True)
        if full:
            save_full(policy.merge_and_unload(), folder, base)
        else:
            save_adapter(policy, folder)
        manifest = {
            "format": 1,
            "name": name,
            "kind": kind,
            "base": {"name": base.name, "config_hash": base_hash(base)},
            "rank": 8,
            "files": {file: sha256(folder / file) for file in weight_files(folder)},
            "probe": make_probe(base, folder, pairs),
        }
        write_json(folder / "manifest.json", manifest)
        with database.transaction() as session:
            checkpoints.complete_checkpoint(session, row_id, str(folder), manifest)
        names.append(name)
    database.close()
    return names


def prompts(count: int) -> list[list[dict[str, str]]]:
    """Conversations of the small world."""
    lines = (Path(TINY.base_mix).parent / "heldout.jsonl").read_text().splitlines()[:count]
    return [json.loads(line)["messages"] for line in lines]


async def measure(stack: Stack, names: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Stream, swap, compare."""
    questions = prompts(24)
    answers: list[Answer] = []
    swaps: list[tuple[float, float]] = []
    stop = asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:

        async def deploy(name: str, reason: str) -> None:
            body = {"checkpoint": name, "by": "bench", "reason": reason}
            async with http.post(f"{stack.gateway}/internal/deploy", json=body, headers=stack.service) as reply:
                if reply.status != 200:
                    raise RuntimeError(f"{reason}: {await reply.text()}")

        async def client(number: int) -> None:
            while not stop.is_set():
                number = (number + 1) % len(questions)
                answers.append(await ask(http, stack, "ruminate", questions[number], number, arguments.max_tokens))

        clients = [asyncio.create_task(client(number)) for number in range(arguments.clients)]
        await asyncio.sleep(5)  # a stretch without swaps, to compare with
        for number in range(arguments.swaps):
            began = time.monotonic()
            await deploy(names[number % len(names)], f"swap {number}")
            swaps.append((began, time.monotonic()))
            await asyncio.sleep(arguments.pause)
        stop.set()
        await asyncio.gather(*clients)
        failed = [answer.error for answer in answers if answer.error]
        alone: dict[tuple[str, int], str] = {}
        for model, prompt in sorted({(model, answer.prompt) for answer in answers for model in answer.models}):
            if arguments.full:  # one set of weights at a time: only what is live can be asked
                await deploy(model.removeprefix("ruminate-"), "what it says alone")
            own = await ask(http, stack, model, questions[prompt], prompt, arguments.max_tokens)
            alone[model, prompt] = own.text
        mixed = sum(
            len(answer.models) > 1 or answer.text != alone[min(answer.models), answer.prompt]
            for answer in answers
            if not answer.error
        )
    return {
        "clients": arguments.clients,
        "engines": arguments.engines,
        "full": arguments.full,
        "swaps": len(swaps),
        "requests": len(answers),
        "failed": len(failed),
        "first_errors": failed[:3],
        "mixed": mixed,
        "checkpoints_seen": sorted({model for answer in answers for model in answer.models}),
        **latencies(answers, swaps, names),
    }


async def ask(
    http: aiohttp.ClientSession, stack: Stack, model: str, messages: list[dict[str, str]], number: int, limit: int
) -> Answer:
    """Stream one greedy answer."""
    answer = Answer(number, began=time.monotonic())
    body = {"model": model, "messages": messages, "stream": True, "temperature": 0, "max_tokens": limit, "store": False}
    try:
        async with http.post(f"{stack.gateway}/v1/chat/completions", json=body) as reply:
            if reply.status != 200:
                answer.error = f"HTTP {reply.status}: {(await reply.text())[:200]}"
                return answer
            async for line in reply.content:
                if not line.startswith(b"data: {"):
                    continue
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    answer.error = str(chunk["error"])
                    return answer
                answer.models.add(chunk["model"])
                for choice in chunk["choices"]:
                    delta = choice["delta"]
                    answer.text += (delta.get("reasoning") or "") + (delta.get("content") or "")
                    answer.times.append(time.monotonic())
    except (aiohttp.ClientError, TimeoutError) as error:
        answer.error = f"{type(error).__name__}: {error}"
    return answer


def latencies(answers: list[Answer], swaps: list[tuple[float, float]], names: list[str]) -> dict[str, Any]:
    """Gaps between tokens during swaps and outside of them, and how long a swap takes, in milliseconds."""
    inside: list[float] = []
    outside: list[float] = []
    for answer in answers:
        for a, b in zip(answer.times, answer.times[1:], strict=False):
            during = any(b > began and a < ended for began, ended in swaps)
            (inside if during else outside).append((b - a) * 1000)
    firsts = []
    for number, (began, ended) in enumerate(swaps):
        model = f"ruminate-{names[number % len(names)]}"
        limit = swaps[number + 1][0] if number + 1 < len(swaps) else float("inf")
        seen = [answer.times[0] for answer in answers if model in answer.models and ended <= answer.times[0] < limit]
        if seen:
            firsts.append((min(seen) - began) * 1000)
    waits: dict[bool, list[float]] = {True: [], False: []}
    for answer in answers:
        if answer.times:
            during = any(answer.times[0] > began and answer.began < ended for began, ended in swaps)
            waits[during].append((answer.times[0] - answer.began) * 1000)
    calls = [(ended - began) * 1000 for began, ended in swaps]
    p99_in, p99_out = percentile(inside, 99), percentile(outside, 99)
    return {
        "gap_p99_ms_during": p99_in,
        "gap_p99_ms_outside": p99_out,
        "gap_p99_ratio": round(p99_in / p99_out, 2) if p99_in and p99_out else None,
        "first_token_p99_ms_during": percentile(waits[True], 99),
        "first_token_p99_ms_outside": percentile(waits[False], 99),
        "swap_call_ms": {"p50": percentile(calls, 50), "p99": percentile(calls, 99)},
        "publish_to_first_token_ms": {"p50": percentile(firsts, 50), "p99": percentile(firsts, 99)},
    }


def percentile(values: list[float], share: float) -> float | None:
    """The value below which `share` percent lie (nearest rank)."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))], 2)


def restart_engine(stack: Stack) -> float:
    """Seconds from ending an engine to its next readiness: what a swap by restart would cost."""
    process = stack.processes["engine-0"]
    began = time.monotonic()
    process.ask_to_end()
    while not process.ended():
        time.sleep(0.05)
    process.start()
    while not process.is_ready:
        process.tick()
        time.sleep(0.05)
    return round(time.monotonic() - began, 1)


if __name__ == "__main__":
    main()
