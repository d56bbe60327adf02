"""What is asked of an image by itself, and of the whole house once it is up."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from images.buildah import Buildah, Failed

from cli.client import GatewayClient

_CHROMIUM = "/usr/bin/chromium"
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]
# Triton's own way to the part of itself that it compiles, with a stand-in for the part
_COMPILE = """
from triton.runtime.build import compile_module_from_src
source = '#include <Python.h>\\nstatic struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "part", 0, -1, 0};'
source += 'PyMODINIT_FUNC PyInit_part(void) { return PyModule_Create(&m); }'
print(compile_module_from_src(source, "part").__name__)
"""
# What an image of a GPU has to hold, as far as it can be seen without a GPU.
_WITHOUT_GPU = {
    "engine": ["import vllm.entrypoints.launchers.api_server.entry, torch; print(torch.version.cuda)", _COMPILE],
    "trainer": ["import trainer.loop, trainer.trl_bridge, torch; print(torch.version.cuda)"],
}
_SHORT_ROUND = {
    "steps": 1, "prompts_per_step": 4, "group_size": 4, "micro_batch": 16, "lookout_every": 0,
    "gate_prompts": 4, "gate_samples": 1, "max_completion_tokens": 96,
}  # fmt: skip


def mebibytes(buildah: Buildah, image: str) -> int:
    """Size of its files."""
    container = buildah("from", "--pull=never", image)
    with buildah.tree(container) as tree:
        done = subprocess.run(["du", "-sxm", str(tree)], capture_output=True, text=True, check=True)
    buildah.remove(container)
    return int(done.stdout.split()[0])


def look_into(buildah: Buildah, target: str, image: str) -> list[str]:
    """What was seen of an image in a container of it. Raises Failed."""
    config, container = buildah.config(image), f"look-{target}"
    if config.get("User") in (None, "", "root", "0"):
        raise Failed(f"{image} runs as {config.get('User')!r}")
    buildah.create(container, image)
    tools = "for t in cc gcc g++ clang make pip uv; do command -v $t; done; id -u; test -w /app && echo writes; true"
    found = buildah.run(container, "/bin/sh", "-c", tools, user="10001").stdout.split()
    if "writes" in found or "10001" not in found:
        raise Failed(f"{image}: {' '.join(found)}")
    compilers = [name for name in found if name not in ("10001",)]
    if bool(compilers) != (target == "engine"):
        raise Failed(f"{image} has {compilers}")
    seen = [f"user {config['User']}, {', '.join(Path(one).name for one in compilers) or 'no compiler, pip or uv'}"]
    for program in _WITHOUT_GPU.get(target, ()):
        done = buildah.run(container, "python", "-c", program, user="10001")
        if done.returncode:
            raise Failed(f"{image}: {program!r} ended with {done.returncode}: {done.stdout[-1500:]}")
        seen.append(f"{program.strip().splitlines()[0]}: {done.stdout.split()[-1]}")
    buildah.remove(container)
    return seen


def first_administrator(gateway: str, service_key: str) -> str:
    """As docs/gateway.md tells it: made with the service key. Returns the new administrator's own key."""
    with GatewayClient(gateway, service_key) as client:
        client.call("POST", "/api/admin/users", {"name": "ann", "role": "admin"})
        return str(client.call("POST", "/api/admin/users/ann/keys", {})["key"])


def chat(client: GatewayClient) -> str:
    """One streamed answer with its thought, and one with log-probabilities."""
    ask = [{"role": "user", "content": "Plan three dinners for two, no nuts."}]
    pieces = list(client.stream_chat(ask, max_tokens=300))
    thought, answer = ("".join(getattr(one, part) for one in pieces) for part in ("reasoning", "content"))
    if not thought.strip() or not answer.strip() or pieces[0].model is None:
        raise Failed(f"the chat's answer is {answer!r}, its thought {thought!r}")
    body = {"model": "ruminate", "messages": ask, "max_tokens": 8, "logprobs": True, "top_logprobs": 2}
    reply = client.call("POST", "/v1/chat/completions", body)
    if not reply["choices"][0]["logprobs"]["content"]:
        raise Failed(f"no log-probabilities came: {reply}")
    return f"{pieces[0].model}: {_short(answer)}"


def page(url: str, key: str) -> str:
    """A browser signs in with a key, asks, and sees the answer."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
        shown = browser.new_page()
        shown.set_default_timeout(120_000)
        shown.goto(url)
        shown.locator("dialog.signin input").fill(key)
        with shown.expect_navigation():
            shown.locator("dialog.signin input").press("Enter")
        shown.wait_for_function("() => window.ruminate?.me?.consent")
        shown.locator("#message").fill("Write a short story about a lighthouse keeper.")
        shown.locator("#message").press("Enter")
        written = shown.locator(".row.assistant:not(.live)").first
        written.wait_for()
        text = written.inner_text()
        browser.close()
    if not re.search(r"ruminate-v\d", text) or len(text) < 60:
        raise Failed(f"the page shows {text!r}")
    return _short(text)


def recorded(client: GatewayClient, answers: int) -> str:
    """All answers of this user are in the record."""
    kept = [client.get(f"/api/conversations/{one['id']}") for one in client.get("/api/conversations")["data"]]
    if len(kept) < answers:
        raise Failed(f"{answers} conversations were begun, {len(kept)} are in the record")
    return f"{len(kept)} conversations"


def round_of_training(client: GatewayClient, alive: Callable[[], None]) -> str:
    """The shortest round; whether its candidate is any good is not asked. `alive`: raises when a service has ended."""
    asked = client.start_round(config=_SHORT_ROUND, reason="proof of the images", seed=1)
    begun = time.monotonic()
    while (view := client.round(asked["id"]))["state"] in ("requested", "running"):
        alive()
        if time.monotonic() - begun > 1200:
            raise Failed(f"after 20 minutes the round is {view}")
        time.sleep(1)
    if view["state"] not in ("published", "rejected"):
        raise Failed(f"the round: {view}")
    return f"{view['state']} after {time.monotonic() - begun:.0f} s"


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 80 else words[:79] + "…"
