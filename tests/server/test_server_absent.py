"""Routes of OpenAI's and Anthropic's APIs that are absent by choice, as their own clients meet them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import openai
import pytest
from support.gateways import Running

GPT, CLAUDE = openai.AsyncOpenAI, anthropic.AsyncAnthropic
GONE: dict[str, Callable[[GPT], Awaitable[Any]]] = {
    "GET /v1/responses/resp_1": lambda gpt: gpt.responses.retrieve("resp_1"),
    "DELETE /v1/responses/resp_1": lambda gpt: gpt.responses.delete("resp_1"),
    "POST /v1/responses/resp_1/cancel": lambda gpt: gpt.responses.cancel("resp_1"),
    "GET /v1/responses/resp_1/input_items": lambda gpt: gpt.responses.input_items.list("resp_1"),
    "GET /v1/chat/completions": lambda gpt: gpt.chat.completions.list(),
    "GET /v1/chat/completions/chatcmpl-1": lambda gpt: gpt.chat.completions.retrieve("chatcmpl-1"),
    "POST /v1/chat/completions/chatcmpl-1": lambda gpt: gpt.chat.completions.update("chatcmpl-1", metadata={}),
    "DELETE /v1/chat/completions/chatcmpl-1": lambda gpt: gpt.chat.completions.delete("chatcmpl-1"),
    "GET /v1/chat/completions/chatcmpl-1/messages": lambda gpt: gpt.chat.completions.messages.list("chatcmpl-1"),
}
BATCHES: dict[str, Callable[[CLAUDE], Awaitable[Any]]] = {
    "POST /v1/messages/batches": lambda claude: claude.messages.batches.create(requests=[]),
    "GET /v1/messages/batches": lambda claude: claude.messages.batches.list(),
    "GET /v1/messages/batches/b_1": lambda claude: claude.messages.batches.retrieve("b_1"),
    "POST /v1/messages/batches/b_1/cancel": lambda claude: claude.messages.batches.cancel("b_1"),
    "DELETE /v1/messages/batches/b_1": lambda claude: claude.messages.batches.delete("b_1"),
}


@pytest.fixture
async def gpt(house: Running) -> AsyncIterator[GPT]:
    async with GPT(base_url=f"{house.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(house: Running) -> AsyncIterator[CLAUDE]:
    async with CLAUDE(base_url=house.url, api_key="none", max_retries=0) as client:
        yield client


async def test_what_is_absent_by_choice_says_so_and_what_to_do_instead(gpt: GPT, claude: CLAUDE) -> None:
    for what, ask in GONE.items():
        with pytest.raises(openai.NotFoundError) as gone:
            await ask(gpt)
        assert gone.value.code == "unsupported_endpoint"
        assert f"there is no {what} here: " in gone.value.message
    for what, begin in BATCHES.items():
        with pytest.raises(anthropic.NotFoundError) as absent:
            await begin(claude)
        assert isinstance(absent.value.body, dict)
        error = absent.value.body["error"]
        assert (error["type"], error["code"]) == ("not_found_error", "unsupported_endpoint")
        assert f"there is no {what} here: " in error["message"]


async def test_an_answers_events_are_not_taken_for_what_is_absent(house: Running) -> None:
    answer = await house.http.get("/v1/chat/completions/nothing/events")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert (await house.http.get("/v1/responses")).status_code == 405


async def test_anthropics_client_finds_the_models_by_id_in_the_one_form_that_there_is(claude: CLAUDE) -> None:
    assert [one.id async for one in claude.models.list()] == ["ruminate", "ruminate-v0"]
