"""A person's choice between two answers to one prompt, and how often which checkpoint was chosen."""

from typing import Any, Literal

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from db.queries import feedback
from server.api.common import House, Me, Shown, until_recorded
from server.auth import Identity
from server.errors import invalid
from server.gateway import Gateway
from server.refusals import INVALID, NOT_FOUND, refused
from server.views import comparison_view

router = APIRouter(prefix="/api/comparisons", tags=["conversations"])


class Choice(BaseModel):
    left: str = Field(max_length=100)
    """The generation that stood on the left, or first."""
    right: str = Field(max_length=100)
    choice: Literal["left", "right", "tie"]
    shown: Shown = {}
    """How they were shown: whether blind, whether their thoughts were in sight, for how long, and the like."""


@router.post("", status_code=201, responses=refused(INVALID, NOT_FOUND))
async def compare(gateway: House, me: Me, wish: Choice) -> dict[str, Any]:
    """Both must be this user's own recorded answers to one prompt: 404 for another's, 400 for two prompts."""
    await until_recorded(gateway, wish.left, wish.right)
    return await run_in_threadpool(_record, gateway, me, wish)


def _record(gateway: Gateway, me: Identity, wish: Choice) -> dict[str, Any]:
    with gateway.database.transaction() as session:
        try:
            row = feedback.compare(session, me.user_id, wish.left, wish.right, wish.choice, wish.shown)
        except ValueError as error:
            raise invalid(str(error), "right") from error
        return comparison_view(row)


@router.get("/tally")
def tally(gateway: House, _: Me) -> dict[str, Any]:
    """Of each two checkpoints that people compared, how often each was chosen. Counts only, nobody's words."""
    with gateway.database.reading() as session:
        return {
            "data": [
                {"models": list(pair), "chosen": [first, second], "ties": ties}
                for pair, (first, second, ties) in sorted(feedback.chosen(session).items())
            ]
        }
