"""What each profile starts: which model, which reward models, how the engine is sized, what the machine must have.

A profile is plain data. It becomes an engine command (`cli.engine`) and environment variables for the other processes
(`cli.house`); nothing here starts anything.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from cli.cards import visible

_TINY = Path(__file__).resolve().parent.parent / "models" / "tiny"


@dataclass(frozen=True)
class EngineSize:
    """How vLLM is sized. Context lengths in tokens; the KV cache in GiB on CPU, as a share of the card on a GPU."""

    max_model_len: int
    max_num_batched_tokens: int = 8192
    max_num_seqs: int = 128
    max_lora_rank: int = 16
    # adapters in one batch: live, previous, canary, a round's, and one that is being probed; a further one waits until
    # nobody is answered by one of these
    max_loras: int = 5
    max_cpu_loras: int = 7  # adapters held: live, previous, canary, candidate, two of a round, one guest
    kv_cache_gib: int = 1
    gpu_memory_utilization: float = 0.45  # the rest of the card is the trainer's
    dtype: str = "auto"  # the checkpoint's own
    media_domains: tuple[str, ...] = ()  # hosts from which it may fetch pictures that a request names by their URL


@dataclass(frozen=True)
class Profile:
    """One way of running the house. `trainer` and `server` are settings of those rooms (upper case, without prefix)."""

    name: str
    base_model: str
    reward_model: str
    judge_model: str
    base_mix: str
    template: str
    reasoning_parser: str
    engine: EngineSize
    gpu: bool
    memory_gib: float  # main memory that must be free at the start
    zero_model: str  # the base model, without any chat training, that zero mode takes in place of `base_model`
    thinking_format: str = "think"
    cards: int = 0  # GPUs that must be there, each of `card_gib` or more
    card_gib: float = 0.0
    # which of the GPUs a process sees; one that is not named sees all. A trainer that sees several splits its model
    # over them, which is for full weights only
    devices: dict[str, str] = field(default_factory=dict)
    trainer: dict[str, str] = field(default_factory=dict)
    server: dict[str, str] = field(default_factory=dict)

    @property
    def trainer_defaults(self) -> dict[str, str]:
        """For RUMINATE_TRAINER_DEFAULTS: no settings of their own, so that a preset that a person names is above."""
        return {name.lower(): value for name, value in self.trainer.items()}

    def in_zero_mode(self) -> "Profile":
        """The same with a base model that is told how to answer by the template alone, thought and response in tags."""
        return replace(
            self,
            base_model=self.zero_model,
            template="zero",
            reasoning_parser="ruminate_zero",
            thinking_format="zero",
        )


UNLIMITED = dict.fromkeys(("REQUESTS_PER_MINUTE", "TOKENS_PER_MINUTE", "CONCURRENT_ANSWERS", "MAX_CHOICES"), "0")

CANARY = {"CANARY_SHARE": "0.1"}  # people enough to compare; on one's own machine there is nobody to share with

TINY = Profile(
    name="tiny",
    base_model=str(_TINY / "policy"),
    reward_model=str(_TINY / "reward"),
    judge_model=str(_TINY / "judge"),
    base_mix=str(_TINY / "prompts" / "train.jsonl"),
    template="chatml",
    reasoning_parser="ruminate",
    # float32: the engine's log-probabilities then equal the trainer's (importance ratio 1.000), and a greedy answer
    # does not depend on what else is in the batch
    engine=EngineSize(max_model_len=1024, dtype="float32"),
    gpu=False,
    memory_gib=5.0,
    zero_model=str(_TINY / "zero"),
    # one's own machine and one's own words: prompts may be trained on until the switch on the page says otherwise
    server={"LOOPBACK_WITHOUT_KEY": "true", "DEFAULT_CONSENT": "train", **UNLIMITED},
    # somebody's laptop: a round takes ten minutes of a core, so only when there is much to learn and nobody is there
    trainer={"TRIGGER_IDLE_MINUTES": "10", "TRIGGER_MIN_PROMPTS": "200"},
)

_WILDCHAT_IF = "allenai/tulu-3-wildchat-if-on-policy-8b"

# what does not hang on a model's size, as in the paper; the trainer's own defaults were measured on the tiny model
_PAPERS = {
    "TEMPERATURE": "0.7", "KL_BETA": "0.001", "KL_CORRECTION": "false", "DUAL_CLIP": "3.0", "ENTROPY_WEIGHT": "0.001",
}  # fmt: skip

SMALL = Profile(
    name="small",
    base_model="Qwen/Qwen3-0.6B",
    reward_model="Skywork/Skywork-Reward-V2-Qwen3-0.6B",
    judge_model="Skywork/Skywork-Reward-V2-Llama-3.2-1B",
    base_mix=_WILDCHAT_IF,
    template="chatml",
    reasoning_parser="ruminate",
    engine=EngineSize(max_model_len=8192, gpu_memory_utilization=0.35),
    gpu=True,
    memory_gib=8.0,
    zero_model="Qwen/Qwen3-0.6B-Base",
    devices={"trainer": "0"},
    trainer={
        **_PAPERS,
        "LEARNING_RATE": "2e-5",
        "CRITIC_LEARNING_RATE": "1e-4",  # five times the actor's, as there
        "MAX_PROMPT_TOKENS": "2048",
        "MAX_COMPLETION_TOKENS": "2048",
        "LORA_RANK": "16",
        "MICRO_BATCH": "2",
    },
    server=dict(CANARY),
)

SINGLE_GPU = Profile(
    name="single-gpu",
    base_model="Qwen/Qwen3-4B",
    reward_model="Skywork/Skywork-Reward-V2-Qwen3-0.6B",
    judge_model="Skywork/Skywork-Reward-V2-Llama-3.2-1B",
    base_mix=_WILDCHAT_IF,
    template="chatml",
    reasoning_parser="ruminate",
    engine=EngineSize(max_model_len=16384),
    gpu=True,
    memory_gib=16.0,
    zero_model="Qwen/Qwen3-4B-Base",
    devices={"trainer": "0"},
    trainer={
        **_PAPERS,
        "LEARNING_RATE": "1e-5",
        "CRITIC_LEARNING_RATE": "5e-5",
        "MAX_PROMPT_TOKENS": "4096",
        "MAX_COMPLETION_TOKENS": "4096",
        "LORA_RANK": "16",
        "MICRO_BATCH": "1",
    },
    server=dict(CANARY),
)

PAPER = Profile(
    name="paper",
    base_model="meta-llama/Llama-3.1-8B-Instruct",
    zero_model="meta-llama/Llama-3.1-8B",
    reward_model="Skywork/Skywork-Reward-Llama-3.1-8B-v0.2",
    judge_model="Skywork/Skywork-Reward-V2-Qwen3-8B",  # of another family, on other data
    base_mix=_WILDCHAT_IF,
    template="llama3",
    reasoning_parser="ruminate",
    # room for sft's 20,000 tokens, which the gate's answers may have as well; each engine has its card for itself
    engine=EngineSize(max_model_len=20480, max_num_seqs=256, gpu_memory_utilization=0.9),
    gpu=True,
    memory_gib=96.0,
    # 16 bytes for each of 8e9 weights under training, 4 for the reference, and both reward models: 192 GB on six cards
    cards=8,
    card_gib=75.0,
    devices={"engine": "0", "sampler": "1", "trainer": "2,3,4,5,6,7"},
    trainer={"PRESET": "paper", "MICRO_BATCH": "4"},
    server=dict(CANARY),
)

PROFILES = {profile.name: profile for profile in (TINY, SMALL, SINGLE_GPU, PAPER)}


SINGLE_GPU_GIB = 28.0
"""Of card memory: by `cli.budget`, `single-gpu` needs some 27 GiB; a smaller card gets `small`."""


def detect() -> Profile:
    """The default of this machine: `single-gpu` or `small` by the size of the first visible card, else `tiny`."""
    found = visible()
    if not found:
        return TINY
    total = found[0].total
    return SMALL if total is not None and total < SINGLE_GPU_GIB * 2**30 else SINGLE_GPU
