"""An engine that is being stopped ends what it writes by `abort`, with status 200: that is no answer, and says nothing
about the weights."""

import asyncio
from pathlib import Path

import openai
import pytest
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running
from support.swaps import two_engines

from db.schema import Generation
from db.values import LOST


def recorded(house: Running) -> list[Generation]:
    with house.database.reading() as session:
        return list(session.scalars(select(Generation)))


async def test_what_it_gives_up_before_a_client_has_anything_of_it_is_asked_for_elsewhere(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with two_engines(tmp_path / "home", engine) as (house, other):
        engine.finish = ("abort", None)
        answers = await asyncio.gather(*(house.chat() for _ in range(8)))
        told = {answer.json()["choices"][0]["finish_reason"] for answer in answers}
        assert ({answer.status_code for answer in answers}, told) == ({200}, {"stop"})
        assert engine.requests, "no request went to the engine that is being stopped"
        assert other.requests


async def test_one_that_is_being_written_ends_with_an_error_and_counts_as_the_engines_doing(
    house: Running, engine: FakeEngine
) -> None:
    engine.finish, engine.delay = ("abort", None), 0.01
    client = openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="none", max_retries=0)
    stream = await client.chat.completions.create(
        model="ruminate", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    with pytest.raises(openai.APIError, match="broke the answer off"):
        async for _ in stream:
            pass
    (turn,) = recorded(house)
    assert (turn.ending, turn.finish_reason, turn.response) == ("error", LOST, engine.text("ruminate-v0")[1])
