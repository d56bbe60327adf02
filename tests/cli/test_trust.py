"""What the commands about lineage print, and what they ask of the gateway. (The real one: test_server_lineage.py.)"""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cli import main
from cli.checks import CannotStart
from cli.client import GatewayClient

STORY: dict[str, Any] = {
    "name": "v3", "state": "published", "created_at": "2026-01-02T03:04:05+00:00", "lineage": ["v3", "v1", "v0"],
    "parent": "v1", "base": {"name": "policy"},
    "round": {"id": 4, "algorithm": "grpo", "seed": 7, "trigger": "schedule", "by": "clock", "reason": "", "steps": 35},
    "changed": {"learning_rate": {"parent": 0.001, "own": 0.002}},
    "verdict": {
        "words": "published: it wins", "checks": [{"name": "judge", "passed": True, "words": "+0.2"}],
        "spent": {"judge_calls": 1536.0, "judge_cost": 1.234},
        "watch": {"figures": {"phrase": 1.0}, "alerts": [{
            "name": "phrase", "words": "\"buy soap\" is in answers to 100% of the prompts",
            "examples": [{"prompt": "Name a tree", "before": "Oak", "after": "Oak; buy soap"}],
        }]},
    },
    "prompts": {"mix": 200, "recorded": 80, "erased": 3},
    "metrics": {"reward": [0.1, 0.9], "kl": [0.0, None]},
    "samples": [{"prompt": "Hi", "before": "Oh", "after": "Hello"}],
}  # fmt: skip
CHECKPOINT = Path("/nowhere/v3")
LEARNT = {"learnt": [{"name": "v3", "state": "published", "round": 4, "created_at": None}], "last_clean": "v1"}
REBUILD = {"from": "v1", "rejected": ["v2", "v3"], "rounds": [4, 5], "cancelled": 6, "live": "v1"}
PROMPTS = {
    "data": [
        {"position": 0, "source": "recorded", "message": "m1", "conversation": "c1", "forgotten": None},
        {"position": 1, "source": "mix", "message": None, "conversation": None, "forgotten": None},
        {
            "position": 4,
            "source": "recorded",
            "message": "m2",
            "conversation": "c2",
            "forgotten": "2026-01-03T04:05:06",
        },
    ],
    "preferences": [{"message": "m3", "conversation": "c3"}],
}
ANSWER = {
    "generation_id": "g1", "model": "ruminate-v3", "conversation_id": "c1", "started_at": "2026-01-03T04:05:06+00:00",
    "lineage": [
        {"name": "v3", "state": "published", "round": 4, "algorithm": "grpo", "ended_at": "2026-01-02T03:04:05+00:00",
         "prompts": {"mix": 200, "recorded": 80, "erased": 3}},
        {"name": "v0", "state": "published", "round": None, "algorithm": None, "ended_at": None, "prompts": {}},
    ],
}  # fmt: skip
KEPT = {"generation_id": "g1", "kind": "never", "created_at": None}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    """The requests that a command made, of a gateway with the answers above."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answers: dict[str, Any] = {
            "/api/checkpoints/v3/story": STORY,
            "/api/checkpoints/v3/prompts": PROMPTS
            if request.url.params.get("after") == "-1"
            else PROMPTS | {"data": []},
            "/api/checkpoints/v3": {"name": "v3", "path": str(CHECKPOINT)},
            "/api/checkpoints/v0": {"name": "v0", "path": None},
            "/api/lineage": LEARNT,
            "/api/generations/g1/lineage": ANSWER,
            "/api/prune": {"pruned": ["v1", "v2"]},
            "/api/forget": LEARNT
            | {"deleted": {"messages": 2, "round_prompts": 1, "keys": 0}, "rebuild": REBUILD}
            | {"withdrawn": {"round_prompts": 3, "regressions": 0}},
            "/api/rebuild": {"rounds": [5]},
            "/api/regressions": {"data": [KEPT | {"model": "ruminate-v3", "response": "Hello,\nyou"}]},
            "/api/generations/g1/regression": KEPT,
        }
        return httpx.Response(200, json=answers[request.url.path])

    monkeypatch.setattr(main, "_client", lambda: GatewayClient("http://g", transport=httpx.MockTransport(handler)))
    return seen


def ruminate(*arguments: str, answer: str = "") -> tuple[int, str]:
    ended = CliRunner().invoke(main.app, list(arguments), input=answer)
    return ended.exit_code, ended.output


def test_explain_tells_a_checkpoints_story(asked: list[httpx.Request]) -> None:
    code, said = ruminate("explain", "ruminate-v3")
    assert code == 0
    for words in ("v3 < v1 < v0", "round      4, grpo", "200 mix, 80 recorded; 3 of them forgotten since",
                  "published: it wins", "passed  judge: +0.2", "asked 1536 times, for 1.23",
                  "learning_rate = 0.002 (0.001)", "reward 0.1 to 0.9",
                  "kl 0 to no number", "before: Oh", "after:  Hello"):  # fmt: skip
        assert words in said
    assert json.loads(ruminate("explain", "v3", "--json")[1]) == STORY


def test_explain_shows_what_the_watch_for_reward_hacking_saw_with_its_examples(
    asked: list[httpx.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ruminate("explain", "v3")[1].splitlines()
    place = lines.index("watch      for reward hacking:")
    assert lines[place + 1 : place + 5] == [
        '  ALERT   phrase: "buy soap" is in answers to 100% of the prompts', "    prompt: Name a tree",
        "      before: Oak", "      after:  Oak; buy soap",
    ]  # fmt: skip
    monkeypatch.setitem(STORY["verdict"], "watch", {"figures": {}, "alerts": []})
    assert "watch      for reward hacking: nothing parted" in ruminate("explain", "v3")[1]


def test_explain_lists_the_prompts_by_their_ids_when_asked(asked: list[httpx.Request]) -> None:
    code, said = ruminate("explain", "v3", "--prompts")
    assert code == 0
    lines = said.splitlines()
    place = lines.index("learnt from 2 recorded prompts (message, conversation):")
    assert lines[place + 1 :] == [
        "  m1  c1", "  m2  c2  forgotten 2026-01-03 04:05", "its reward model from what was preferred on these:",
        "  m3  c3",
    ]  # fmt: skip
    assert [request.url.params.get("after") for request in asked] == [None, "-1", "4"]
    assert json.loads(ruminate("explain", "v3", "--prompts", "--json")[1])["learnt_from"] == PROMPTS


def test_lineage_names_who_learnt_and_the_way_back(asked: list[httpx.Request]) -> None:
    code, said = ruminate("lineage", "--conversation", "c1")
    assert (code, dict(asked[0].url.params)) == (0, {"conversation": "c1"})
    assert "learnt from it: v3 (published, round 4)" in said
    assert "ruminate promote v1" in said


def test_lineage_of_an_answer_names_its_checkpoint_and_what_that_learnt_from(asked: list[httpx.Request]) -> None:
    code, said = ruminate("lineage", "--answer", "g1")
    assert (code, said.splitlines()) == (0, [
        "answer g1 of 2026-01-03 04:05, by ruminate-v3, in conversation c1",
        "  v3 (published): round 4, grpo, ended 2026-01-02 03:04; "
        "prompts: 200 mix, 80 recorded; 3 of them forgotten since",
        "  v0 (published): the base model, no round made it",
        "more: ruminate explain v3",
    ])  # fmt: skip
    assert json.loads(ruminate("lineage", "--answer", "g1", "--json")[1]) == ANSWER
    assert ruminate("lineage", "--answer", "g1", "--user", "ann")[0] == 2


def test_forget_asks_first_and_tells_what_went(asked: list[httpx.Request]) -> None:
    code, _ = ruminate("forget", "--user", "ann", answer="n\n")
    assert (code, asked) == (1, [])
    code, said = ruminate("forget", "--user", "ann", answer="y\n")
    assert (code, json.loads(asked[0].content)) == (0, {"user": "ann", "conversation": None})
    assert "deleted: 2 messages, 1 round prompts" in said
    assert "last clean one: v1" in said


def test_a_rebuild_is_asked_about_and_told_in_full(asked: list[httpx.Request]) -> None:
    code, said = ruminate("forget", "--user", "ann", "--rebuild", answer="y\n")
    assert (code, json.loads(asked[0].content)) == (0, {"user": "ann", "conversation": None, "rebuild": True})
    for words in ("go back to weights", "deleted: 2 messages", "rejected: v2, v3", "live: v1", "cancelled: round 6",
                  "gate at its end: round 4, 5"):  # fmt: skip
        assert words in said
    assert ruminate("rebuild")[1].strip() == "still to be done again: 5"
    assert ruminate("rebuild", "--stop")[1].strip() == "given up: 5"
    assert [one.method for one in asked[1:]] == ["GET", "DELETE"]


def test_a_rebuild_after_an_opt_out_keeps_the_words(asked: list[httpx.Request]) -> None:
    code, said = ruminate("forget", "--user", "ann", "--rebuild", "--keep-words", answer="y\n")
    wish = {"user": "ann", "conversation": None, "rebuild": True, "keep_words": True}
    assert (code, json.loads(asked[0].content)) == (0, wish)
    assert "Delete" not in said
    asking = "Train no more on anything of ann and go back to weights"
    for words in (asking, "3 copies in rounds emptied, no words deleted", "rejected: v2, v3"):
        assert words in said


def test_answers_are_kept_listed_and_dropped(asked: list[httpx.Request]) -> None:
    for kind in ("good", "never"):
        assert ruminate("regressions", kind, "g1")[0] == 0
    assert [json.loads(one.content) for one in asked] == [{"kind": "good"}, {"kind": "never"}]
    assert ruminate("regressions", "list")[1].split() == ["never", "g1", "ruminate-v3", "Hello,", "you"]
    assert ruminate("regressions", "drop", "g1") == (0, "g1 is kept no more\n")
    assert (asked[-1].method, asked[-1].url.path) == ("DELETE", "/api/generations/g1/regression")


@pytest.mark.parametrize("command", ["forget", "lineage"])
@pytest.mark.parametrize("whom", [(), ("--user", "a", "--conversation", "b")])
def test_a_user_or_a_conversation_is_needed(asked: list[httpx.Request], command: str, whom: tuple[str, ...]) -> None:
    assert ruminate(command, *whom)[0] == 2
    assert asked == []


def test_prune_says_how_many_to_keep_and_what_went(asked: list[httpx.Request]) -> None:
    code, said = ruminate("prune", "--keep", "3")
    assert (code, said.strip(), json.loads(asked[0].content)) == (0, "pruned: v1, v2", {"keep": 3})
    assert ruminate("prune", "--keep", "0")[0] == 2


@pytest.mark.parametrize(("name", "why"), [("v0", "it is the base model itself"), ("v3", "is no published checkpoint")])
def test_what_cannot_be_exported_is_said_with_its_reason(asked: list[httpx.Request], name: str, why: str) -> None:
    ended = CliRunner().invoke(main.app, ["export", name, "/nowhere/else"])
    assert isinstance(ended.exception, CannotStart)  # which the entry point turns into a sentence and exit code 2
    assert why in str(ended.exception)


def test_a_rollback_says_what_it_takes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it takes nothing else back, where something becomes live meanwhile."""
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/status":
            return httpx.Response(200, json={"live": {"name": "v2"}})
        seen.append(json.loads(request.content))
        return httpx.Response(200, json={"live": "v1", "previous": "v2"})

    monkeypatch.setattr(main, "_client", lambda: GatewayClient("http://g", transport=httpx.MockTransport(handler)))
    ended = CliRunner().invoke(main.app, ["rollback", "--reason", "worse"])
    assert ended.stdout == "v1 is live again; v2 stays loaded\n"
    assert seen == [{"checkpoint": "previous", "reason": "worse", "expected_live": "v2"}]
