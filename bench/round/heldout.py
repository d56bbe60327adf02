"""What the policy is worth to the reward model on held-out prompts, after so many updates; the same for all sides."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from bench.round.setups import Setup
from bench.rounds import FIRST, reader_of
from cli.profiles import Profile
from trainer.gateway import Gateway

TEMPERATURE = 0.7  # as people are served
AT_ONCE = 32  # prompts in a request
SEED = 88_000


def rewards(gateway: Gateway, profile: Profile, setup: Setup, kept: Mapping[int, Path]) -> dict[int, float]:
    """By the number of updates: the mean reward of the base (0) and of each kept adapter, malformed ones ranked."""
    from trainer.policy import prompt_ids
    from trainer.prompts import read_mix
    from trainer.rewards import SequenceClassifier, grade
    from trainer.round_config import RoundConfig

    reader, model = reader_of(profile), SequenceClassifier(Path(profile.reward_model))
    margin = RoundConfig.model_fields["malformed_margin"].default
    mix = Path(profile.base_mix).with_name("heldout.jsonl")
    asked = [prompt.messages for prompt in read_mix(mix)][: setup.heldout]
    ids = [prompt_ids(reader.tokenizer, messages) for messages in asked]

    def worth(name: str) -> float:
        outputs = []
        for start in range(0, len(ids), AT_ONCE):
            drawn = gateway.sample(
                name,
                ids[start : start + AT_ONCE],
                setup.samples,
                max_tokens=setup.max_completion_tokens,
                temperature=TEMPERATURE,
                seed=SEED + start,
            )
            outputs += [reader.read(one.token_ids, one.finished) for one in drawn]
        each = [messages for messages in asked for _ in range(setup.samples)]
        return fmean(one.reward for one in grade(model, each, outputs, setup.samples, margin))

    found = {0: worth(FIRST)}
    for step, folder in kept.items():
        name = f"round-bench-{folder.parent.name}-{step}"
        gateway.load_adapter(name, folder)
        found[step] = worth(name)
        gateway.unload_adapter(name)
    return found
