"""Pairs for DPO from what people preferred: two answers that the gateway gave them, and the one that they chose.

Taken as they were said, thought and response, by whichever checkpoint. Only those whose prompt the round trains on in
any case: so a pair passes every rule of curation, has its row in the record of what the round learnt from, and goes
when its person withdraws. Which prompts have such pairs curation is told, so that they are not the ones left over.
"""

import random
from collections import Counter

from db.values import Preference
from trainer.pairs import Pair
from trainer.personal import kinds, redacted
from trainer.policy import prompt_ids
from trainer.prompts import Messages
from trainer.rewards import Reader
from trainer.round_config import RoundConfig
from trainer.work import TrainingPrompts, Work


def people_pairs(work: Work, prompts: TrainingPrompts, most: int) -> tuple[list[Pair], dict[str, float]]:
    """At most `most` pairs, and how many preferences made none, by reason."""
    asked = {one.message_id: one.messages for _, one in prompts.train if one.message_id is not None and one.messages}
    said = [one for one in work.ledger.preferences() if one.message_id in asked]
    random.Random(f"people {work.config.seed}").shuffle(said)
    pairs: list[Pair] = []
    left: Counter[str] = Counter()
    for one in said:
        found = pair_of(one, asked[one.message_id], work.reader, work.config)
        if isinstance(found, str):
            left[f"people_{found}"] += 1
        elif len(pairs) == most:
            left["people_beyond_share"] += 1
        else:
            pairs.append(found)
    return pairs, {"people_pairs": float(len(pairs)), **{name: float(count) for name, count in left.items()}}


def pair_of(one: Preference, messages: Messages, reader: Reader, config: RoundConfig) -> Pair | str:
    """The pair, its prompt as curation left it; or in a word why there is none."""
    answers = [(one.chosen_thought, one.chosen), (one.rejected_thought, one.rejected)]
    if reader.format.thinks and not all(thought.strip() for thought, _ in answers):
        return "without_thought"
    if config.personal_data != "keep":
        words = [{"role": "assistant", "content": text} for answer in answers for text in answer]
        if config.personal_data == "drop" and kinds(words):
            return "personal"
        told = [message["content"] for message in redacted(words)]
        answers = [(told[0], told[1]), (told[2], told[3])]
    if answers[0][1] == answers[1][1]:
        return "alike"
    written = [_written(reader, *answer) for answer in answers]
    if any(ids is None for ids in written):
        return "malformed"
    chosen, rejected = (ids or [] for ids in written)
    if max(len(chosen), len(rejected)) > config.max_completion_tokens:
        return "too_long"
    return Pair(prompt_ids(reader.tokenizer, messages), chosen, rejected, 0.0, one.message_id, "people")


def _written(reader: Reader, thought: str, response: str) -> list[int] | None:
    """What a policy would have written; None where it can't be read back, a marker being in it."""
    try:
        text = reader.format.render(thought, response)
    except ValueError:
        return None
    return [*reader.tokenizer(text, add_special_tokens=False)["input_ids"], reader.tokenizer.eos_token_id]
