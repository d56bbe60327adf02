"""Adapters on the CPU engine: vLLM's own operations and ours (cli/cpu_lora.py), one engine after the other in one run.

For each: tokens per second with the base model and with an adapter at several concurrencies, and how far the base
model's log-probabilities move when adapters share its batch (0 is right). JSON is the last line.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from cli.checks import free_port
from cli.engine import engine_command, engine_environment
from cli.profiles import TINY

SLOTS = TINY.engine.max_loras
TOKENS = 100


def main() -> int:
    """Run both engines and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        adapters = [random_adapter(Path(folder) / f"adapter-{seed}", seed) for seed in range(SLOTS)]
        for name in ("vllm", "ours"):
            found[name] = asyncio.run(measure(name, adapters, options))
            print(name, json.dumps(found[name]), flush=True)
    ratios = {
        key: round(found["ours"]["tokens_per_second"][key] / found["vllm"]["tokens_per_second"][key], 2)
        for key in found["ours"]["tokens_per_second"]
    }
    print(json.dumps({"bench": "adapters", **found, "ours_to_vllm": ratios}))
    return 0


def random_adapter(folder: Path, seed: int) -> Path:
    """An adapter of rank 8 on every linear layer of the tiny policy, far enough from zero to show."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(TINY.base_model, dtype=torch.float32)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
    tuned = get_peft_model(model, config)
    with torch.no_grad():
        for name, weights in tuned.named_parameters():
            if "lora_B" in name:
                weights.mul_(0.1)
    tuned.save_pretrained(str(folder))
    return folder


async def measure(name: str, adapters: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """One engine's figures."""
    port = free_port("127.0.0.1")
    command = engine_command(TINY, port)
    if name == "vllm":
        place = command.index("--worker-extension-cls")
        del command[place : place + 2]
    env = os.environ | engine_environment(TINY, offline=True)
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=quiet, stderr=quiet)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=300) as http:
            await ready(http, process)
            for number, path in enumerate(adapters):
                body = {"lora_name": f"adapter-{number}", "lora_path": str(path)}
                (await http.post("/v1/load_lora_adapter", json=body)).raise_for_status()
            moved = await beside_adapters(http)
            speeds: dict[str, float] = {}
            for _ in range(options.repeats):  # the best of some: what else the machine does only ever slows
                for model in ("ruminate-v0", "adapter-0"):
                    for crowd in options.concurrency:
                        key = f"{'base' if model == 'ruminate-v0' else 'adapter'}_{crowd}"
                        speeds[key] = max(speeds.get(key, 0.0), round(await speed(http, model, crowd)))
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()
    return {"tokens_per_second": speeds, "base_logprob_moved_by": moved}


async def ready(http: httpx.AsyncClient, process: asyncio.subprocess.Process) -> None:
    """Return once the engine answers."""
    while True:
        if process.returncode is not None:
            raise RuntimeError(f"the engine ended with {process.returncode}")
        try:
            if (await http.get("/health")).status_code == 200:
                return
        except httpx.TransportError:
            await asyncio.sleep(0.5)


async def write(http: httpx.AsyncClient, model: str, prompt: str, tokens: int) -> list[float]:
    """The log-probabilities of a greedy answer of `tokens` tokens."""
    body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "logprobs": 0}
    answer = await http.post("/v1/completions", json=body)
    answer.raise_for_status()
    found: list[float] = answer.json()["choices"][0]["logprobs"]["token_logprobs"]
    return found


async def beside_adapters(http: httpx.AsyncClient) -> float:
    """The greatest change of a log-probability of the base model when every adapter slot is at work beside it."""
    prompts = [f"Plan {number} dinners for two, no nuts." for number in range(3, 11)]
    alone = [await write(http, "ruminate-v0", prompt, 40) for prompt in prompts]
    jobs = [write(http, f"adapter-{number}", prompt, 40) for number in range(SLOTS) for prompt in prompts]
    crowd = await asyncio.gather(*(write(http, "ruminate-v0", prompt, 40) for prompt in prompts), *jobs)
    pairs = zip(alone, crowd, strict=False)
    return round(max(abs(a - b) for one, two in pairs for a, b in zip(one, two, strict=True)), 6)


async def speed(http: httpx.AsyncClient, model: str, crowd: int) -> float:
    """Tokens per second of `crowd` answers at once."""
    began = time.perf_counter()
    await asyncio.gather(*(write(http, model, f"Plan {number} dinners.", TOKENS) for number in range(crowd)))
    return crowd * TOKENS / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
