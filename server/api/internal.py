"""The trainer's API: adapters of a running round, samples and log-probabilities by token ids, deployment.

Opened by the service key only. What passes here is never recorded as a turn.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from server.api.checkpoints import DeploymentRequest, PruneRequest, note_deployment, pruned
from server.api.common import SERVICE_ONLY, House
from server.engine import settle
from server.errors import ApiError
from server.refusals import (
    DEPLOYED,
    FULL_WEIGHTS,
    INVALID,
    NAME_IN_USE,
    NO_ADAPTER,
    NO_CANARY,
    NO_DATABASE,
    NO_ENGINE,
    NOT_TAKEN,
    ON_TRIAL,
    SAMPLED,
    TAKEN_BACK,
    UNFIT,
    refused,
)
from server.rollouts import Wish

router = APIRouter(prefix="/internal", tags=["internal"], dependencies=[SERVICE_ONLY])

Result = TypeVar("Result")
Token = Annotated[int, Field(ge=0)]
Tokens = Annotated[list[Token], Field(min_length=1)]
LOOK_SECONDS = 0.5  # how soon work for a trainer that went away is stopped


_LINE = {"prompt": 0, "sample": 0, "token_ids": [5, 6, 7], "logprobs": [-0.2, -1.1, -0.4], "finish_reason": "stop"}
_LINES = {"content": {"application/x-ndjson": {"example": orjson.dumps(_LINE).decode() + "\n"}}}


class AdapterRequest(BaseModel):
    name: str = Field(max_length=100)
    path: str
    """A folder that the engines can read."""


class SampleRequest(BaseModel):
    model: str
    prompts: list[Tokens] = Field(min_length=1, max_length=4096)
    n: int = Field(1, ge=1, le=1024)
    max_tokens: int = Field(ge=1)
    temperature: float = Field(1.0, ge=0, le=10)
    seed: int | None = Field(None, ge=0, lt=2**62)
    stop: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(default=[], max_length=8)
    """Texts at which a sample ends; the tokens that wrote one are part of it."""
    stream: bool = False
    """One sample a line (ndjson), each when it has ended, in no order."""


class Sequence(BaseModel):
    prompt_ids: Tokens
    completion_ids: Tokens


class LogprobsRequest(BaseModel):
    model: str
    sequences: list[Sequence] = Field(min_length=1, max_length=4096)


class InternalDeployment(DeploymentRequest):
    by: str = Field("trainer", max_length=200)


@router.post(
    "/adapters",
    responses=refused(INVALID, NAME_IN_USE, FULL_WEIGHTS, UNFIT, NOT_TAKEN, NO_ENGINE, NO_DATABASE),
)
async def load_adapter(gateway: House, wish: AdapterRequest) -> dict[str, Any]:
    """Load an adapter of a running round on every engine. Asking again for the same is no error."""
    return {"name": wish.name, "engines": await gateway.swap.add_step(wish.name, wish.path)}


@router.delete("/adapters/{name}", status_code=204, responses=refused(NO_ADAPTER, NO_DATABASE))
async def unload_adapter(gateway: House, name: str) -> Response:
    """Forget it, once nobody uses it any more. Answered when no healthy engine has it, so that its files may go."""
    await gateway.swap.remove_step(name)
    return Response(status_code=204)


@router.get("/people")
async def people(gateway: House) -> dict[str, Any]:
    """How many answers are being written for people, and whether the trainer should rest for a moment: somebody waits
    for one to begin, or they come more slowly than they may. Over Redis people of all gateways count."""
    gateway.everybody.trainer_asks()
    return {"chats": gateway.everybody.chats, "pressed": gateway.everybody.pressed}


@router.post("/sample", responses=refused(*SAMPLED) | {200: _LINES})
async def sample(gateway: House, request: Request, wish: SampleRequest) -> Response:
    """Samples by temperature alone, when people leave room for them.

    In a stream a line is a sample as in `samples`, or last an `error` as in a refusal, with its `status`.
    """
    model = gateway.swap.internal_model(wish.model)
    asked = Wish(model, wish.prompts, wish.n, wish.max_tokens, wish.temperature, wish.seed, wish.stop)
    if not wish.stream:
        with gateway.pool.using(model):
            return _json({"samples": await _while_asked(request, gateway.rollouts.sample(asked))})
    lines = _lines(gateway, request, asked)
    first = await anext(lines)  # what is refused at once is refused with its status
    return StreamingResponse(_after(first, lines), media_type="application/x-ndjson")


@router.post("/logprobs", responses=refused(*SAMPLED))
async def logprobs(gateway: House, request: Request, wish: LogprobsRequest) -> Response:
    """The engine's own log-probabilities of completion tokens, at temperature 1."""
    model = gateway.swap.internal_model(wish.model)
    with gateway.pool.using(model):
        work = gateway.rollouts.logprobs(model, [one.model_dump() for one in wish.sequences])
        return _json({"logprobs": await _while_asked(request, work)})


@router.post("/deploy", responses=refused(*DEPLOYED, ON_TRIAL, TAKEN_BACK, NO_CANARY))
async def deploy(gateway: House, wish: InternalDeployment) -> dict[str, str | None]:
    """As POST /api/deployments, in the name of `by`; a canary first, unless the house goes without."""
    share = wish.canary_share or gateway.settings.canary_share
    if not wish.canary_share and share and not await gateway.swap.can_try(wish.checkpoint):
        share = 0.0
    done = await gateway.swap.deploy(wish.checkpoint, wish.by, wish.reason, wish.expected_live, share=share)
    await asyncio.to_thread(note_deployment, gateway, wish.by, wish, done)
    return done


@router.post("/prune", responses=refused(NO_DATABASE))
async def prune_files(gateway: House, wish: PruneRequest) -> dict[str, list[str]]:
    """As POST /api/prune, by the trainer after a round."""
    return await pruned(gateway, "trainer", wish)


def _json(value: Any) -> Response:
    """Ten thousand numbers, without keeping those who chat waiting."""
    return Response(orjson.dumps(value), media_type="application/json")


async def _lines(gateway: House, request: Request, wish: Wish) -> AsyncGenerator[bytes]:
    """A line for each sample. An error before the first is raised, a later one is the last line."""
    began = False
    with gateway.pool.using(wish.model):
        samples = gateway.rollouts.each(wish)
        try:
            while True:
                try:
                    sample = await _while_asked(request, anext(samples))
                except StopAsyncIteration:
                    return
                except ApiError as error:
                    if not began:
                        raise
                    yield orjson.dumps(error.body | {"status": error.status}) + b"\n"
                    return
                began = True
                yield orjson.dumps(sample) + b"\n"
        finally:
            await samples.aclose()


async def _after(first: bytes, lines: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    try:
        yield first
        async for line in lines:
            yield line
    finally:
        await lines.aclose()


async def _while_asked(request: Request, work: Awaitable[Result]) -> Result:
    """Do `work`, unless the one who asked for it goes away: people need the engine."""
    task = asyncio.ensure_future(work)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=LOOK_SECONDS)
            if done:
                return task.result()
            if await request.is_disconnected():
                raise ApiError(400, "the one who asked went away")
    finally:
        await settle([task])
