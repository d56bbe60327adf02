"""Both sides answer the held-out prompts through the gateway, as people are served; then the gate decides."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from trainer.gate import Answers, Verdict, judge
from trainer.policy import prompt_ids
from trainer.prompts import Prompt
from trainer.rewards import RewardModel
from trainer.rollout import seed_of
from trainer.versions import Versions
from trainer.work import Work

PROMPTS_AT_ONCE = 32  # in one request: so that a stop or a lost lease is noticed in between


def examine(
    work: Work, candidate: Path, prompts: Sequence[Prompt], reward: RewardModel, second: RewardModel
) -> Verdict:
    """Sample both sides on the same prompts with the same seeds, and judge them."""
    conversations = [prompt.messages for prompt in prompts]
    versions = Versions(work)
    versions.clear()
    name = versions.publish_copy(candidate, work.config.steps)
    old = answers(work, work.parent.served_as, prompts)
    new = answers(work, name, prompts)
    verdict = judge(conversations, old, new, reward, second, work.config)
    versions.clear()
    return verdict


def answers(work: Work, model: str, prompts: Sequence[Prompt]) -> Answers:
    """`gate_samples` answers of the served `model` to each prompt, read."""
    config, reader = work.config, work.reader
    outputs = []
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        ids = [prompt_ids(reader.tokenizer, prompt.messages) for prompt in prompts[start : start + PROMPTS_AT_ONCE]]
        samples = work.gateway.sample(
            model,
            ids,
            config.gate_samples,
            max_tokens=config.max_completion_tokens,
            temperature=config.gate_temperature,
            seed=seed_of("gate", config.seed, start),
        )
        outputs += [reader.read(sample.token_ids, sample.finished) for sample in samples]
    return Answers(
        outputs=[outputs[at : at + config.gate_samples] for at in range(0, len(outputs), config.gate_samples)],
        thought_tokens=fmean(reader.tokens([parsed.reasoning for parsed in outputs])),
        response_tokens=fmean(reader.tokens([parsed.response for parsed in outputs])),
    )
