"""What the month's people prefer, and how well the reward model orders what they are served. Gold stands in for taste.

A person who is shown two answers likes the one with more gold better, the more surely the further they are apart: they
choose it with the probability of a logistic function of the difference (Bradley-Terry).
"""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from bench.rounds import Bench, database_of
from bench.stack import KEY, Stack
from cli.profiles import TINY
from models.world.users import Talk

SURENESS = 12.0  # of a choice: a difference of 0.2 in gold is seen 11 times in 12
KEPT_PAIRS = 1500  # of the world, which a refresh keeps in mind
GROUP = 6  # answers to a prompt, of which each two are ordered
LEAST = 0.02  # gold of two answers differs by this at least, else neither is better
APART = 0.1  # gold of two answers that people tell apart: they choose the better one 3 times in 4


def chooses_left(left: float, right: float, dice: random.Random) -> bool:
    """Whether somebody prefers the left of two answers with these golds."""
    return dice.random() < 1 / (1 + math.exp(-SURENESS * (left - right)))


def compare(http: httpx.Client, key: str, talk: Talk, answer_tokens: int, time: int = 0) -> str | None:
    """Ask a talk's opening twice in one conversation and say which answer is better, as the page's comparison does.

    Returns the choice; None where both answers are the same, which nobody chooses between. The same talk, `time` and
    checkpoint give the same answers and the same choice again; another time is another comparison of that opening.
    """
    from models.gold import score

    headers = {"Authorization": f"Bearer {key}"}
    said, name = [{"role": "user", "content": talk.opening}], f"compared-{talk.seed}" + (f"-{time}" if time else "")
    texts, ids = [], []
    for number in (1, 2):
        body = {"model": "ruminate", "messages": said, "max_tokens": answer_tokens, "temperature": 0.9}
        place = {"conversation_id": name, "origin": "chat"}
        body |= {"seed": talk.seed % 2**31 + 100 + 10 * time + number, "ruminate": place}
        reply = http.post("/v1/chat/completions", json=body, headers=headers)
        reply.raise_for_status()
        texts.append(str(reply.json()["choices"][0]["message"]["content"] or ""))
        ids.append(reply.headers["x-ruminate-generation"])
    if texts[0] == texts[1] or not all(texts):
        return None
    left, right = (score(said, text).score for text in texts)
    choice = "left" if chooses_left(left, right, random.Random(talk.seed + time)) else "right"
    wish = {"left": ids[0], "right": ids[1], "choice": choice, "shown": {"blind": True}}
    http.post("/api/comparisons", json=wish, headers=headers).raise_for_status()
    return choice


def write_kept_pairs(path: Path, seed: int) -> Path:
    """Pairs of the world's own writing, as the embedded reward model was made from, for a refresh to keep in mind."""
    from models.pairs import world_pairs

    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        pairs = world_pairs(KEPT_PAIRS, 800_000 + seed, set())
        rows = [{"messages": list(p.messages), "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def agreements(stack: Stack, bench: Bench, served: str) -> dict[str, Any]:
    """How often two answers of `served` to one prompt are ordered as gold orders them, over the bench's prompts.

    By the reward model that the next round would use (`now`) and by the one that the month began with (`first`);
    `..._apart`: of the answers that people tell apart alone.
    """
    from models.gold import score
    from models.measure import agreement
    from trainer.policy import local_folder
    from trainer.refresh import current, title
    from trainer.rewards import SequenceClassifier
    from trainer.settings import read_settings

    groups = bench.responses(served, GROUP)
    truth = [
        [score(messages, text).score for text in group] for messages, group in zip(bench.prompts, groups, strict=True)
    ]
    settings = read_settings(home=stack.home, service_key=KEY, reward_model=TINY.reward_model)
    database = database_of(stack)
    try:
        newest = current(settings, database)
    finally:
        database.close()
    flat = [(messages, text) for messages, group in zip(bench.prompts, groups, strict=True) for text in group]
    found: dict[str, Any] = {"model": title(newest)}
    for name, model in (("first", TINY.reward_model), ("now", newest)):
        scores = SequenceClassifier(local_folder(model)).score(flat)
        parts = [scores[start : start + GROUP] for start in range(0, len(scores), GROUP)]
        found[name] = round(agreement(parts, truth, LEAST), 4)
        found[f"{name}_apart"] = round(agreement(parts, truth, APART), 4)
    return found


def openings(talks: Sequence[Talk], most: int) -> list[list[dict[str, Any]]]:
    """The first messages of so many talks at most, each once."""
    texts = list(dict.fromkeys(talk.opening for talk in talks))
    return [[{"role": "user", "content": text}] for text in texts[:most]]
