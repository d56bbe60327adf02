"""The month's arithmetic and its diary; the month itself needs an engine and hours."""

import json
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from bench.learning.__main__ import main
from bench.learning.days import DAYS, Diary, curve, pooled, prompts_in, talks_of, week_of_days
from bench.learning.month import SMOKE, Month, _options, told
from bench.learning.plots import agreement, ends, plot
from models.world.users import Talk, users, week_of
from server.auth import Identity


def a_month(path: Path, seed: int, gain: float, days: int = DAYS) -> Diary:
    """The first days of a month in which the served model is better by `gain`."""
    dice, diary = np.random.default_rng(seed), Diary(path / f"{seed}.jsonl", {"seed": seed})
    for day in range(days):
        frozen = dice.uniform(0.4, 0.8, 12)
        served = frozen + gain + dice.normal(0, 0.02, 12)
        diary.write("day", 0, day, live="v1", served=served.tolist(), frozen=frozen.tolist())
    return diary


def test_every_talk_of_a_week_is_held_on_one_of_its_days() -> None:
    dealt = [talk for day in range(DAYS) for talk in talks_of(4, 2, day, 5, 4)]
    whole = [talk for user in users(4, 5) for talk in week_of(user, 2, 5, 4)]
    assert sorted(dealt, key=repr) == sorted(whole, key=repr)
    assert dealt != [talk for day in range(DAYS) for talk in talks_of(4, 3, day, 5, 4)]  # tastes drift
    assert talks_of(4, 2, 1, 5, 4) == talks_of(4, 2, 1, 5, 4)


def test_a_conversation_holds_a_prompt_for_each_message_of_its_user() -> None:
    said = [{"role": role, "content": str(place)} for place, role in enumerate(("user", "assistant") * 2)]
    assert list(prompts_in(said)) == [said[:1], said[:3]]


def test_a_month_that_was_cut_off_goes_on_from_its_diary(tmp_path: Path) -> None:
    path = tmp_path / "seed-1" / "diary.jsonl"
    Diary(path, {"people": 3}).write("day", 0, 0, served=[0.5], frozen=[0.4])
    again = Diary(path, {"people": 3})
    assert again.has("day", 0, 0)
    assert not again.has("day", 0, 1)
    assert not again.has("round", 0)
    again.write("round", 0, round=1, state="published")
    assert Diary(path, {"people": 3}).rounds() == [{"what": "round", "week": 0, "round": 1, "state": "published"}]
    assert [day["served"] for day in Diary(path, {"people": 3}).days()] == [[0.5]]


def test_a_diary_of_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    Diary(tmp_path / "diary.jsonl", {"people": 3}).write("day", 0, 0, served=[0.5], frozen=[0.4])
    with pytest.raises(ValueError, match=r"was begun with .*'people': 3.*choose another --out"):
        Diary(tmp_path / "diary.jsonl", {"people": 4})


def test_seeds_count_alike_and_the_interval_holds_the_truth(tmp_path: Path) -> None:
    months = [a_month(tmp_path, seed, 0.05) for seed in (1, 2, 3)]
    found = week_of_days(months, 0)
    assert found is not None
    assert found["difference"] == pytest.approx(0.05, abs=0.005)
    assert found["low"] < 0.05 < found["high"]
    assert found["low"] > 0
    assert week_of_days(months, 1) is None
    uneven = pooled([{"served": [1.0] * 9, "frozen": [0.0] * 9}, {"served": [0.0], "frozen": [0.0]}])
    assert uneven["difference"] == 0.5
    assert (uneven["low"], uneven["high"]) == (0.0, 1.0)  # the two seeds say the opposite, and so does the interval


def test_the_curve_has_the_days_that_every_seed_has(tmp_path: Path) -> None:
    months = [a_month(tmp_path, 1, 0.05), a_month(tmp_path, 2, 0.05, days=3)]
    assert [(point["week"], point["day"]) for point in curve(months)] == [(0, 0), (0, 1), (0, 2)]


def test_the_picture_is_written_with_each_round_between_two_days(tmp_path: Path) -> None:
    months = [a_month(tmp_path, 1, 0.05)]
    months[0].write("round", 0, round=1, state="published")
    months[0].write("reward", 0, live="v1", model="refresh 0001", first=0.6, now=0.8)
    assert ends(months) == [(7.5, "published")]
    assert agreement(months, "now") == [(7.5, 0.8)]
    assert agreement([*months, *months], "first") == [(7.5, 0.6)]
    assert plot(months, tmp_path / "out" / "month.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_smoke_configuration_is_small_and_what_is_said_stands_over_it() -> None:
    assert {name: getattr(_options(["--smoke"]), name) for name in SMOKE} == SMOKE
    said = _options(["--smoke", "--weeks", "3"])
    assert (said.weeks, said.people, said.out) == (3, 2, Path("bench/out/month-smoke"))
    assert _options([]).seeds == [1, 2, 3]


def test_a_talk_is_held_by_its_user_alone_and_the_same_way_again() -> None:
    asked: list[tuple[str, dict[str, object]]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append((request.headers["Authorization"], json.loads(request.content)))
        return httpx.Response(200, json={"choices": [{"message": {"content": "Here is a plan."}}]})

    month = object.__new__(Month)
    month._http = httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(handler))
    month._keys = {"Ada Abel": "key-of-ada"}
    talk = next(one for one in week_of(users(1, 1)[0], 0, 1) if one.turns >= 1)
    talk = Talk("Ada Abel", talk.week, talk.kind, talk.opening, 2, talk.seed)
    first, again = month._hold(talk), month._hold(talk)
    assert first == again
    assert {key for key, _ in asked} == {"Bearer key-of-ada"}
    assert asked[0][1]["messages"] == [{"role": "user", "content": talk.opening}]
    half = len(asked) // 2
    assert [body["seed"] for _, body in asked[:half]] == [body["seed"] for _, body in asked[half:]]


def test_a_month_s_people_have_keys_for_chats_and_for_comparisons() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        wish = json.loads(request.content)
        if request.url.path == "/api/admin/users":
            return httpx.Response(201, json={"name": wish["name"]})
        return httpx.Response(201, json={"key": " ".join(wish["scopes"])})

    month = object.__new__(Month)
    month._http = httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(handler))
    month._stack = SimpleNamespace(service={})  # type: ignore[assignment]
    month._seed, month._options = 1, SimpleNamespace(people=2)  # type: ignore[assignment]
    keys = month._people()
    assert len(keys) == 2
    for scopes in keys.values():
        key = Identity("1", "ada", "user", "train", "2", tuple(scopes.split()))
        key.require("chat")  # /v1
        key.require("app")  # /api/comparisons


def test_a_month_that_is_cut_off_leaves_the_figures_of_its_weeks(tmp_path: Path) -> None:
    options = _options(["--out", str(tmp_path / "out"), "--weeks", "2"])
    diary = a_month(tmp_path, 1, 0.05)
    diary.write("reward", 0, live="v1", model="reward", first=0.6, now=0.6)
    found = told([diary], options, {})
    assert found["weeks"][0]["difference"] == pytest.approx(0.05, abs=0.01)
    assert found["weeks"][1] is None
    assert json.loads((tmp_path / "out" / "month.json").read_text()) == found
    assert Path(found["picture"]).is_file()


def test_a_round_whose_lease_has_not_run_out_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from db.queries import checkpoints, rounds
    from db.session import Database

    database = Database(f"sqlite:///{tmp_path / 'ruminate.db'}")
    database.migrate()
    with database.transaction() as session:
        checkpoints.ensure_base(session, "tiny", {})
    calls: list[int] = []

    def train(stack: object, profile: object, more: object) -> int:
        """As `python -m trainer --once`: twice it finds the round in the hands of a trainer that died."""
        calls.append(1)
        if len(calls) == 3:
            with database.transaction() as session:
                row = rounds.claim_round(session, "trainer", 60.0)
                assert row is not None
                rounds.finish_round(session, row.id, "trainer", "failed", error="for the test")
        return 1

    monkeypatch.setattr("bench.rounds.train_once", train)
    monkeypatch.setattr("bench.rounds.WAIT_SECONDS", 0.0)
    month = object.__new__(Month)
    month._stack, month._seed = SimpleNamespace(home=tmp_path), 1  # type: ignore[assignment]
    month._options = SimpleNamespace(refresh_after=0)  # type: ignore[assignment]
    month._diary = Diary(tmp_path / "diary.jsonl", {})
    month._round(0, {"steps": 2})
    assert len(calls) == 3
    assert [one["state"] for one in month._diary.rounds()] == ["failed"]
    database.close()


def test_an_experiment_that_there_is_none_of_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["learning", "year"])
    assert main() == 2
    assert (
        "experiment 'year': there is none of this name; known are month, thinking, algorithms, zero, overfit"
        in capsys.readouterr().err
    )
