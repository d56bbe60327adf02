"""What curation makes of a file of prompts, and how long it takes: `python -m bench.curation --prompts FILE`.

All of the file goes through the rules, as a base mix of one huge round would: the funnel, seconds, and the memory of
this process at each tenth of the way. `--show N` prints N verdicts drawn by a seed, with the prompt's beginning, for
a person to check. JSON is the last line.
"""

import argparse
import json
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli.profiles import TINY

PAGE = resource.getpagesize()
SHOWN = 400  # characters of a prompt


def main(arguments: Sequence[str] | None = None) -> int:
    """Curate, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--prompts", required=True, help="jsonl, parquet or a hub's name, as RUMINATE_TRAINER_BASE_MIX")
    parser.add_argument("--tokenizer", default=TINY.base_model, help="whose tokens lengths are counted in")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the round")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print so many verdicts to check by hand")
    parser.add_argument("--seed", type=int, default=1, help="which of them")
    options = parser.parse_args(arguments)
    given = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in options.set)}
    found, verdicts = curate_all(options.prompts, options.tokenizer, given)
    show(verdicts, options.show, options.seed)
    print(json.dumps({"bench": "curation", "prompts": options.prompts, "settings": given} | found))
    return 0


def curate_all(prompts: str, tokenizer: str, given: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """The figures, and every verdict."""
    from trainer.policy import load_tokenizer, local_folder, prompt_ids
    from trainer.prompts import read_mix
    from trainer.round_config import RoundConfig
    from trainer.sieve import Sieve

    counter = load_tokenizer(local_folder(tokenizer), TINY.template)
    config = RoundConfig(**given)
    began, used = time.perf_counter(), time.process_time()
    mix = list(read_mix(prompts))
    sieve = Sieve(config, lambda messages: len(prompt_ids(counter, messages)))
    verdicts, memory = [], [resident()]
    tenth = max(1, len(mix) // 10)
    for number, prompt in enumerate(mix, 1):
        verdicts.append(sieve.judge(prompt))
        if number % tenth == 0:
            memory.append(resident())
    seconds = time.perf_counter() - began
    ends = Counter((one.split, one.kept, re.sub(r"^\d+ tokens, ", "", one.why)) for one in verdicts)
    funnel = [
        {"split": split, "kept": kept, "why": why, "prompts": count}
        for (split, kept, why), count in sorted(ends.items(), key=lambda one: (-one[1], one[0]))
    ]
    return {
        "count": len(mix),
        "kept": sum(one.kept for one in verdicts),
        "funnel": funnel,
        "seconds": round(seconds, 2),
        "seconds_of_processor": round(time.process_time() - used, 2),
        "mebibytes": memory,
        "mebibytes_peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }, verdicts


def resident() -> int:
    """Memory of this process now, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE // 2**20


def show(verdicts: Sequence[Any], count: int, seed: int) -> None:
    """Print verdicts: two of five kept as they were, the rest of all others but lengths, which need no eye."""
    plain = [place for place, one in enumerate(verdicts) if one.why in ("eligible", "held out for good")]
    other = [place for place, one in enumerate(verdicts) if one.why not in ("eligible", "held out for good")]
    other = [place for place in other if not re.match(r"\d+ tokens, ", verdicts[place].why)]
    dice, part = random.Random(seed), 2 * count // 5
    drawn = dice.sample(plain, min(part, len(plain))) + dice.sample(other, min(count - part, len(other)))
    for place in drawn:
        text = said(verdicts[place])
        print(f"--- {place} {verdicts[place].split}: {verdicts[place].why} ({len(text)} characters)\n{text[:SHOWN]}")
        if "near" in verdicts[place].why:
            print(f"=== {nearest(verdicts, place)[:SHOWN]}")


def nearest(verdicts: Sequence[Any], place: int) -> str:
    """The earlier prompt that shares most of its runs with this one, and how much that is."""
    from trainer.near import runs

    own = set(runs(said(verdicts[place])))
    shared = [
        (len(own & other) / len(own | other), at) for at in range(place) if (other := set(runs(said(verdicts[at]))))
    ]
    most, at = max(shared)
    return f"{most:.2f} of {at}: {said(verdicts[at])}"


def said(verdict: Any) -> str:
    """A prompt's words."""
    return "\n".join(str(message["content"]) for message in verdict.prompt.messages)


if __name__ == "__main__":
    sys.exit(main())
