"""The rules of curation, prompt by prompt: each gets a verdict and, kept or left, a reason.

A prompt's split hangs on its conversation's first message alone, by hash; and on those that nearly say the same: one
that is near a held-out one and not held out itself is left, and the other way round. What the gate may ask of the mix
decides first, whether or not this round asks it, then of recorded ones the oldest: so what was decided once stays.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from trainer.language import surely_other
from trainer.near import Near
from trainer.personal import kinds, redacted
from trainer.prompts import Messages, Prompt, identity, is_heldout, root, text_of
from trainer.round_config import RoundConfig
from trainer.unsafe import Unsafe, by_rule


@dataclass(frozen=True)
class Verdict:
    """What curation said of one prompt; of one with personal data in it, as it is with that taken out."""

    prompt: Prompt
    split: str  # train | heldout
    kept: bool
    why: str


class Sieve:
    """Judges one prompt after another; remembers what it has seen. `recorded`: newest first.

    `flat_in`: in how many earlier rounds a prompt's samples earned all the same. `apart`: what of the mix is held out.
    """

    def __init__(
        self,
        config: RoundConfig,
        count_tokens: Callable[[Messages], int],
        gate: Iterable[Prompt] = (),
        recorded: Sequence[Prompt] = (),
        unsafe: Unsafe = by_rule,
        flat_in: Callable[[Prompt], int] = lambda prompt: 0,
        apart: Iterable[Prompt] = (),
    ) -> None:
        self._config, self._count_tokens, self._unsafe = config, count_tokens, unsafe
        self._flat_in = flat_in
        self._seen: set[str] = set()
        self._texts, self._firsts = Near(config.near_duplicates), Near(config.near_duplicates)
        self._splits: list[str] = []  # of the first messages in self._firsts
        self._by_user: Counter[str] = Counter()
        self._by_day: Counter[tuple[str, str | None]] = Counter()
        self._never_train = {root(prompt.messages) for prompt in gate}
        for prompt in gate:
            self._cluster(self._without_personal(prompt), "gate")
        for prompt in apart:
            self._cluster(self._without_personal(prompt), "heldout")
        for prompt in reversed(recorded):
            self._cluster(self._without_personal(prompt), self._own(prompt))

    def judge(self, prompt: Prompt) -> Verdict:
        """The verdict on it. What is kept counts for those that follow."""
        split, began = self._own(prompt), root(prompt.messages)
        found = [] if self._config.personal_data == "keep" else kinds(prompt.messages)
        if found and self._config.personal_data == "drop":
            return Verdict(prompt, split, False, f"personal data: {', '.join(found)}")
        if found:
            prompt = replace(prompt, messages=redacted(prompt.messages))
        why = self._objection(prompt, split, began)
        if why is not None:
            return Verdict(prompt, split, False, why)
        self._keep(prompt)
        said = "held out for good" if split == "heldout" else "eligible"
        return Verdict(prompt, split, True, f"{said}; taken out: {', '.join(found)}" if found else said)

    def cannot_ask(self, prompt: Prompt) -> str | None:
        """Why the gate's own prompt can't be asked: an engine refuses one that is empty or too long, and all others
        of its request with it."""
        if why := _without_question(prompt):
            return why
        return self._too_long(prompt) if text_of(prompt.messages[-1]).strip() else "it has no words"

    def _objection(self, prompt: Prompt, split: str, began: str) -> str | None:
        config, user = self._config, prompt.user_id
        if why := _without_question(prompt):
            return why
        if prompt.pictures:
            return "it holds more than text, which rounds do not learn from"
        last = text_of(prompt.messages[-1])
        if len(last.strip()) < config.min_prompt_characters:
            return f"shorter than {config.min_prompt_characters} characters"
        if split == "train" and began in self._never_train:
            return "the gate's prompts begin the same way"
        if identity(prompt.messages) in self._seen:
            return "a duplicate"
        if user is not None and self._by_user[user] >= config.per_user_cap:
            return f"its user has {config.per_user_cap} in this round already"
        if user is not None and self._by_day[user, prompt.day] >= config.per_user_daily_cap:
            return f"its user has {config.per_user_daily_cap} of that day already"
        flat = self._flat_in(prompt) if config.flat_rounds and split == "train" else 0
        if config.flat_rounds and flat >= config.flat_rounds:
            return f"its samples earned all the same in {config.flat_rounds} rounds or more"
        if why := self._too_long(prompt):
            return why
        other = surely_other(last, config.languages)
        if other is not None:
            return f"its language is {other}"
        if config.unsafe == "drop" and (found := self._unsafe(prompt.messages)) is not None:
            return f"unsafe: {found}"
        if self._texts.find(_whole(prompt)) is not None:
            return "nearly a duplicate"
        cluster = self._cluster(_first(prompt.messages), split)
        if cluster != split:
            said = {"gate": "the gate's", "heldout": "a held-out one", "train": "one that can be trained on"}[cluster]
            return f"nearly the same as {said}"
        return None

    def _too_long(self, prompt: Prompt) -> str | None:
        tokens, most = self._count_tokens(prompt.messages), self._config.max_prompt_tokens
        return f"{tokens} tokens, more than {most}" if tokens > most else None

    def _keep(self, prompt: Prompt) -> None:
        self._seen.add(identity(prompt.messages))
        self._texts.add(_whole(prompt))
        if prompt.user_id is not None:
            self._by_user[prompt.user_id] += 1
            self._by_day[prompt.user_id, prompt.day] += 1

    def _own(self, prompt: Prompt) -> str:
        return "heldout" if is_heldout(prompt.messages, self._config.heldout_share) else "train"

    def _cluster(self, begins: Messages, own: str) -> str:
        """The split of the first that nearly began so; `own` where this is the first."""
        first = "".join(map(text_of, begins))
        near = self._firsts.find(first)
        if near is not None:
            return self._splits[near]
        self._firsts.add(first)
        self._splits.append(own)
        return own

    def _without_personal(self, prompt: Prompt) -> Messages:
        """Its first message as `judge` leaves it: what tells it from another one may be an address alone."""
        first = _first(prompt.messages)
        return redacted(first) if self._config.personal_data == "redact" else first


def _first(messages: Messages) -> Messages:
    return [message for message in messages if message["role"] == "user"][:1]


def _whole(prompt: Prompt) -> str:
    return "\n".join(text_of(message) for message in prompt.messages)


def _without_question(prompt: Prompt) -> str | None:
    asks = prompt.messages and prompt.messages[-1]["role"] == "user"
    return None if asks else "it does not end with a user's message"
