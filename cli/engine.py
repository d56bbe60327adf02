"""The command line and the environment of one vLLM engine; starts nothing itself.

Every flag carries its reason. The engine is bound to loopback, and only the gateway talks to it: its control endpoints
(adapters, pause) are not authenticated.
"""

import sys
from pathlib import Path

from cli.profiles import Profile
from thinking.templates import template_path

NOWHERE = "nowhere.invalid"  # no host has this name; without any, vLLM fetches from all of them
_PARSER = Path(__file__).resolve().parent.parent / "thinking" / "vllm_parser.py"


def engine_command(profile: Profile, port: int, host: str = "127.0.0.1") -> list[str]:
    """The command that serves `profile`'s base model as `ruminate-v0` on `host:port`."""
    size = profile.engine
    command = [
        # the console script `vllm` of the CPU wheel fails to start (its metadata has another name)
        *(sys.executable, "-m", "cli.vllm_server"),
        *("--host", host, "--port", str(port)),
        *("--model", profile.base_model, "--served-model-name", "ruminate-v0"),
        *("--chat-template", str(template_path(profile.template))),
        *("--reasoning-parser", profile.reasoning_parser, "--reasoning-parser-plugin", str(_PARSER)),
        *("--dtype", size.dtype),
        *("--max-model-len", str(size.max_model_len), "--max-num-seqs", str(size.max_num_seqs)),
        *("--enable-lora", "--max-lora-rank", str(size.max_lora_rank)),
        *("--max-loras", str(size.max_loras), "--max-cpu-loras", str(size.max_cpu_loras)),
        # not the lm_head: on a CPU its adapter layer kills the engine at the first batch that asks for the
        # log-probabilities of prompts, and it slows every token
        *("--lora-target-modules", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        # log-probabilities after temperature, which is what the policy sampled from and the trainer must correct for
        *("--logprobs-mode", "processed_logprobs"),
        # an engine stands where its clients don't: what they name must not be asked of the hosts around it
        *("--allowed-media-domains", *(size.media_domains or (NOWHERE,))),
        "--scheduling-policy=priority",  # people before rollouts
        "--no-enable-log-requests",  # prompts stay out of logs
    ]
    if profile.gpu:
        command += ["--gpu-memory-utilization", str(size.gpu_memory_utilization)]
    else:
        # a seeded request whose prefill is chunked kills the CPU engine; a batch that holds whole prompts cannot chunk
        batch = max(size.max_num_batched_tokens, size.max_model_len)
        command += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(batch)]
        # vLLM's own CPU operations answer for the base model with an adapter of the same batch
        command += ["--worker-extension-cls", "cli.cpu_lora.Extension"]
    return command


def engine_environment(profile: Profile, offline: bool) -> dict[str, str]:
    """Environment variables to set beside the inherited ones. `offline`: never ask a hub."""
    env = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",  # adapters are swapped while serving
        "VLLM_SERVER_DEV_MODE": "1",  # prefix-cache reset and pause, for full weights
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",  # to a host that was not allowed
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if not profile.gpu:
        env["VLLM_CPU_KVCACHE_SPACE"] = str(profile.engine.kv_cache_gib)
        # with adapters vLLM compiles no model on a CPU; what is left is a token's rank among log-probabilities, and for
        # that torch would want a C++ compiler in the middle of the first such request, where there may be none
        env["TORCH_COMPILE_DISABLE"] = "1"
    if offline:
        env["HF_HUB_OFFLINE"] = "1"
    return env
