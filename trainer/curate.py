"""Which prompts a round learns from and which it is judged on, with a reason for each that was looked at.

Recorded prompts come first, newest first, but for a set share of the round; the base mix fills up. A few of the gate's
are the mix's in any case: answers to those alone may be shown (`trainer.exam`, `trainer.watch`). The rules are in
`trainer.sieve`: the split is for good, and no prompt is trained on that is nearly a held-out one. Knows no database and
no tokenizer: it gets prompts and a way to count tokens.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from trainer.prompts import Messages, Prompt, is_heldout
from trainer.round_config import RoundConfig
from trainer.sieve import Sieve, Verdict
from trainer.unsafe import Unsafe, by_rule

SPARES = 2  # steps' worth of extra mix prompts: they stand in for prompts whose consent is withdrawn on the way
LEAST_SPARES = 4  # with fewer nothing can be said of whether answers got worse (`trainer.lookout`)
SPARED_SHARE = 8  # where the mix has none left, one of so many that the round would train on

SHOWABLE = 8  # mix prompts among the gate's, so that a house of many people sees what a round changed
SHOWABLE_SHARE = 8  # and at most one of so many, in a small gate


@dataclass
class Curation:
    """What a round trains on (in order), stands in, and is judged on; and every verdict, kept or left."""

    train: list[Prompt] = field(default_factory=list)
    spares: list[Prompt] = field(default_factory=list)
    heldout: list[Prompt] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One sentence for the log."""
        recorded = sum(prompt.source == "recorded" for prompt in self.train)
        mix = len(self.train) - recorded
        if not recorded:
            return f"nothing recorded that can be trained on: this round trains on the base mix alone ({mix} prompts)"
        return f"trains on {recorded} recorded prompts and {mix} of the base mix; judged on {len(self.heldout)}"


def curate(
    recorded: Iterable[Prompt],
    mix: Iterable[Prompt],
    heldout: Iterable[Prompt] | None,
    count_tokens: Callable[[Messages], int],
    config: RoundConfig,
    unsafe: Unsafe = by_rule,
    flat_in: Callable[[Prompt], int] = lambda prompt: 0,
    first: Collection[str] = (),
) -> Curation:
    """Choose prompts. `heldout`: prompts for the gate alone; None: the held-out share of the mix is used.

    `flat_in`: as in `Sieve`. `first`: ids of recorded prompts that are taken before others where not all have room.
    Raises ValueError when not enough are left to train or to judge on.
    """
    gate, asked, mixed = list(heldout or []), list(recorded), list(mix)
    gate_is_set = heldout is not None
    apart = () if gate_is_set else (one for one in mixed if is_heldout(one.messages, config.heldout_share))
    sieve = Sieve(config, count_tokens, gate, asked, unsafe, flat_in, apart)
    wanted = config.steps * config.prompts_per_step
    shuffled = random.Random(f"mix {config.seed}")
    out = Curation()
    for prompt in asked:
        out.verdicts.append(sieve.judge(prompt))
    showable = min(SHOWABLE, config.gate_prompts // SHOWABLE_SHARE)
    over = _take(out, wanted - round(config.mix_share * wanted), config.gate_prompts - showable, first)
    shuffled.shuffle(mixed)
    spare = SPARES * config.prompts_per_step
    for prompt in mixed:
        gate_is_full = gate_is_set or len(out.heldout) >= config.gate_prompts
        if gate_is_full and len(out.train) >= wanted and len(out.spares) >= spare:
            break
        verdict = sieve.judge(prompt)
        if verdict.kept and verdict.split == "train" and len(out.train) >= wanted:
            if len(out.spares) < spare:
                out.spares.append(verdict.prompt)
        elif verdict.kept and verdict.split == "heldout" and gate_is_full:
            continue
        else:
            out.verdicts.append(verdict)
            if verdict.kept:
                (out.train if verdict.split == "train" else out.heldout).append(verdict.prompt)
    if config.looks_out:
        _spare(out, spare, config)
    shuffled.shuffle(gate)
    for prompt in gate:
        if len(out.heldout) >= config.gate_prompts:
            break
        why = sieve.cannot_ask(prompt)
        out.verdicts.append(Verdict(prompt, "heldout", why is None, why or "set aside for the gate"))
        if why is None:
            out.heldout.append(prompt)
    for place, verdict in over[: config.gate_prompts - len(out.heldout)]:  # the mix has less than was left to it
        out.heldout.append(verdict.prompt)
        out.verdicts[place] = verdict
    random.Random(f"order {config.seed}").shuffle(out.train)
    _require(out, config)
    return out


def _take(out: Curation, wanted: int, gate_prompts: int, first: Collection[str]) -> list[tuple[int, Verdict]]:
    """Fill train and held-out from the recorded prompts judged so far; what is over is left, with that reason.

    Returns those held out that are over, with their places among the verdicts, in order.
    """
    over = []
    for place in sorted(range(len(out.verdicts)), key=lambda place: out.verdicts[place].prompt.message_id not in first):
        verdict = out.verdicts[place]
        if not verdict.kept:
            continue
        chosen, room = (out.heldout, gate_prompts) if verdict.split == "heldout" else (out.train, wanted)
        if len(chosen) < room:
            chosen.append(verdict.prompt)
        else:
            why = f"the round is full ({room} prompts)" if room else "the base mix has the whole round (mix_share = 1)"
            out.verdicts[place] = Verdict(verdict.prompt, verdict.split, False, why)
            over += [(place, verdict)] if verdict.split == "heldout" else []
    return over


def _spare(out: Curation, wanted: int, config: RoundConfig) -> None:
    """Have some of the mix's stand in that the round would train on, where the mix has too few beside them.

    A round that goes through all of it more than once would else train too far unseen.
    """
    of_mix = sum(prompt.source == "mix" for prompt in out.train)
    count = min(wanted - len(out.spares), of_mix // SPARED_SHARE, len(out.train) - config.prompts_per_step)
    if count <= 0 or len(out.spares) + count < LEAST_SPARES:
        return
    spared = out.train[-count:]  # the mix's come last
    del out.train[-count:]
    ids = {id(prompt) for prompt in spared}
    out.verdicts = [verdict for verdict in out.verdicts if id(verdict.prompt) not in ids]
    out.spares += spared


def _require(out: Curation, config: RoundConfig) -> None:
    if len(out.train) < config.prompts_per_step:
        reasons = Counter(verdict.why for verdict in out.verdicts if not verdict.kept)
        raise ValueError(
            f"{len(out.train)} prompts are left to train on and a step needs {config.prompts_per_step}; "
            f"left out: {dict(reasons)}. Set a larger base_mix or fewer prompts_per_step"
        )
    if len(out.heldout) < 4:
        reasons = Counter(verdict.why for verdict in out.verdicts if not verdict.kept and verdict.split == "heldout")
        share = "" if config.heldout_share else " or a heldout_share above 0"
        raise ValueError(
            f"{len(out.heldout)} prompts are held out and the gate needs at least 4; left out: {dict(reasons)}. Set "
            f"`heldout` to a file of more, or a larger mix{share}"
        )
    if not out.spares and all(prompt.source != "mix" for prompt in out.train):
        reasons = Counter(verdict.why for verdict in out.verdicts if verdict.prompt.source == "mix")
        raise ValueError(
            "the base mix has no prompt for this round, and a checkpoint is probed by answers to prompts that no user "
            f"wrote; of the mix were: {dict(reasons)}. Set a base_mix with prompts of its own"
        )
