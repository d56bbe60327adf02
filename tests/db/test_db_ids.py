"""Identifiers: they sort by when they were made, and say it."""

import time
import uuid
from datetime import UTC, datetime

from db.ids import first_id_at, made_at, new_id


def test_ids_of_one_process_increase_and_say_when_they_were_made() -> None:
    before = time.time()
    made = [new_id() for _ in range(5000)]
    after = time.time()
    assert made == sorted(set(made))
    assert all(uuid.UUID(one).version == 7 for one in made)
    told = [made_at(one) for one in made]
    assert all(when is not None and before - 0.001 <= when <= after + 0.005 for when in told), (before, after, told)


def test_what_is_no_id_of_ours_was_made_at_no_time() -> None:
    assert [made_at(one) for one in ("", "no-such-generation", str(uuid.uuid4()))] == [None, None, None]


def test_the_first_id_of_a_time_says_that_time() -> None:
    when = datetime(2026, 11, 29, 12, tzinfo=UTC)
    assert made_at(first_id_at(when)) == when.timestamp()
