"""The weights there are: where they come from, where their files lie, what became of them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, aliased, defer

from db.base import told_weights
from db.errors import BaseChanged, NotFound
from db.ids import new_id
from db.queries.common import chunks, insert, utcnow
from db.schema import Checkpoint
from db.values import CheckpointState

BASE_ID = 0
"""The base model, as checkpoint "v0": what answers before the first round."""


def ensure_base(session: Session, base: str, manifest: Mapping[str, Any]) -> Checkpoint:
    """Checkpoint "v0" for the base model `base`, made if there is none.

    `base` is what its adapters must fit: a name or hash, not a path that may move. Two models may share it, so the hash
    of the weights in `manifest` counts too, against the newest that any checkpoint names; where none does, v0 takes it
    over as long as it is alone. Raises BaseChanged when the database already stands on another one.
    """
    made = insert(session, Checkpoint).values(
        id=BASE_ID,
        name=f"v{BASE_ID}",
        kind="base",
        base=base,
        manifest=dict(manifest),
        state=CheckpointState.PUBLISHED,
        created_at=utcnow(),
    )
    session.execute(made.on_conflict_do_nothing())
    checkpoint = get_checkpoint(session, BASE_ID)
    if checkpoint.base != base:
        raise BaseChanged(checkpoint.base, base)
    given = told_weights(manifest)
    if given is None:
        return checkpoint
    others = list_checkpoints(session)
    known = [one.manifest for one in others if told_weights(one.manifest) is not None]
    if known and told_weights(known[-1]) != given:
        raise BaseChanged(_with_weights(known[-1]), _with_weights(manifest))
    if not known and len(others) == 1:
        checkpoint.manifest = dict(manifest)
        session.flush()
    return checkpoint


def _with_weights(manifest: Mapping[str, Any] | None) -> str:
    name = ((manifest or {}).get("base") or {}).get("name")
    return f"{name} of weights sha256:{told_weights(manifest)}"


def reserve_checkpoint(
    session: Session, parent_id: int, round_id: int | None = None, kind: str = "adapter"
) -> Checkpoint:
    """A candidate with a name of its own; it has no `path` until its files are complete.

    A round that resumes gets the one it had reserved before.
    """
    parent = get_checkpoint(session, parent_id)
    if round_id is not None:
        reserved = session.scalars(select(Checkpoint).where(Checkpoint.round_id == round_id)).first()
        if reserved is not None:
            return reserved
    checkpoint = Checkpoint(
        name=f"reserved-{new_id()}",  # the id, and with it the name, is known once the row is there
        kind=kind,
        parent_id=parent.id,
        round_id=round_id,
        base=parent.base,
        state=CheckpointState.CANDIDATE,
        created_at=utcnow(),
    )
    session.add(checkpoint)
    session.flush()
    checkpoint.name = f"v{checkpoint.id}"
    session.flush()
    return checkpoint


def complete_checkpoint(session: Session, checkpoint_id: int, path: str, manifest: Mapping[str, Any]) -> Checkpoint:
    """Its files lie under `path`, whole. Call it after they were moved into place: the row comes last."""
    checkpoint = get_checkpoint(session, checkpoint_id)
    checkpoint.path = path
    checkpoint.manifest = dict(manifest)
    session.flush()
    return checkpoint


def set_state(session: Session, checkpoint_id: int, state: str) -> None:
    get_checkpoint(session, checkpoint_id).state = CheckpointState(state)
    session.flush()


def put_away(session: Session, checkpoint_id: int, disown: bool) -> None:
    """Rejected, or else retired, which leaves it to people; what is rejected already stays so."""
    row = lock_checkpoint(session, checkpoint_id)
    if row.state != "rejected":
        set_state(session, checkpoint_id, "rejected" if disown else "retired")


def get_checkpoint(session: Session, checkpoint_id: int) -> Checkpoint:
    checkpoint = session.get(Checkpoint, checkpoint_id)
    if checkpoint is None:
        raise NotFound("checkpoint", checkpoint_id)
    return checkpoint


def lock_checkpoint(session: Session, checkpoint_id: int) -> Checkpoint:
    """As it is now, and held until the transaction ends."""
    row = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.id == checkpoint_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise NotFound("checkpoint", checkpoint_id)
    return row


def find_checkpoint(session: Session, name: str) -> Checkpoint | None:
    """By name, such as "v3"."""
    return session.scalars(select(Checkpoint).where(Checkpoint.name == name)).one_or_none()


def list_checkpoints(session: Session, manifests: bool = True) -> Sequence[Checkpoint]:
    """Oldest first, with their manifests, or `without_manifests`."""
    wanted = select(Checkpoint) if manifests else without_manifests()
    return session.scalars(wanted.order_by(Checkpoint.id)).all()


def without_manifests() -> Select[Checkpoint]:
    """Checkpoints whose manifest is read only where it is asked for, and then while the session is open."""
    return select(Checkpoint).options(defer(Checkpoint.manifest))


def names(session: Session) -> dict[int, str]:
    """Of each checkpoint, by id."""
    return {row.id: row.name for row in session.execute(select(Checkpoint.id, Checkpoint.name))}


def manifests(session: Session, checkpoint_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Of each of these, by id; empty for one whose files are not complete."""
    found: dict[int, dict[str, Any]] = {}
    for some in chunks(sorted(checkpoint_ids)):
        rows = session.execute(select(Checkpoint.id, Checkpoint.manifest).where(Checkpoint.id.in_(some)))
        found |= {key: manifest or {} for key, manifest in rows}
    return found


def lineage(session: Session, checkpoint_id: int) -> list[Checkpoint]:
    """From the checkpoint itself back to the base; `without_manifests`. Raises NotFound."""
    own = select(Checkpoint.id, Checkpoint.parent_id).where(Checkpoint.id == checkpoint_id)
    line = own.cte("line", recursive=True)
    parent = aliased(Checkpoint)
    line = line.union_all(select(parent.id, parent.parent_id).join(line, parent.id == line.c.parent_id))
    wanted = without_manifests().join(line, line.c.id == Checkpoint.id)
    found = session.scalars(wanted.order_by(Checkpoint.id.desc())).all()  # a child is always younger than its parent
    if not found:
        raise NotFound("checkpoint", checkpoint_id)
    return list(found)


def descendants(session: Session, checkpoint_ids: set[int]) -> list[Checkpoint]:
    """These checkpoints and all that grew out of them, oldest first; `without_manifests`."""
    found: set[int] = set(checkpoint_ids)
    for key, parent in session.execute(select(Checkpoint.id, Checkpoint.parent_id).order_by(Checkpoint.id)):
        if parent in found:  # a child is always younger than its parent
            found.add(key)
    return [
        one
        for some in chunks(sorted(found))
        for one in session.scalars(without_manifests().where(Checkpoint.id.in_(some)).order_by(Checkpoint.id))
    ]
