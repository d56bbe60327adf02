"""Both sides answer the held-out prompts through the gateway, as people are; the gate decides, the watch warns."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from thinking.format import Parsed
from trainer.files import write_json
from trainer.gate import Answers, Verdict, decide, measure
from trainer.policy import prompt_ids
from trainer.prompts import Prompt, text_of
from trainer.regressions import Regressions, as_trained, compare
from trainer.rewards import RewardModel, costs_of, spent_since
from trainer.rollout import seed_of
from trainer.versions import Versions
from trainer.watch import watch
from trainer.work import Work

log = logging.getLogger(__name__)

TokenIds = tuple[list[int], list[int]]
"""A prompt and a completion."""
SAMPLES = "samples.json"
SHOWN = 4  # samples of before and after that a checkpoint carries
KL_PROMPTS = 32  # the mean over some thousand tokens is sure to 0.014 near gate_max_kl (docs/trust.md)
PROMPTS_AT_ONCE = 96  # in one request: what is lost of it with a gateway that dies; few, since each waits for its last


def examine(
    work: Work, candidate: Path, prompts: Sequence[Prompt], reward: RewardModel, second: RewardModel
) -> Verdict:
    """Sample both sides on the same prompts with the same seeds, judge them, and watch for reward hacking.

    What judges behind an API cost is in the verdict's figures as `spent`.
    """
    before = costs_of(reward, second)
    conversations = [prompt.messages for prompt in prompts]
    versions = Versions(work)
    versions.clear()
    name = versions.publish_copy(candidate, work.config.steps)
    old, _ = answers(work, work.parent.served_as, prompts)
    new, sequences = answers(work, name, prompts)
    apart = divergence(work, name, sequences)
    kept = kept_answers(work, name, second)
    write_json(work.folder / SAMPLES, before_and_after(prompts, old, new))
    found = replace(measure(conversations, old, new, reward, second, work.config, apart), regressions=kept)
    versions.clear()
    verdict = decide(found, work.config)
    seen = watch(found, old, new, prompts)
    for alert in seen["alerts"]:
        log.warning(
            "round %s: the watch for reward hacking rings, %s: %s", work.round_id, alert["name"], alert["words"]
        )
    spent = spent_since(before, reward, second)
    return replace(verdict, figures=verdict.figures | {"watch": seen} | ({"spent": spent} if spent else {}))


def before_and_after(prompts: Sequence[Prompt], old: Answers, new: Answers) -> list[dict[str, str]]:
    """What both sides answered to a few prompts, for people to read; of prompts that no user wrote."""
    rows = [
        {"prompt": text_of(prompt.messages[-1]), "before": before[0].response, "after": after[0].response}
        for prompt, before, after in zip(prompts, old.outputs, new.outputs, strict=True)
        if prompt.source == "mix"
    ]
    return rows[:SHOWN]


def kept_answers(work: Work, candidate: str, judge: RewardModel) -> Regressions | None:
    """Both sides asked again what people keep an eye on; None where they keep nothing."""
    config = work.config
    listed = work.ledger.kept_answers(config.gate_regressions, config.gate_regressions_per_user)
    room = config.max_prompt_tokens
    kept = [one for one in as_trained(listed, config) if len(prompt_ids(work.reader.tokenizer, one.messages)) <= room]
    if not kept:
        return None
    prompts = [Prompt(one.messages, "recorded", one.message_id) for one in kept]
    old, new = (answers(work, model, prompts)[0].outputs for model in (work.parent.served_as, candidate))
    return compare(kept, old, new, judge)


def divergence(work: Work, candidate: str, sequences: Sequence[TokenIds]) -> float:
    """How far the served `candidate` is from live on its own answers, in nats per token.

    The mean of the differences of log-probabilities at temperature 1, the simplest estimate of KL(candidate, live); the
    answers are those of the gate's temperature, as people get them. One answer to each of KL_PROMPTS prompts.
    """
    asked = sequences[:: work.config.gate_samples][:KL_PROMPTS]
    new, old = (work.gateway.logprobs(model, asked) for model in (candidate, work.parent.served_as))
    return fmean(a - b for ours, theirs in zip(new, old, strict=True) for a, b in zip(ours, theirs, strict=True))


def answers(work: Work, model: str, prompts: Sequence[Prompt]) -> tuple[Answers, list[TokenIds]]:
    """`gate_samples` answers of the served `model` to each prompt, read; and their token ids, prompt by prompt."""
    config, reader = work.config, work.reader
    outputs: list[Parsed] = []
    sequences: list[TokenIds] = []
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
        sequences += [(ids[sample.prompt], sample.token_ids) for sample in samples]
    found = Answers(
        outputs=[outputs[at : at + config.gate_samples] for at in range(0, len(outputs), config.gate_samples)],
        thought_tokens=fmean(reader.tokens([parsed.reasoning for parsed in outputs])),
        response_tokens=fmean(reader.tokens([parsed.response for parsed in outputs])),
    )
    return found, sequences
