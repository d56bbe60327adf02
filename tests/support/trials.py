"""What tests of a canary, and of a live checkpoint that declines, have in common."""

from datetime import UTC, datetime, timedelta

import numpy as np
from support.gateways import Running
from support.records import a_turn, its_end, said

from db.queries import checkpoints, deployments, turns, users
from db.session import Database


def record(database: Database, checkpoint: int, conversations: list[str], **how: object) -> list[str]:
    """An answer in each of these conversations, long ago enough for a second try to have been asked for."""
    dice, made = np.random.default_rng(0), []
    with database.transaction() as session:
        user = users.ensure_user(session, "ann", "user", "train").id
        for place, name in enumerate(conversations):
            begun = datetime.now(UTC) + timedelta(minutes=1, milliseconds=int(dice.integers(1000)) + place)
            turn = a_turn(user, said(f"{name} asks"), checkpoint_id=checkpoint, conversation_id=name, started_at=begun)
            turns.record_turn(session, turn, its_end(turn, ended_at=begun + timedelta(seconds=1), **how))
            made.append(turn.generation_id)
    return made


def newest(house: Running):  # type: ignore[no-untyped-def]
    with house.database.reading() as session:
        row = deployments.current(session)
        assert row is not None
        states = {one.name: one.state for one in checkpoints.list_checkpoints(session)}
        return row, states
