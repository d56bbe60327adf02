"""How a swap looks to people who chat: failed and mixed answers, gaps between tokens, seconds to the new checkpoint.

Clients stream greedy answers without pause while four checkpoints are made live in turn, many times, over one or more
engines. Live and the one before stay loaded, so of four the next one is gone from every engine when its turn comes, and
each swap loads, probes and lets something go. Then live is rolled back a few times. Every answer is compared, token for
token, with what its checkpoint alone writes, and prompts are counted that the checkpoints
answer alike, which tell nothing. A restart of vLLM, which a swap replaces, is timed beside it, to its first
answer as well. The checkpoints are the base with random LoRA matrices: a swap does not care. With --full they are
whole weights, for which engines are drained and reloaded, one after another.

A client that streams asks again when its answer has ended, which may be a second after an engine could have answered by
the new checkpoint. So a few others knock: they ask for one token, again and again. The first word that an engine gives
by the new name, to whomever, is when it can; the first answer to the crowd is told beside it.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import httpx

from bench.stack import Stack, running
from bench.swap_figures import Answer, Change, figures, in_words
from bench.swap_weights import prompts, write_weights

FEWEST = 4  # checkpoints in turn: live and the one before stay loaded, and what is on its way out may still be there
KNOCK = 1  # token
SETTLE_S = 120.0  # for engines to have what was made live, or to let go of what was live three swaps ago
RECORD_S = 60.0  # for the last turns to be in the database


def main() -> None:
    """Parse options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--rollbacks", type=int, default=10)
    parser.add_argument("--checkpoints", type=int, default=FEWEST, help=f"how many are live in turn, at least {FEWEST}")
    parser.add_argument("--engines", type=int, default=1)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between swaps")
    parser.add_argument("--calm", type=float, default=5.0, help="seconds without a swap at first, to compare with")
    parser.add_argument("--prompts", type=int, default=24, help="questions that each checkpoint also answers alone")
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--knockers", type=int, help="who ask for one token, without pause (default: one an engine)")
    parser.add_argument("--full", action="store_true", help="full weights in place of adapters")
    arguments = parser.parse_args()
    if arguments.knockers is None:
        arguments.knockers = arguments.engines
    if arguments.checkpoints < FEWEST:
        parser.error(
            f"--checkpoints is {arguments.checkpoints}: with fewer than {FEWEST} a swap would find its weights loaded"
        )
    with (
        tempfile.TemporaryDirectory() as folder,
        # nobody may take random weights back because their answers are bad
        running(Path(folder), arguments.engines, rollback_level="0") as stack,
    ):
        names = make_checkpoints(stack, arguments.checkpoints, arguments.full)
        report = asyncio.run(measure(stack, names, arguments))
        report["restart_s"] = restart_engine(stack)
    for line in in_words(report):
        print(line)
    print(json.dumps(report))


def make_checkpoints(stack: Stack, count: int, full: bool) -> list[str]:
    """Random adapters over the base, or merged with it as full weights, in the form that a trainer gives them: hashes,
    probe, row. Returns their names."""
    from db.queries import checkpoints
    from db.session import Database

    database, names = Database(f"sqlite:///{stack.home / 'ruminate.db'}"), []
    for number in range(count):
        with database.transaction() as session:
            row = checkpoints.reserve_checkpoint(session, 0, kind="full" if full else "adapter")
            row_id, name = row.id, row.name
        folder = stack.home / "checkpoints" / name
        manifest = write_weights(folder, name, number, full)
        with database.transaction() as session:
            checkpoints.complete_checkpoint(session, row_id, str(folder), manifest)
        names.append(name)
    database.close()
    return names


async def measure(stack: Stack, names: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Stream, swap, roll back, compare."""
    questions = prompts(arguments.prompts)
    answers: list[Answer] = []
    changes: list[Change] = []
    between: list[Change] = []  # so that there is something to roll back again: not timed, but no calm either
    stop = asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:

        async def client(number: int, limit: int) -> None:
            while not stop.is_set():
                number = (number + 1) % len(questions)
                answers.append(await ask(http, stack, "ruminate", questions[number], number, limit))
                answers[-1].is_knock = limit == KNOCK

        clients = [asyncio.create_task(client(number, arguments.max_tokens)) for number in range(arguments.clients)]
        clients += [asyncio.create_task(client(number, KNOCK)) for number in range(arguments.knockers)]
        await asyncio.sleep(arguments.calm)
        for number in range(arguments.swaps):
            name = names[number % len(names)]
            await until_engines(http, stack, name, arguments.full, have=False)
            changes.append(await change(http, stack, name, f"swap {number}", arguments.full))
            await asyncio.sleep(arguments.pause)
        for number in range(arguments.rollbacks if arguments.swaps else 0):
            if number:  # what was taken back comes back by its name alone; it is loaded still
                last = names[(arguments.swaps - 1) % len(names)]
                between.append(await change(http, stack, last, "made live again", arguments.full))
                await asyncio.sleep(arguments.pause)
            changes.append(await change(http, stack, "previous", f"rollback {number}", arguments.full))
            await asyncio.sleep(arguments.pause)
        stop.set()
        await asyncio.gather(*clients)
        alone: dict[tuple[str, int], tuple[int, ...]] = {}
        for model, prompt in sorted(
            {(model, answer.prompt) for answer in answers if not answer.is_knock for model in answer.models}
        ):
            if arguments.full:  # one set of weights at a time: only what is live can be asked
                await deploy(http, stack, model.removeprefix("ruminate-"), "what it says alone")
            own = await ask(http, stack, model, questions[prompt], prompt, arguments.max_tokens)
            alone[model, prompt] = own.tokens
    await asyncio.to_thread(note_engines, stack, answers)
    options = {name: getattr(arguments, name) for name in ("clients", "knockers", "engines", "full", "checkpoints")}
    return options | figures(answers, changes, alone, stack.engines, between)


async def deploy(http: aiohttp.ClientSession, stack: Stack, name: str, reason: str) -> str:
    """Make it live; returns its name."""
    body = {"checkpoint": name, "by": "bench", "reason": reason}
    async with http.post(f"{stack.gateway}/internal/deploy", json=body, headers=stack.service) as reply:
        if reply.status != 200:
            raise RuntimeError(f"{reason}: {await reply.text()}")
        return str((await reply.json())["live"])


async def change(http: aiohttp.ClientSession, stack: Stack, name: str, reason: str, full: bool) -> Change:
    """Make it live, and wait until every engine has it: full weights reach one after another."""
    began = time.monotonic()
    live = await deploy(http, stack, name, reason)
    answered = time.monotonic()
    await until_engines(http, stack, live, full, have=True)
    return Change(f"ruminate-{live}", reason.startswith("rollback"), began, answered, time.monotonic())


async def until_engines(http: aiohttp.ClientSession, stack: Stack, name: str, full: bool, have: bool) -> None:
    """Wait until every engine has this checkpoint, or none does. They are asked themselves, not the gateway."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        having = [await has(http, url, f"ruminate-{name}", full) for url in stack.engines]
        if all(having) if have else not any(having):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{having.count(not have)} engines still {'lack' if have else 'have'} {name}")
        await asyncio.sleep(0.05)


async def has(http: aiohttp.ClientSession, engine: str, model: str, full: bool) -> bool:
    """Whether this engine has the adapter loaded, or these weights in place."""
    async with http.get(f"{engine}/weight_info" if full else f"{engine}/v1/models") as reply:
        found = await reply.json()
    if full:
        return bool(str(found["weight_version"]).partition("#")[0] == model)
    return model in {card["id"] for card in found["data"]}


async def ask(
    http: aiohttp.ClientSession, stack: Stack, model: str, messages: list[dict[str, str]], number: int, limit: int
) -> Answer:
    """Stream one greedy answer."""
    answer = Answer(number, began=time.monotonic())
    body = {"model": model, "messages": messages, "stream": True, "temperature": 0, "max_tokens": limit, "store": False}
    body |= {"return_token_ids": True}
    try:
        async with http.post(f"{stack.gateway}/v1/chat/completions", json=body) as reply:
            if reply.status != 200:
                answer.error = f"HTTP {reply.status}: {(await reply.text())[:200]}"
                return answer
            answer.generation = reply.headers["x-ruminate-generation"]
            async for line in reply.content:
                if not line.startswith(b"data: {"):
                    continue
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    answer.error = str(chunk["error"])
                    return answer
                answer.models.add(chunk["model"])
                for choice in chunk["choices"]:
                    answer.tokens += tuple(choice.get("token_ids") or ())
                    answer.times.append(time.monotonic())
    except (aiohttp.ClientError, TimeoutError) as error:
        answer.error = f"{type(error).__name__}: {error}"
    if not answer.tokens:
        answer.error = answer.error or "the stream ended before its first token"
    return answer


def note_engines(stack: Stack, answers: list[Answer]) -> None:
    """Which engine wrote each answer, by the record of its turn. Nothing of an answer itself says so."""
    from sqlalchemy import select

    from db.schema import Generation
    from db.session import Database

    wanted = {answer.generation: answer for answer in answers if not answer.error}
    database, deadline = Database(f"sqlite:///{stack.home / 'ruminate.db'}"), time.monotonic() + RECORD_S
    try:
        while True:
            with database.reading() as session:
                found = {row.id: row.engine for row in session.execute(select(Generation.id, Generation.engine))}
            if wanted.keys() <= found.keys():  # a crowd's turns are in the spool for a moment
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(wanted.keys() - found.keys())} answers have no record")
            time.sleep(0.5)
    finally:
        database.close()
    for generation, answer in wanted.items():
        answer.engine = found[generation]


def restart_engine(stack: Stack) -> float:
    """Seconds from ending an engine to its next answer's first word: what a swap by restart would cost."""
    process = stack.processes["engine-0"]
    began = time.monotonic()
    process.ask_to_end()
    while not process.ended():
        time.sleep(0.05)
    process.start()
    while not process.is_ready:
        process.tick()
        time.sleep(0.05)
    body = {"model": "ruminate-v0", "messages": prompts(1)[0], "stream": True, "max_tokens": 16}
    with httpx.stream("POST", f"{stack.engines[0]}/v1/chat/completions", json=body, timeout=120) as reply:
        for line in reply.iter_lines():
            if line.startswith("data: {") and _says_something(json.loads(line[6:])):
                return round(time.monotonic() - began, 1)
    raise RuntimeError(f"the restarted engine answered without a word (HTTP {reply.status_code})")


def _says_something(chunk: dict[str, Any]) -> bool:
    return any(choice["delta"].get("reasoning") or choice["delta"].get("content") for choice in chunk["choices"])


if __name__ == "__main__":
    main()
