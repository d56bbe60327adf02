"""The world: what it words can be read back, what heeds every wish scores high, and users drift but are seeded."""

import random
from collections import Counter

import pytest

from models import gold
from models.card import phrasings
from models.world import users
from models.world.checks import words_of
from models.world.kinds import KINDS
from models.world.requests import draw, draw_follow_up, read, word
from models.world.talk import example
from models.world.values import Request
from models.world.writer import Draft, write


def test_there_are_ten_kinds_and_hundreds_of_phrasings():
    assert len(KINDS) >= 8
    assert sum(phrasings().values()) > 300


def test_every_request_is_read_back_from_its_text():
    rng = random.Random(1)
    for _ in range(1500):
        request = draw(rng)
        found, what, previous = read([{"role": "user", "content": word(request, rng)}])
        assert what == "request"
        assert previous is None
        assert found is not None
        assert (found.kind, found.topic) == (request.kind, request.topic)
        assert set(found.constraints) == set(request.constraints)


def test_every_conversation_is_read_back_from_its_messages():
    rng = random.Random(2)
    for _ in range(1500):
        one = example(rng)
        found, what, _ = read(one.messages)
        if one.request is None:
            assert (found, what) == (None, one.kind)
        else:
            assert found is not None
            assert set(found.constraints) == set(one.request.constraints)


def test_a_draft_that_heeds_every_wish_scores_high_and_one_that_heeds_none_low():
    rng = random.Random(3)
    best, worst = [], []
    for _ in range(400):
        request = draw(rng)
        messages = [{"role": "user", "content": word(request, rng)}]
        best.append(gold.score(messages, write(request, request.constraints, rng).text()).score)
        worst.append(gold.score(messages, write(request, (), rng).text()).score)
    assert sum(best) / len(best) > 0.97
    assert sum(worst) / len(worst) < 0.6


def test_follow_ups_change_the_request_and_good_answers_to_them_score_high():
    rng = random.Random(4)
    scores = []
    for _ in range(300):
        request = draw(rng)
        base = write(request, request.constraints, rng)
        text, changed = draw_follow_up(request, base.text(), rng)
        messages = [
            {"role": "user", "content": word(request, rng)},
            {"role": "assistant", "content": base.text()},
            {"role": "user", "content": text},
        ]
        draft = write(changed, changed.constraints, rng, base, base.text())
        scores.append(gold.score(messages, draft.text()).score)
    assert sum(scores) / len(scores) > 0.93


def test_most_responses_have_30_to_100_words():
    rng = random.Random(5)
    drafts = [write(r, r.constraints, rng) for r in (draw(rng) for _ in range(400))]
    lengths = [len(words_of(d.text())) for d in drafts]
    assert max(lengths) <= 110
    assert sum(28 <= n <= 100 for n in lengths) / len(lengths) > 0.9


@pytest.mark.parametrize(
    ("text", "kind", "wishes"),
    [
        ("Plan three dinners for two, no nuts.", "meal", {("count", "3"), ("people", "two"), ("avoid", "nuts")}),
        ("Write an email about a lost parcel to Anna, please keep it formal.", "email", {("to", "Anna")}),
        ("could you write a story about a dragon in at most 70 words", "story", {("words", "70")}),
    ],
)
def test_free_wordings_are_read_too(text, kind, wishes):
    found, what, _ = read([{"role": "user", "content": text}])
    assert what == "request"
    assert found is not None
    assert found.kind == kind
    assert wishes <= {(w.name, w.value) for w in found.constraints}


@pytest.mark.parametrize(
    "text", ["What is the capital of Peru?", "My printer is broken, what now?", "Explain inflation."]
)
def test_other_requests_are_outside_of_the_world(text):
    assert read([{"role": "user", "content": text}])[:2] == (None, "outside")


def test_users_are_seeded_and_their_taste_drifts():
    first, again = list(users.stream(6, 3, 7)), list(users.stream(6, 3, 7))
    assert first == again
    assert first != list(users.stream(6, 3, 8))
    someone = users.users(6, 7)[0]
    now, soon, late = (users._drifted(someone, week, 7) for week in (0, 1, 12))
    apart = [sum(abs(a - b) for a, b in zip(now, other, strict=True)) for other in (soon, late)]
    assert apart[0] < apart[1]


def test_what_people_ask_about_drifts_from_week_to_week():
    """More than by chance: the same people's weeks, dealt at random to two halves, are closer, in 50 deals of 50."""
    talks = [(talk.user, talk.week, talk.kind) for talk in users.stream(12, 24, 7, conversations=12)]

    def apart(early):
        found = 0.0
        for person in {user for user, _, _ in talks}:
            halves = Counter(), Counter()
            for user, week, kind in talks:
                if user == person:
                    halves[week not in early][kind] += 1
            shares = [{kind: half[kind] / half.total() for kind in KINDS} for half in halves]
            found += sum(abs(shares[0][kind] - shares[1][kind]) for kind in KINDS)
        return found

    weeks = list(range(24))
    dealt = [apart(set(random.Random(deal).sample(weeks, 12))) for deal in range(50)]
    assert apart(set(weeks[:12])) > max(dealt)


def test_a_user_holds_a_conversation_with_whatever_answers():
    talk = next(t for t in users.stream(20, 1, 3) if t.turns > 1 and t.kind != "outside")
    said = talk.messages(lambda messages: f"Here is answer {len(messages)}.\n1. A tent.\n2. A torch.")
    assert [m["role"] for m in said] == ["user", "assistant"] * talk.turns


def test_a_writer_who_repeats_himself_may_have_nothing_left_to_write():
    kind = next(kind for kind in KINDS.values() if kind.listed)
    topic = next(iter(kind.topics))
    everything = Draft(lines=tuple((item.head, "") for item in kind.topics[topic].items))
    request = Request(kind.name, topic, ())
    assert write(request, (), random.Random(1), everything, everything.text(), "repeat").lines == ()
