"""A month in the small world: simulated people chat through the real gateway, and a round a week learns from them.

For each seed a house of its own. Tastes drift from week to week. Each day people hold their conversations with what is
live, under their own keys and with consent to training; then the day's prompts are answered once more by the live and
by the frozen first model, with the same seeds, and the gold judge scores both: before any round has seen them. People
also compare two answers, and the reward model is refreshed on what they preferred (`--refresh-after`). At a week's end
a round runs through the gate, in a trainer of its own, and the reward model's orderings of what is served then are held
against gold. What is done is in a diary: run it again to go on. Writes `month.png` and `month.json`; JSON is the last
line.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from bench.learning.days import DAYS, Diary, curve, prompts_in, talks_of, week_of_days
from bench.learning.people import agreements, compare, openings, write_kept_pairs
from bench.learning.plots import plot
from bench.rounds import FIRST, SMOKE_ROUND, Bench, Wanted, figures, run_round
from bench.stack import Stack, running
from cli.profiles import TINY
from models.world.users import Talk, users

SMOKE = {"seeds": [1], "weeks": 2, "people": 2, "conversations": 2, "samples": 1, "prompts": 6, "refresh_after": 3}
MOST_TOKENS = 700  # of a prompt, so that an answer fits the engine's context of 1,024
ANSWER_TOKENS = 256
AT_ONCE = 8  # people who talk at the same time
COMPARE_AT_ONCE = 24  # comparisons


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, or go on with, the months that were asked for, and print the figures."""
    options = _options(arguments)
    given = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in options.set)}
    config = (SMOKE_ROUND if options.smoke else {}) | given
    sizes = {
        name: getattr(options, name)
        for name in ("people", "conversations", "samples", "prompts", "comparisons", "refresh_after", "refresh_rate")
    }
    months: list[Diary] = []
    for seed in options.seeds:
        home = options.out.absolute() / f"seed-{seed}"
        diary = Diary(home / "diary.jsonl", {"seed": seed, "round_settings": config, **sizes})
        if not diary.has("reward", options.weeks - 1):
            with running(home / "home") as stack:
                Month(stack, diary, seed, options).run(config, partial(told, months or [diary], options, config))
        months.append(diary)
        found = told(months, options, config)
    print(json.dumps(found))
    return 0


def told(months: Sequence[Diary], options: argparse.Namespace, config: dict[str, Any]) -> dict[str, Any]:
    """The figures of months, written down beside their picture: also of one that has not ended."""
    found = {
        "bench": "learning.month",
        "seeds": [month.entries[0]["seed"] for month in months],
        "settings": config,
        "weeks": [week_of_days(months, week) for week in range(options.weeks)],
        "rounds": [month.rounds() for month in months],
        "reward_agreement": [month.all(what="reward") for month in months],
        "days": curve(months),
        "picture": str(plot(months, options.out / "month.png")),
    }
    (options.out / "month.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


class Month:
    """One seed's month on one running stack."""

    def __init__(self, stack: Stack, diary: Diary, seed: int, options: argparse.Namespace) -> None:
        self._stack, self._diary, self._seed, self._options = stack, diary, seed, options
        self._http = httpx.Client(base_url=stack.gateway, timeout=900.0)
        self._keys = self._people()

    def run(self, config: dict[str, Any], after_week: Callable[[], object]) -> None:
        """Every day and every round that is not in the diary yet, in order.

        `after_week` writes figures, so that a month that is cut off leaves some.
        """
        for week in range(self._options.weeks):
            for day in range(DAYS):
                if not self._diary.has("day", week, day):
                    self._day(week, day)
            if not self._diary.has("round", week) and week < self._options.weeks - 1:
                self._round(week, config)  # what a last one made, nobody would be asked about
            if not self._diary.has("reward", week):
                self._agreement(week)
                after_week()

    def _day(self, week: int, day: int) -> None:
        options = self._options
        talks = talks_of(options.people, week, day, self._seed, options.conversations)
        with ThreadPoolExecutor(AT_ONCE) as crowd:
            asked = [prompt for said in crowd.map(self._hold, talks) for prompt in prompts_in(said)]
        times = [(talk, time) for talk in talks for time in range(options.comparisons if options.refresh_after else 0)]
        with ThreadPoolExecutor(COMPARE_AT_ONCE) as crowd:
            chosen = list(crowd.map(lambda one: self._compare(*one), times))
        live = self._status()["live"]["name"]
        bench = Bench(self._stack, TINY, asked, options.samples, MOST_TOKENS, options.prompts)
        if not bench.prompts:
            return  # nobody said anything that day
        frozen = bench.gold(FIRST)
        served = frozen if live == "v0" else bench.gold(f"ruminate-{live}")
        found = {"live": live, "talks": len(talks), "chosen": sum(one is not None for one in chosen)}
        self._diary.write("day", week, day, **found, served=_rounded(served), frozen=_rounded(frozen))
        golds = f"{live} {served.mean():.3f}, frozen {frozen.mean():.3f}"
        print(f"seed {self._seed} week {week} day {day}: {golds}", flush=True)

    def _hold(self, talk: Talk) -> list[dict[str, str]]:
        """Hold a conversation as an ordinary client does, with seeds of the talk's own: doing it again is the same."""
        headers = {"Authorization": f"Bearer {self._keys[talk.user]}"}

        def answer(said: list[dict[str, str]]) -> str:
            body = {"model": "ruminate", "messages": said, "max_tokens": ANSWER_TOKENS, "temperature": 0.7}
            reply = self._http.post(
                "/v1/chat/completions", json=body | {"seed": talk.seed % 2**31 + len(said)}, headers=headers
            )
            if reply.is_error:
                raise RuntimeError(f"{talk.user} got {reply.status_code}: {reply.text[:300]}")
            return str(reply.json()["choices"][0]["message"]["content"] or "")

        return talk.messages(answer)

    def _compare(self, talk: Talk, time: int) -> str | None:
        """What its user chose of two answers to a talk's opening."""
        return compare(self._http, self._keys[talk.user], talk, ANSWER_TOKENS, time)

    def _round(self, week: int, config: dict[str, Any]) -> None:
        seed = 1000 * self._seed + week
        environment = {}
        if self._options.refresh_after:
            kept = write_kept_pairs(self._stack.home / "kept-pairs.jsonl", self._seed)
            environment = {name: str(getattr(self._options, name)) for name in ("refresh_after", "refresh_rate")}
            environment["refresh_pairs"] = str(kept)
        reason = f"the end of week {week}"
        wanted = Wanted(config, seed, reason, by="the month", trigger="schedule", environment=environment)
        ended = run_round(self._stack, TINY, wanted)
        self._diary.write("round", week, round=ended.row.id, **figures(ended.row, ended.series))
        why = (ended.row.verdict or {}).get("words") or ended.row.error
        print(f"seed {self._seed} week {week}: round {ended.row.id} {ended.row.state}: {why}", flush=True)

    def _agreement(self, week: int) -> None:
        """Of what is served now, on the week's openings: how often the reward model orders two answers as gold does."""
        options = self._options
        talks = [
            talk
            for day in range(DAYS)
            for talk in talks_of(options.people, week, day, self._seed, options.conversations)
        ]
        bench = Bench(self._stack, TINY, openings(talks, 2 * options.prompts), options.samples, MOST_TOKENS)
        live = self._status()["live"]["name"]
        found = agreements(self._stack, bench, FIRST if live == "v0" else f"ruminate-{live}")
        self._diary.write("reward", week, live=live, **found)
        print(f"seed {self._seed} week {week}: {live} as ordered by the first reward model {found['first']:.3f}, by "
              f"{found['model']} {found['now']:.3f}", flush=True)  # fmt: skip

    def _people(self) -> dict[str, str]:
        """A key for each of the month's people, made anew; who has one already keeps the old one as well."""
        keys = {}
        for user in users(self._options.people, self._seed):
            name = user.name.replace(" ", ".")
            made = self._admin("/api/admin/users", {"name": name, "consent": "train"}, but=409)
            assert made is None or made["name"] == name
            keys[user.name] = self._admin(f"/api/admin/users/{name}/keys", {"scopes": ["chat", "app"]})["key"]
        return keys

    def _admin(self, path: str, body: dict[str, Any], but: int | None = None) -> Any:
        reply = self._http.post(path, json=body, headers=self._stack.service)
        if reply.status_code == but:
            return None
        if reply.is_error:
            raise RuntimeError(f"POST {path}: {reply.status_code} {reply.text[:300]}")
        return reply.json()

    def _status(self) -> Any:
        return self._http.get("/api/status", headers=self._stack.service).raise_for_status().json()


def _rounded(scores: Any) -> list[float]:
    return [round(float(score), 4) for score in scores]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.learning month", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--weeks", type=int, default=5, help="with a round between each two")
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--conversations", type=int, default=4, help="of a person in a week, in the mean")
    parser.add_argument("--samples", type=int, default=4, help="answers of each model to each prompt, for gold")
    parser.add_argument("--prompts", type=int, default=32, help="of a day that gold is measured on, at most")
    parser.add_argument("--comparisons", type=int, default=1, help="of two answers to a talk's opening, in each talk")
    parser.add_argument(
        "--refresh-after", type=int, default=30, help="new preferences that refresh the reward model; 0: none are asked"
    )
    rate = "of a refresh; by default that at which the embedded model was made: the trainer's suits larger ones"
    parser.add_argument("--refresh-rate", type=float, default=2e-4, help=rate)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of every round")
    parser.add_argument("--smoke", action="store_true", help="minutes instead of hours: shows that it runs, no more")
    parser.add_argument("--out", type=Path, default=Path("bench/out/month"))
    if parser.parse_args(arguments).smoke:
        parser.set_defaults(**SMOKE, out=Path("bench/out/month-smoke"))
    return parser.parse_args(arguments)
