"""What live, previous and canary are judged by; what a rollback takes with it. On every database."""

from datetime import UTC, datetime, timedelta

from support.records import a_turn, its_end, said, settle

from db.queries import arms, checkpoints, deployments, feedback, rounds, turns
from db.session import Database

START = datetime(2026, 1, 1, tzinfo=UTC)


def answer(database: Database, user: str, checkpoint: int, minute: int, **changed: object) -> str:
    """An answer that began `minute` minutes after the start, to a prompt of its own; gives its generation's id."""
    ended = {name: changed.pop(name) for name in ("ending", "finish_reason") if name in changed}
    words = changed.pop("words", f"prompt {minute}")
    begun = START + timedelta(minutes=minute)
    turn = a_turn(user, said(str(words)), checkpoint_id=checkpoint, started_at=begun, **changed)
    with database.transaction() as session:
        turns.record_turn(session, turn, its_end(turn, ended_at=begun + timedelta(seconds=5), **ended))
    return turn.generation_id


def two_checkpoints(database: Database) -> str:
    with database.transaction() as session:
        user = settle(session)
        checkpoints.reserve_checkpoint(session, 0)
    return user


def test_answers_come_in_their_order_without_titles_and_what_was_broken_off(database: Database) -> None:
    user = two_checkpoints(database)
    answer(database, user, 1, 3, conversation_id="b")
    answer(database, user, 0, 1, conversation_id="a", ending="malformed", sampling={"max_tokens": 5})
    answer(database, user, 0, 2, consent="none")
    answer(database, user, 0, 4, origin="title")
    answer(database, user, 0, 5, ending="interrupted")
    with database.reading() as session:
        found = arms.answered(session, [0, 1])
        assert [(one.conversation, one.checkpoint_id, one.ending) for one in found] == [
            ("a", 0, "malformed"), (None, 0, "complete"), ("b", 1, "complete"),
        ]  # fmt: skip
        assert found[0].sampling == {"max_tokens": 5}
        assert (found[0].ended_at - found[0].started_at).total_seconds() == 5
        since = START + timedelta(minutes=2)
        assert len(arms.answered(session, [0], since=since)) == 1
        assert [one.conversation for one in arms.answered(session, [0, 1], before=since)] == ["a"]
        assert [one.conversation for one in arms.answered(session, [0, 1], most=2)] == ["a", None]
        assert [one.conversation for one in arms.answered(session, [0, 1], most=2, newest=True)] == [None, "b"]


def test_what_was_asked_for_by_version_or_as_raw_text_is_not_compared(database: Database) -> None:
    user = two_checkpoints(database)
    answer(database, user, 0, 1, conversation_id="a", sampling={"aside": True})
    answer(database, user, 0, 2, consent="none", sampling={"aside": True})
    one, other = (
        answer(database, user, which, 3, conversation_id="c", words="c", sampling={"aside": True} if which == 0 else {})
        for which in (0, 1)
    )
    with database.transaction() as session:
        feedback.give_feedback(session, one, user, -1)
        feedback.compare(session, user, one, other, "left", {})
    with database.reading() as session:
        assert [place.checkpoint_id for place in arms.answered(session, [0, 1])] == [1]
        assert (arms.thumbs(session, [0, 1], START), arms.choices(session, 1, 0, START)) == ([], [])


def test_of_a_turn_that_is_not_kept_it_is_noted_that_it_set_its_own_end(database: Database) -> None:
    user = two_checkpoints(database)
    answer(database, user, 0, 1, consent="none", sampling={"stop": "a secret", "max_tokens": 3, "temperature": 1.0})
    with database.reading() as session:
        (found,) = arms.answered(session, [0])
    assert found.sampling == {"stop": True, "max_tokens": True}


def test_an_answer_that_its_engine_did_not_outlive_is_told_as_such(database: Database) -> None:
    user = two_checkpoints(database)
    answer(database, user, 0, 1, ending="error", finish_reason="engine_lost", engine="http://one")
    answer(database, user, 0, 2, ending="error", engine="http://one")
    with database.reading() as session:
        found = arms.answered(session, [0])
    assert [(one.engine, one.lost) for one in found] == [("http://one", True), ("http://one", False)]


def test_thumbs_and_choices_are_told_by_checkpoint(database: Database) -> None:
    user = two_checkpoints(database)
    old = answer(database, user, 0, 1, conversation_id="a", words="one")
    new = answer(database, user, 1, 2, conversation_id="a", words="one")
    early = answer(database, user, 1, -9, conversation_id="c")
    with database.transaction() as session:
        feedback.give_feedback(session, early, user, -1)
        feedback.give_feedback(session, new, user, -1)
        feedback.give_feedback(session, old, user, 1)
        for left, right, choice in ((old, new, "left"), (new, old, "left"), (old, new, "tie"), (new, new, "left")):
            feedback.compare(session, user, left, right, choice, {})
    with database.reading() as session:
        assert arms.thumbs(session, [0, 1], START) == [("a", 1, -1), ("a", 0, 1)]
        assert arms.choices(session, 1, 0, START) == [("a", 0.0), ("a", 1.0), ("a", 0.5)]
        assert [won for _, won in arms.choices(session, 0, 1, START)] == [1.0, 0.0, 0.5]


def test_live_counts_from_the_row_that_made_it_so_whatever_canaries_came_and_went(database: Database) -> None:
    two_checkpoints(database)
    with database.transaction() as session:
        assert deployments.live_since(session) is None
        first = deployments.propose(session, 0, "a", "", None)
        live = deployments.propose(session, 1, "a", "", first.id)
        trial = deployments.propose(session, 1, "a", "", live.id, canary_id=0, canary_share=0.1)
        deployments.propose(session, 1, "a", "", trial.id)
        since = live.created_at
    with database.reading() as session:
        assert deployments.live_since(session) == since
        assert deployments.is_rollback(session, 1, 0)
        assert not deployments.is_rollback(session, 0, 1)
        assert not deployments.is_rollback(session, 1, 1)


def test_a_round_built_on_what_was_rolled_back_is_aborted_and_another_one_is_not(database: Database) -> None:
    two_checkpoints(database)
    with database.transaction() as session:
        checkpoints.reserve_checkpoint(session, 1)  # v2, out of v1
        asked = rounds.request_round(session, "grpo", {}, "ann").id
        assert deployments.abort_built_on(session, 1, "it has no parent yet") is None
        rounds.claim_round(session, "trainer", 60)
        rounds.save_progress(session, asked, "trainer", "train", 1, parent_id=2)
    with database.transaction() as session:
        assert deployments.abort_built_on(session, 1, "v1 was rolled back") == asked
    with database.transaction() as session:
        row = rounds.get_round(session, asked)
        assert (row.state, row.error) == ("cancelled", "v1 was rolled back")
        assert not rounds.heartbeat(session, asked, "trainer", 60)
        second = rounds.request_round(session, "grpo", {}, "ann").id
        rounds.claim_round(session, "trainer", 60)
        rounds.save_progress(session, second, "trainer", "train", 1, parent_id=0)
        assert deployments.abort_built_on(session, 1, "v1 was rolled back") is None


def test_a_round_is_not_begun_while_a_canary_is_on_trial_and_one_that_runs_is_resumed(database: Database) -> None:
    two_checkpoints(database)
    with database.transaction() as session:
        asked = rounds.request_round(session, "grpo", {}, "ann").id
        first = deployments.propose(session, 0, "a", "", None)
        trial = deployments.propose(session, 0, "a", "", first.id, canary_id=1, canary_share=0.1)
        assert rounds.claim_round(session, "trainer", 60) is None
        done = deployments.propose(session, 1, "a", "", trial.id)
        claimed = rounds.claim_round(session, "trainer", -1)
        assert claimed is not None
        assert claimed.id == asked
        deployments.propose(session, 1, "a", "", done.id, canary_id=0, canary_share=0.1)
        assert rounds.claim_round(session, "another", 60) is not None
