"""Values that an engine would read in another way than the gateway are refused, in every form of a chat."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway

from server.asking import MOST_DEEP, PATHS, understand
from server.errors import ApiError

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (PATHS["chat"], {"messages": [{"role": "user", "content": "hello"}]}),
    "text": (PATHS["text"], {"prompt": "hello"}),
    "responses": ("/v1/responses", {"input": "hello"}),
    "messages": ("/v1/messages", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 64}),
}


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("chat", {"max_tokens": "16"}, "max_tokens"),
    ("chat", {"max_completion_tokens": 16.0}, "max_completion_tokens"),
    ("chat", {"thinking_token_budget": "0"}, "thinking_token_budget"),
    ("chat", {"reasoning": {"max_tokens": "0"}}, "reasoning.max_tokens"),
    ("chat", {"include_reasoning": 0}, "include_reasoning"),
    ("chat", {"stream": True, "stream_options": {"include_usage": "false"}}, "stream_options.include_usage"),
    ("chat", {"store": 0}, "store"),
    ("chat", {"store": "false"}, "store"),
    ("text", {"max_tokens": True}, "max_tokens"),
    ("responses", {"max_output_tokens": "16"}, "max_output_tokens"),
    ("responses", {"store": "false"}, "store"),
    ("messages", {"max_tokens": "64"}, "max_tokens"),
    ("messages", {"thinking": {"type": "enabled", "budget_tokens": "8"}}, "thinking.budget_tokens"),
]


async def test_a_stream_is_asked_for_by_true_and_nothing_else(house: Running, engine: FakeEngine) -> None:
    for form, (path, body) in FORMS.items():
        for value in (1, 0, "true", "false", 1.0, []):
            refused = await house.http.post(path, json={"model": "ruminate", **body, "stream": value})
            assert refused.status_code == 400, (form, value)
            assert refused.json()["error"]["message"] == f"stream is {value!r}; expected true or false"
    assert engine.requests == []


async def test_no_way_of_writing_a_number_of_choices_passes_the_limit(engine: FakeEngine, tmp_path: Path) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], max_choices=4) as house:
        await house.until_ready()
        for path, body in (FORMS["chat"], FORMS["text"]):
            for value in ("1000", 16.0, True, [2], 5):
                refused = await house.http.post(path, json={"model": "ruminate", **body, "n": value})
                assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n"), value
            assert engine.requests == []
            for value in (4, None):
                given = await house.http.post(path, json={"model": "ruminate", **body, "n": value})
                assert given.status_code == 200
            engine.requests.clear()


async def test_numbers_and_switches_that_the_gateway_reads_are_what_they_should_be(
    house: Running, engine: FakeEngine
) -> None:
    for form, more, param in WRONG:
        path, body = FORMS[form]
        refused = await house.http.post(path, json={"model": "ruminate", **body, **more})
        assert refused.status_code == 400, more
        assert param in str(refused.json()["error"]), more
    assert engine.requests == []


def test_what_is_null_says_nothing() -> None:
    body = {"model": "ruminate", **FORMS["chat"][1]}
    nothing = dict.fromkeys(("stream", "n", "max_tokens", "store", "thinking_token_budget", "include_reasoning"))
    ask = understand("chat", body | nothing, {})
    assert (ask.stream, ask.choices, ask.consent, ask.hides_thought) == (False, 1, None, False)
    with pytest.raises(ApiError, match="n is 2.0; expected a whole number"):
        understand("chat", body | {"n": 2.0}, {})


async def test_a_body_is_nested_as_deep_as_it_can_be_written_again(house: Running, engine: FakeEngine) -> None:
    def nested(levels: int) -> Any:
        inner: Any = 1
        for _ in range(levels):
            inner = [inner]
        return inner

    for path, body in (*FORMS.values(), ("/tokenize", {"prompt": "hello"})):
        given = {"model": "ruminate", **body}
        taken = await house.http.post(path, json=given | {"more": nested(MOST_DEEP - 1)})
        assert taken.status_code == 200, (path, taken.text)
        engine.requests.clear()
        for levels in (MOST_DEEP, 300, 900):
            refused = await house.http.post(path, json=given | {"more": nested(levels)})
            assert refused.status_code == 400, (path, levels)
            assert "nested more than 200 levels" in refused.json()["error"]["message"]
        assert engine.requests == []


async def test_the_engine_knows_a_developer_as_the_system(house: Running, engine: FakeEngine) -> None:
    messages = [{"role": "developer", "content": "be brief", "name": "d"}, {"role": "user", "content": "hello"}]
    answer = await house.http.post(PATHS["chat"], json={"model": "ruminate", "messages": messages})
    assert answer.status_code == 200
    assert engine.requests[-1][1]["messages"] == [messages[0] | {"role": "system"}, messages[1]]


async def test_a_body_that_comes_packed_is_refused_in_words(house: Running, engine: FakeEngine) -> None:
    for path, body in (*FORMS.values(), ("/tokenize", {"prompt": "hello"})):
        raw = json.dumps({"model": "ruminate", **body}).encode()
        packed = await house.http.post(path, content=gzip.compress(raw), headers={"Content-Encoding": "gzip"})
        assert packed.status_code == 400, path
        assert "comes as 'gzip'" in packed.json()["error"]["message"], path
        assert engine.requests == []
    plain = await house.http.post(path, content=raw, headers={"Content-Encoding": "identity"})
    assert plain.status_code == 200
