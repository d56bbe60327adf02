"""Completions are scored when they end, while others are being written, and earn what they would have earned."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.tiny_policy import make_classifier, prompt

from thinking.format import THINK
from trainer.early import Early, EarlyParts, alone
from trainer.ensemble import Ensemble
from trainer.gateway import Gateway, GatewayError, Sample
from trainer.llm_judge import LlmJudge
from trainer.loop import PUBLISHED, REJECTED, claim, work_on
from trainer.policy import eos_ids, load_tokenizer
from trainer.prompts import wording
from trainer.rewards import Reader, SequenceClassifier
from trainer.verify import Check, Regex, Verified

TINY = Path(__file__).parents[2] / "models" / "tiny"


@pytest.fixture(scope="module")
def reader(policy):
    tokenizer = load_tokenizer(policy, "chatml")
    return Reader(tokenizer, THINK, eos_ids(tokenizer, policy))


def written(reader: Reader, response: str, place: int = 0) -> Sample:
    ids = reader.tokenizer(THINK.render("plan", response), add_special_tokens=False)["input_ids"]
    return Sample(place, [*ids, reader.tokenizer.eos_token_id], [-1.0] * (len(ids) + 1), True)


class Counts:
    """Scores by length; `calls` has what it was given at a time, `seen` tells that it was asked."""

    alone = True

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.seen = threading.Event()
        self.figures: dict[str, float] = {}

    def score(self, pairs):
        self.calls.append([response for _, response in pairs])
        self.figures = {"judge_calls": float(len(pairs))}
        self.seen.set()
        return [float(len(response)) for _, response in pairs]


class Slow:
    """The internal API of a gateway that holds back all samples but the first until `go`; `answers` are whole ones."""

    def __init__(self, lines: list[dict], go: threading.Event, cut: bool = False) -> None:
        self.lines, self.go, self.cut, self.asked = lines, go, cut, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802
                self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked += 1
                self.send_response(200)
                self.end_headers()
                for number, line in enumerate(outer.lines):
                    if number == 1:
                        if outer.cut and outer.asked == 1:
                            return
                        assert outer.go.wait(30), "nothing was scored while samples were written"
                    self.wfile.write(json.dumps(line).encode() + b"\n")
                    self.wfile.flush()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def lines(reader):
    """Two prompts with two samples each, the last one first."""
    found = []
    for place in (3, 1, 0, 2):
        one = written(reader, "red " * (place + 1), place // 2)
        found.append(
            {"prompt": place // 2, "sample": place % 2, "token_ids": one.token_ids, "logprobs": one.logprobs,
             "finish_reason": "stop"}
        )  # fmt: skip
    return found


def sample(url: str, arrived) -> list[Sample]:
    client = Gateway(url, "", patience=20)
    try:
        return client.sample("x", [[1], [2]], 2, max_tokens=9, temperature=1.0, seed=1, arrived=arrived)
    finally:
        client.close()


def test_a_completion_is_scored_while_the_engine_writes_the_others(reader, lines):
    model = Counts()
    gateway = Slow(lines, model.seen)  # the second sample ends only after the first was scored
    asked = [prompt(1), prompt(2)]
    with Early(model, reader, [asked[place // 2] for place in range(4)], 1) as early:
        samples = sample(gateway.url, early.arrived)
    assert [one.prompt for one in samples] == [0, 0, 1, 1]
    parsed = [reader.read(one.token_ids, one.finished) for one in samples]
    responses = [one.response for one in parsed]
    assert responses == ["red", "red red", "red red red", "red red red red"]
    scores = early.score([(asked[place // 2], response) for place, response in enumerate(responses)])
    assert scores == [3.0, 7.0, 11.0, 15.0]
    assert model.calls[0] == ["red red red red"]
    assert early.scored >= 1
    assert sum(len(call) for call in model.calls) == 4, "something was scored twice"
    assert early.figures == {"judge_calls": 4.0}
    again = early.score([(asked[0], "red"), (asked[1], "red")])  # other conversations may have the same answer
    assert again == [3.0, 3.0]
    assert early.figures == {"judge_calls": 1.0}
    gateway.server.shutdown()


@pytest.mark.parametrize("by_batch", [True, False])
def test_what_is_scored_at_once_does_not_depend_on_when_samples_end(reader, by_batch):
    """One call for each group, in the order of its samples, where a batch could show in the last digits."""
    asked = [prompt(1)] * 2 + [prompt(2)] * 2 + [prompt(3)] * 2
    said = ["a", "b b", "c", "d d", "e e e", "f"]
    groups = [["a", "b b"], ["c", "d d"], ["e e e", "f"]]
    for order, wait in (((5, 0, 3, 1, 2, 4), False), ((1, 0, 3, 2, 4, 5), True), ((0, 2, 4, 1, 3, 5), False)):
        model = Counts()
        model.by_batch = by_batch
        with Early(model, reader, asked, 2) as early:
            for number, place in enumerate(order):
                early.arrived(place, written(reader, said[place], place // 2))
                if wait and number == 1:
                    assert model.seen.wait(10)
        assert early.score(list(zip(asked, said, strict=True))) == [1.0, 3.0, 1.0, 3.0, 5.0, 1.0]
        assert sorted(text for call in model.calls for text in call) == sorted(said)
        if by_batch:
            assert sorted(model.calls) == groups


def test_a_completion_is_scored_before_its_group_has_ended_unless_batches_show_in_scores(reader):
    for by_batch in (False, True):
        model = Counts()
        model.by_batch = by_batch
        with Early(model, reader, [prompt(1)] * 3, 3) as early:
            early.arrived(1, written(reader, "b b"))
            assert model.seen.wait(10 if not by_batch else 0.3) != by_batch
            early.arrived(0, written(reader, "a"))
            early.arrived(2, written(reader, "c"))
        assert early.score([(prompt(1), "a"), (prompt(1), "b b"), (prompt(1), "c")]) == [1.0, 3.0, 1.0]
        assert model.calls[0] == (["a", "b b", "c"] if by_batch else ["b b"])


def test_what_came_before_an_interruption_is_kept(reader, lines, monkeypatch):
    monkeypatch.setattr("trainer.gateway.RETRY_SECONDS", 0.01)
    go = threading.Event()
    go.set()
    gateway = Slow(lines, go, cut=True)
    places: list[int] = []
    samples = sample(gateway.url, lambda place, _: places.append(place))
    assert gateway.asked == 2
    assert places == [3, 1, 0, 2]
    assert [len(one.token_ids) for one in samples] == sorted(len(one.token_ids) for one in samples)
    gateway.server.shutdown()


def test_an_error_in_a_stream_is_as_good_as_a_status(reader, lines, monkeypatch):
    go = threading.Event()
    go.set()
    gateway = Slow([lines[0], {"status": 404, "error": {"message": "no adapter of this name"}}], go)
    with pytest.raises(GatewayError, match="404 no adapter") as caught:
        sample(gateway.url, lambda *_: None)
    assert caught.value.status == 404
    gateway.server.shutdown()


def test_a_model_that_fails_in_between_is_asked_again_at_the_end(reader):
    class Once(Counts):
        def score(self, pairs):
            if not self.seen.is_set():
                self.seen.set()
                raise OSError("out of reach")
            return super().score(pairs)

    model = Once()
    with Early(model, reader, [prompt(1)], 1) as early:
        early.arrived(0, written(reader, "red red"))
        assert model.seen.wait(10)
    assert early.score([(prompt(1), "red red")]) == [7.0]


def test_only_models_whose_scores_stand_for_themselves_are_asked_early(policy, tmp_path):
    classifier = SequenceClassifier(make_classifier(policy, tmp_path / "one", seed=3))
    assert alone(classifier)
    assert not alone(Ensemble([classifier, classifier], "mean"))
    assert alone(LlmJudge("http://127.0.0.1:9", "x", tmp_path / "a.db"))
    assert not alone(LlmJudge("http://127.0.0.1:9", "x", tmp_path / "b.db", mode="pairwise"))
    assert not alone(SimpleNamespace(score=None))


def test_members_of_an_ensemble_and_what_rules_leave_are_asked_early(reader):
    """And the scores are those of the same model without; nothing is asked twice, nor what a rule decides alone."""

    class Turned(Counts):
        def score(self, pairs):
            return [-score for score in super().score(pairs)]

    class Compares:
        relative = True

        def score(self, pairs):
            return [float(sorted(text for _, text in pairs).index(text)) for _, text in pairs]

    asked = [prompt(1)] * 2 + [prompt(2)] * 2 + [prompt(3)] * 2
    said = ["red", "blue red blue", "red red", "b", "red or blue", "c c"]
    pairs = list(zip(asked, said, strict=True))
    checks = {
        wording(prompt(2)): Check(Regex(kind="regex", pattern="red", weight=2.0), {}),
        wording(prompt(3)): Check(Regex(kind="regex", pattern="blue", weight=3.0, alone=False), {}),
    }

    def model(first, second):
        return Verified(Ensemble([first, second, Compares()], "mean"), checks)

    first, second = Counts(), Turned()
    with EarlyParts(model(first, second), reader, asked, 2) as early:
        for place, text in enumerate(said):
            early.arrived(place, written(reader, text, place // 2))
        assert first.seen.wait(10), "nothing was scored while samples were written"
        assert second.seen.wait(10)
    plain = model(Counts(), Turned())
    assert early.model.score(pairs) == plain.score(pairs)
    assert early.model.figures == plain.figures
    assert early.model.figures["verified_share"] == pytest.approx(4 / 6)
    assert early.model.figures["verified_passed"] == pytest.approx(2 / 4)
    for one in (first, second):
        assert sorted(text for call in one.calls for text in call) == sorted(said[:2] + said[4:])


def test_a_model_that_compares_is_told_nothing_early(reader, tmp_path):
    judge = LlmJudge("http://127.0.0.1:9", "x", tmp_path / "b.db", mode="pairwise")
    with EarlyParts(judge, reader, [prompt(1)], 1) as early:
        assert early.arrived is None
    assert early.model is judge


def test_a_score_does_not_depend_on_what_is_scored_with_it():
    rows = [json.loads(line) for line in (TINY / "prompts" / "heldout.jsonl").read_text().splitlines()[:24]]
    pairs = [
        (row["messages"], " ".join(["Pack a raincoat and two books."] * (n % 7 + 1))) for n, row in enumerate(rows)
    ]
    model = SequenceClassifier(TINY / "reward")
    together = model.score(pairs)
    one_by_one = [model.score([pair])[0] for pair in pairs]
    assert max(together) - min(together) > 0.1
    assert together == pytest.approx(one_by_one, abs=2e-5)


def test_scores_are_the_same_to_the_last_digit_in_whatever_order_samples_end(policy, reader, tmp_path):
    model = SequenceClassifier(make_classifier(policy, tmp_path / "one", seed=3))
    asked = [messages for number in range(3) for messages in [prompt(number)] * 4]
    said = [" ".join(["red or blue"] * (place * 5 % 12 + 1)) for place in range(12)]
    found = []
    for order in (range(12), reversed(range(12)), [*range(0, 12, 2), *range(1, 12, 2)]):
        with Early(model, reader, asked, 4) as early:
            for place in order:
                early.arrived(place, written(reader, said[place], place // 4))
        found.append(early.score(list(zip(asked, said, strict=True))))
    assert found[0] == found[1] == found[2]


def test_a_round_learns_the_same_with_scores_that_came_early(site, second_site, policy, tmp_path, monkeypatch):
    judge = make_classifier(policy, tmp_path / "judge", seed=11)
    rewards = []
    for where, early in ((site, True), (second_site, False)):
        monkeypatch.setattr(SequenceClassifier, "alone", early)
        asked = where.request(steps=2)
        house = where.open(gate_prompts=4)
        house.reward = house.judge = SequenceClassifier(judge)
        assert work_on(house, claim(house)) in (PUBLISHED, REJECTED), where.round(asked).error
        rewards.append(where.metrics(asked))
    for name in ("reward", "reward_std", "malformed_share", "loss", "kl"):
        assert [step for step, _ in rewards[0][name]] == [1, 2]
        early, late = ([value for _, value in one[name]] for one in rewards)
        assert early == pytest.approx(late, abs=1e-4), name
