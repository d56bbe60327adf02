"""Rows as the app API shows them: plain dictionaries with the names of the API, whatever the tables are called."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from db.queries.users import LIMITS, is_valid
from db.schema import ApiKey, Checkpoint, Comparison, Conversation, Generation, Message, Round
from server.catalog import Weights
from server.engine import Engine


def when(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def round_view(row: Round, names: dict[int, str]) -> dict[str, Any]:
    """`names`: checkpoint id → name."""
    return {
        "id": row.id,
        "state": row.state,
        "phase": row.phase,
        "step": row.step,
        "total_steps": row.total_steps,
        "algorithm": row.algorithm,
        "config": row.config,
        "seed": row.seed,
        "trigger": row.trigger,
        "reason": row.reason,
        "requested_by": row.requested_by,
        "parent": names.get(row.parent_checkpoint_id) if row.parent_checkpoint_id is not None else None,
        "candidate": names.get(row.candidate_checkpoint_id) if row.candidate_checkpoint_id is not None else None,
        "verdict": row.verdict,
        "error": row.error,
        "created_at": when(row.created_at),
        "started_at": when(row.started_at),
        "ended_at": when(row.ended_at),
    }


def checkpoint_view(
    row: Checkpoint, names: dict[int, str], live: Weights | None, with_manifest: bool = True
) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "parent": names.get(row.parent_id) if row.parent_id is not None else None,
        "round": row.round_id,
        "state": row.state,
        "created_at": when(row.created_at),
        "live": live is not None and live.id == row.id,
        "path": row.path,
        "manifest": row.manifest if with_manifest else None,
    }


def engine_view(engine: Engine) -> dict[str, Any]:
    return {
        "url": engine.url,
        "state": engine.state,
        "detail": engine.detail,
        "weights": engine.in_place,
        "adapters": sorted(engine.loaded),
        "in_flight": engine.in_flight,
    }


def conversation_view(row: Conversation) -> dict[str, Any]:
    return {
        "id": row.id,
        "title": row.title,
        "consent": row.consent,
        "pinned": row.pinned,
        "created_at": when(row.created_at),
        "updated_at": when(row.updated_at),
    }


def message_view(row: Message, generation: Generation | None) -> dict[str, Any]:
    """A message; an answer comes with how it was generated."""
    view: dict[str, Any] = {
        "id": row.id,
        "parent_id": row.parent_id,
        "role": row.role,
        "content": row.content,
        "created_at": when(row.created_at),
    }
    if generation is not None:
        view["generation"] = {
            "id": generation.id,
            "model": generation.model,
            "reasoning": generation.reasoning,
            "ending": generation.ending,
            "thinks": _thinks(generation.sampling),
            "effort": generation.sampling.get("reasoning_effort"),
            "consent": generation.consent,
            "prompt_tokens": generation.prompt_tokens,
            "completion_tokens": generation.completion_tokens,
            "reasoning_tokens": generation.reasoning_tokens,
            "thought_seconds": _thought_seconds(generation),
            "started_at": when(generation.started_at),
            "ended_at": when(generation.ended_at),
        }
    return view


def comparison_view(row: Comparison) -> dict[str, Any]:
    return {
        "id": row.id,
        "left": row.left_generation_id,
        "right": row.right_generation_id,
        "choice": row.choice,
        "shown": row.shown,
        "created_at": when(row.created_at),
    }


def _thinks(sampling: Mapping[str, Any]) -> bool:
    """Whether the request let the model think; every dialect was made into this one."""
    return (sampling.get("chat_template_kwargs") or {}).get("enable_thinking") is not False


def _thought_seconds(row: Generation) -> float | None:
    """How long it thought, from its first token; None without a thought, or where no times of a stream are known."""
    end = row.thought_ended_at or (row.ended_at if not row.response else None)  # or the thought was all there is
    if not row.reasoning or row.first_token_at is None or end is None:
        return None
    return round(max(0.0, (end - row.first_token_at).total_seconds()), 1)


def key_view(row: ApiKey) -> dict[str, Any]:
    """A key as its owner knows it: by its first characters."""
    return {
        "id": row.id,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "valid": is_valid(row),
        "created_at": when(row.created_at),
        "expires_at": when(row.expires_at),
        "revoked_at": when(row.revoked_at),
        "limits": {name: getattr(row, name) for name in LIMITS},
    }


def series(metrics: dict[str, list[tuple[int, float]]]) -> dict[str, list[list[float | int | None]]]:
    """Metrics as [step, value] pairs; a value that was no number is null."""
    return {
        name: [[step, value if math.isfinite(value) else None] for step, value in points]
        for name, points in metrics.items()
    }
