"""Answers that a user keeps an eye on: the gate asks for them again, and no checkpoint that falls behind goes live."""

from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from db.queries import regressions
from db.schema import Regression
from server.api.common import ANSWERED, House, Me
from server.errors import invalid
from server.refusals import INVALID, NOT_FOUND, refused
from server.views import when

router = APIRouter(prefix="/api", tags=["conversations"])


class Kept(BaseModel):
    kind: Literal["good", "never"]
    """good: later checkpoints must answer as well as this. never: they must not answer so again."""


@router.get("/regressions")
def list_regressions(gateway: House, me: Me) -> dict[str, Any]:
    """This user's own, newest first, with the answers and the conversations that they stand in."""
    with gateway.database.reading() as session:
        return {
            "data": [
                view(row)
                | {
                    "model": answer.model,
                    "response": answer.response,
                    "conversation_id": answer.conversation_id,
                }
                for row, answer in regressions.kept_by(session, me.user_id)
            ]
        }


@router.put("/generations/{generation_id}/regression", dependencies=[ANSWERED], responses=refused(INVALID, NOT_FOUND))
def keep_answer(gateway: House, me: Me, generation_id: str, wish: Kept) -> dict[str, Any]:
    """Keep an eye on an own answer; a second one replaces the first. 400 unless it may be trained on."""
    with gateway.database.transaction() as session:
        try:
            return view(regressions.keep(session, generation_id, me.user_id, wish.kind))
        except ValueError as error:
            raise invalid(str(error), "generation_id") from error


@router.delete("/generations/{generation_id}/regression", status_code=204, responses=refused(NOT_FOUND))
def drop_answer(gateway: House, me: Me, generation_id: str) -> Response:
    """Keep no eye on it any more."""
    with gateway.database.transaction() as session:
        regressions.drop(session, generation_id, me.user_id)
    return Response(status_code=204)


def view(row: Regression) -> dict[str, Any]:
    return {"generation_id": row.generation_id, "kind": row.kind, "created_at": when(row.created_at)}
