"""Answers in OpenAI's Responses API that go on from earlier ones, by their id or by the items that they name."""

from typing import Any

import openai
import pytest
from support.fake_engine import FakeEngine
from support.gateways import Running
from support.responses import TOOL, client_of, recorded, streamed

from db.queries import users

pytestmark = pytest.mark.usefixtures("clients_are_closed")


async def test_an_answer_goes_on_from_an_earlier_one_by_its_id(house: Running, engine: FakeEngine) -> None:
    client = client_of(house)
    first = await client.responses.create(model="ruminate", input="one", instructions="Be brief.")
    second = await client.responses.create(model="ruminate", input="two", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    said = [(message["role"], message["content"]) for message in engine.requests[-1][1]["messages"]]
    answer = engine.text("ruminate-v0")[1]
    assert said == [("user", "one"), ("assistant", answer), ("user", "two")], "instructions hold for one answer"
    events, third = await streamed(client, input="three", previous_response_id=second.id, instructions="Be kind.")
    said = [(message["role"], message["content"]) for message in engine.requests[-1][1]["messages"]]
    assert said[0] == ("system", "Be kind.")
    assert [content for role, content in said if role == "user"] == ["one", "two", "three"]
    rows = recorded(house)
    assert len({row.conversation_id for row in rows}) == 1
    assert third.id == f"resp_{rows[-1].id}"


def reference(item: Any) -> Any:
    return {"type": "item_reference", "id": item.id}


async def test_an_item_can_be_named_in_place_of_its_words(house: Running, engine: FakeEngine) -> None:
    client, asked = client_of(house), {"role": "user", "content": "hello"}
    engine.calls = [("weather", '{"city": "Rome"}'), ("weather", '{"city": "Oslo"}')]
    first = await client.responses.create(model="ruminate", input="hello", tools=[TOOL])  # type: ignore[list-item]
    thought, words, *calls = first.output
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call", "function_call"]
    engine.calls = []
    results = [{"type": "function_call_output", "call_id": f"call-{index}", "output": "sunny"} for index in (0, 1)]
    named: list[Any] = [asked, *map(reference, (thought, words, *calls)), *results]
    in_full: list[Any] = [asked, *(item.to_dict() for item in (words, *calls)), *results]
    sent = []
    for history in (named, in_full, [asked, {"id": words.id}, *map(reference, calls), *results]):
        await client.responses.create(model="ruminate", input=history)
        sent.append(engine.requests[-1][1]["messages"])
    assert sent[0] == sent[1] == sent[2]
    assert [call["function"]["arguments"] for call in sent[0][1]["tool_calls"]] == [
        '{"city": "Rome"}',
        '{"city": "Oslo"}',
    ]
    assert len({row.conversation_id for row in recorded(house)}) == 1, "the history was not found again"


async def test_an_item_that_is_not_there_is_refused(house: Running, engine: FakeEngine) -> None:
    client = client_of(house)
    unkept = await client.responses.create(model="ruminate", input="a secret", store=False)
    engine.calls = [("weather", "{}"), ("weather", "{}")]
    mine = await client.responses.create(model="ruminate", input="one")
    with house.database.transaction() as session:
        _, key = users.create_key(session, users.ensure_user(session, "ann", "user", "train").id)
    asked = len(engine.requests)

    async def refused(who: openai.AsyncOpenAI, item: Any) -> str:
        with pytest.raises(openai.BadRequestError) as error:
            await who.responses.create(model="ruminate", input=[reference(item), {"role": "user", "content": "and?"}])
        assert (error.value.code, error.value.param) == ("item_not_found", "input[0].id")
        return error.value.message

    assert "was not kept" in await refused(client, unkept.output[1])
    assert "is not yours" in await refused(client_of(house, key), mine.output[1])
    assert "2 calls, of which 1 are named" in await refused(client, mine.output[2])
    await house.http.delete("/api/me/data")
    assert "was deleted" in await refused(client, mine.output[1])
    assert len(engine.requests) == asked
    many = [{"type": "item_reference", "id": f"msg_{index}_0"} for index in range(1001)]
    answer = await house.http.post("/v1/responses", json={"model": "ruminate", "input": many})
    assert (answer.status_code, "at most 1000" in answer.text) == (400, True)


async def test_an_id_that_leads_nowhere_is_refused(house: Running, engine: FakeEngine) -> None:
    client = client_of(house)
    unkept = await client.responses.create(model="ruminate", input="a secret", store=False)
    mine = await client.responses.create(model="ruminate", input="one")
    with house.database.transaction() as session:
        ann = users.ensure_user(session, "ann", "user", "train")
        _, key = users.create_key(session, ann.id)
    engine.die_after = 3
    events, broken = await streamed(client, input="two")
    engine.die_after = None
    asked = len(engine.requests)
    for who, name in ((client, unkept.id), (client, "resp_none"), (client_of(house, key), mine.id)):
        with pytest.raises(openai.BadRequestError) as refused:
            await who.responses.create(model="ruminate", input="and?", previous_response_id=name)
        assert (refused.value.code, refused.value.param) == ("previous_response_not_found", "previous_response_id")
    await house.http.delete("/api/me/data")
    with pytest.raises(openai.BadRequestError, match="was deleted"):
        await client.responses.create(model="ruminate", input="and?", previous_response_id=mine.id)
    assert len(engine.requests) == asked
    assert broken.status == "failed"


async def test_a_turn_on_its_way_to_the_database_is_no_lost_one(
    house: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.forms.responses.LOOKS", 3)
    client = client_of(house)
    house.gateway.recorder._down_until = float("inf")  # as if the database took nothing
    first = await client.responses.create(model="ruminate", input="one")
    with pytest.raises(openai.InternalServerError, match="on its way") as later:
        await client.responses.create(model="ruminate", input="two", previous_response_id=first.id)
    assert (later.value.status_code, later.value.response.headers["retry-after"]) == (503, "2")
    with pytest.raises(openai.InternalServerError, match="on its way"):
        await client.responses.create(model="ruminate", input=[reference(first.output[1])])
    house.gateway.recorder._down_until = 0.0
    monkeypatch.setattr("server.forms.responses.LOOKS", 100)
    assert (await client.responses.create(model="ruminate", input="two", previous_response_id=first.id)).output_text
