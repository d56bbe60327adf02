"""LangChain's chat model as a client, over chat completions and over Responses."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessageChunk, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running

from db.schema import Generation

ASKED = [SystemMessage("Be brief."), HumanMessage("hello")]


def model_of(house: Running, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model="ruminate", base_url=f"{house.url}/v1", api_key="none", max_retries=0, **more)


def recorded(house: Running) -> list[Generation]:
    with house.database.reading() as session:
        return list(session.scalars(select(Generation).order_by(Generation.id)))


async def test_a_chat_is_answered_whole_and_in_pieces_and_goes_on(house: Running, engine: FakeEngine) -> None:
    model = model_of(house, temperature=0.5)
    answer = await model.ainvoke(ASKED)
    assert answer.content == engine.text("ruminate-v0")[1]
    assert answer.usage_metadata["output_token_details"] == {"reasoning": 3}
    assert "".join([str(chunk.content) async for chunk in model.astream(ASKED)]) == answer.content
    await model.ainvoke([*ASKED, answer, HumanMessage("more")])
    rows = recorded(house)
    assert [row.response for row in rows] == [answer.content] * 3
    assert rows[2].conversation_id in (rows[0].conversation_id, rows[1].conversation_id)


async def test_responses_give_it_the_thought_and_go_on_by_id(house: Running, engine: FakeEngine) -> None:
    thought, said = engine.text("ruminate-v0")
    model = model_of(house, use_responses_api=True, use_previous_response_id=True, reasoning={"effort": "low"})
    answer = await model.ainvoke(ASKED)
    assert answer.text == said
    (reasoning,) = (block for block in answer.content if isinstance(block, dict) and block["type"] == "reasoning")
    assert reasoning["content"][0]["text"] == thought
    whole: BaseMessageChunk | None = None
    async for chunk in model.astream(ASKED):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert whole.text == said
    assert isinstance(answer, AIMessage)
    await model.ainvoke([*ASKED, answer, HumanMessage("more")])
    sent = [(message["role"], message["content"]) for message in engine.requests[-1][1]["messages"]]
    assert sent == [("system", "Be brief."), ("user", "hello"), ("assistant", said), ("user", "more")]
    assert engine.requests[-1][1]["reasoning_effort"] == "low"


@pytest.mark.parametrize("responses", [False, True])
async def test_tools_and_structure_are_asked_for_in_its_way(
    house: Running, engine: FakeEngine, responses: bool
) -> None:
    def weather(city: str) -> str:
        """Tells the weather."""
        return city

    engine.calls = [("weather", '{"city": "Rome"}')]
    model = model_of(house, use_responses_api=responses).bind_tools([weather], tool_choice="weather")
    answer = await model.ainvoke("hello")
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("weather", {"city": "Rome"})]
    assert engine.requests[-1][1]["tools"][0]["function"]["name"] == "weather"
