"""The models that can be asked for, as OpenAI's clients list them."""

from typing import Any

from fastapi import APIRouter

from server.api.common import House, Me
from server.catalog import ALIAS
from server.errors import no_model
from server.refusals import NO_MODEL, refused

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def list_models(gateway: House, _: Me) -> dict[str, Any]:
    """`ruminate`, which is whatever is live, and every published checkpoint by name."""
    return {"object": "list", "data": _cards(gateway)}


@router.get("/v1/models/{model}", responses=refused(NO_MODEL))
async def get_model(gateway: House, _: Me, model: str) -> dict[str, Any]:
    for card in _cards(gateway):
        if card["id"] == model:
            return card
    raise no_model(model)


def _cards(gateway: House) -> list[dict[str, Any]]:
    wanted = gateway.catalog.wanted
    longest = next((engine.base.max_model_len for engine in gateway.pool.engines if engine.base), None)
    images = any(engine.takes_images for engine in gateway.pool.engines)
    modalities = {"input_modalities": ["text", "image"] if images else ["text"], "output_modalities": ["text"]}
    more = {"object": "model", "owned_by": "ruminate", "max_model_len": longest, "architecture": modalities}
    cards = []
    if wanted is not None:
        cards.append({"id": ALIAS, "created": int(wanted.since.timestamp()), "root": wanted.live.model, **more})
    for one in gateway.catalog.listed():
        cards.append({"id": one.model, "created": int(one.created_at.timestamp()), "root": one.model, **more})
    return cards
