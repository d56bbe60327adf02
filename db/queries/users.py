"""Who people are, what they allow, and the keys they come with. A key's plaintext is seen once and never stored."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.ids import new_id
from db.queries.common import chunks, insert, utcnow
from db.queries.forget import lock_user, opt_out
from db.schema import ApiKey, User
from db.values import Consent

KEY_MARK = "rk-"
LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_answers", "max_prompt_tokens", "max_body_bytes")
"""What a key may have of its own; None: as the house says. 0 is no limit; the last two have none, and what they say
holds only where it is less than the house's."""


def ensure_user(session: Session, name: str, role: str = "user", consent: str = Consent.NONE) -> User:
    """The user of this name, made if there is none; an existing one keeps its role and consent."""
    made = insert(session, User).values(id=new_id(), name=name, role=role, consent=consent, created_at=utcnow())
    session.execute(made.on_conflict_do_nothing(index_elements=["name"]))
    return session.scalars(select(User).where(User.name == name)).one()


def get_user(session: Session, user_id: str) -> User:
    """Raises NotFound also for one who was deleted."""
    user = session.get(User, user_id)
    if user is None or user.deleted_at is not None:
        raise NotFound("user", user_id)
    return user


def list_users(session: Session) -> Sequence[User]:
    return session.scalars(select(User).where(User.deleted_at.is_(None)).order_by(User.id)).all()


def set_consent(session: Session, user_id: str, consent: str) -> None:
    """From now on. Lowering it from `train` also takes back what was allowed before, see `forget.opt_out`."""
    user = lock_user(session, user_id)  # else a consent that another gateway gives just now is read too early
    if user.deleted_at is not None:
        raise NotFound("user", user_id)
    if user.consent == Consent.TRAIN and consent != Consent.TRAIN:
        opt_out(session, user_id)
    user.consent = Consent(consent)
    session.flush()


def create_key(
    session: Session, user_id: str, scopes: Sequence[str] = (), expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """A new key and its plaintext `rk-…` (256 random bits), which can't be had again."""
    get_user(session, user_id)
    plaintext = KEY_MARK + secrets.token_urlsafe(32)
    key = ApiKey(
        id=new_id(),
        user_id=user_id,
        hash=hash_key(plaintext),
        prefix=plaintext[:9],
        scopes=list(scopes),
        created_at=utcnow(),
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return key, plaintext


def hash_key(plaintext: str) -> str:
    """SHA-256 suffices for 256 random bits: there is nothing to guess, and every request pays for it."""
    return hashlib.sha256(plaintext.encode()).hexdigest()


def find_by_key(session: Session, plaintext: str) -> tuple[User, ApiKey] | None:
    """Whose key this is; None for one that is unknown, revoked or expired, or whose user was deleted."""
    found = session.execute(
        select(User, ApiKey)
        .join(ApiKey, ApiKey.user_id == User.id)
        .where(ApiKey.hash == hash_key(plaintext), ApiKey.revoked_at.is_(None), User.deleted_at.is_(None))
    ).one_or_none()
    if found is None:
        return None
    user, key = found
    if key.expires_at is not None and key.expires_at <= utcnow():
        return None
    return user, key


def list_keys(session: Session, *user_ids: str) -> Sequence[ApiKey]:
    """Of these users, of one after the other."""
    keys = select(ApiKey).order_by(ApiKey.user_id, ApiKey.id)
    return [key for some in chunks(user_ids) for key in session.scalars(keys.where(ApiKey.user_id.in_(some)))]


def set_limits(session: Session, key_id: str, limits: Mapping[str, int | None]) -> ApiKey:
    """Change those of LIMITS that are named. Raises NotFound."""
    key = get_key(session, key_id)
    for name in limits.keys() & set(LIMITS):
        setattr(key, name, limits[name])
    session.flush()
    return key


def revoke_key(session: Session, key_id: str) -> None:
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFound("key", key_id)
    key.revoked_at = key.revoked_at or utcnow()
    session.flush()


def find_user(session: Session, name: str) -> User:
    """By name. Raises NotFound."""
    user = session.scalars(select(User).where(User.name == name, User.deleted_at.is_(None))).one_or_none()
    if user is None:
        raise NotFound("user", name)
    return user


def get_key(session: Session, key_id: str) -> ApiKey:
    """Raises NotFound."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFound("key", key_id)
    return key


def is_valid(key: ApiKey) -> bool:
    """Whether it opens anything now."""
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > utcnow())


def revoke_keys(session: Session, user_id: str) -> int:
    """All keys of a user; gives how many were valid until now."""
    valid = [key for key in list_keys(session, user_id) if is_valid(key)]
    for key in valid:
        key.revoked_at = utcnow()
    session.flush()
    return len(valid)
