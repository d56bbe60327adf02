"""Thinking as clients steer and hide it: four dialects with one meaning, and shapes that leave the record alone."""

import json
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from sqlalchemy import select
from support.fake_engine import FakeEngine
from support.gateways import Running, running_gateway

from db.schema import Generation
from server.errors import ApiError
from server.shape import Shape
from server.steering import steer

OFF = {"enable_thinking": False}
ON = {"enable_thinking": True}


def steered(**body: Any) -> dict[str, Any]:
    steer(body)
    return body


@pytest.mark.parametrize(
    "off",
    [
        {"reasoning_effort": "none"},
        {"reasoning": {"effort": "none"}},
        {"reasoning": {"enabled": False}},
        {"reasoning": {"max_tokens": 0}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "high"},
        {"reasoning": {"enabled": False, "effort": "high", "max_tokens": 10}},
        {"chat_template_kwargs": {"enable_thinking": True}, "reasoning": {"enabled": False}},
    ],
)
def test_whoever_says_off_in_any_dialect_turns_thinking_off(off: dict[str, Any]) -> None:
    assert steered(**off) == {"chat_template_kwargs": OFF}


@pytest.mark.parametrize(
    ("wish", "engine"),
    [
        ({}, {}),
        ({"reasoning": None, "reasoning_effort": None, "include_reasoning": True}, {}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low", "chat_template_kwargs": ON}),
        ({"reasoning": {"effort": "high"}}, {"reasoning_effort": "high", "chat_template_kwargs": ON}),
        ({"reasoning": {"enabled": True}}, {"chat_template_kwargs": ON}),
        ({"reasoning": {"max_tokens": 64}}, {"thinking_token_budget": 64}),
        ({"chat_template_kwargs": {"tone": "dry"}}, {"chat_template_kwargs": {"tone": "dry"}}),
    ],
)
def test_the_engine_is_told_in_one_dialect(wish: dict[str, Any], engine: dict[str, Any]) -> None:
    assert steered(**wish) == engine


@pytest.mark.parametrize(
    "wrong",
    [
        {"reasoning_effort": "enormous"},
        {"reasoning_effort": "low", "reasoning": {"effort": "high"}},
        {"thinking_token_budget": 5, "reasoning": {"max_tokens": 6}},
        {"reasoning": "high"},
        {"reasoning": {"exclud": True}},
        {"reasoning": {"max_tokens": -1}},
        {"include_reasoning": "false"},
        {"chat_template_kwargs": {"enable_thinking": "no"}},
        {"chat_template_kwargs": {"chat_template": "x"}},
    ],
)
def test_what_contradicts_itself_or_is_not_known_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        steer(dict(wrong))
    assert refused.value.status == 400
    assert refused.value.param


HIDING = [{"include_reasoning": False}, {"reasoning": {"exclude": True}}]


@pytest.mark.parametrize("hiding", HIDING)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_hidden_thought_is_still_thought_and_recorded(
    house: Running, engine: FakeEngine, hiding: dict[str, Any], stream: bool
) -> None:
    thought, response = engine.text("ruminate-v0")
    answer = await house.chat(
        **hiding, stream=stream, **({"stream_options": {"include_usage": True}} if stream else {})
    )
    assert answer.status_code == 200
    assert "thinks" not in answer.text
    assert "reasoning" not in answer.text.replace("reasoning_tokens", "")
    assert '"reasoning_tokens":3' in answer.text
    if stream:
        assert answer.text.endswith("data: [DONE]\n\n")
        pieces = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        deltas = [choice["delta"] for piece in pieces for choice in piece["choices"]]
        assert "".join(delta.get("content") or "" for delta in deltas) == response
        assert [choice["finish_reason"] for piece in pieces for choice in piece["choices"]][-1] == "stop"
    else:
        assert answer.json()["choices"][0]["message"]["content"] == response
    sent = engine.requests[-1][1]
    assert "include_reasoning" not in sent
    assert "reasoning" not in sent
    with house.database.reading() as session:
        (recorded,) = session.scalars(select(Generation))
    assert (recorded.reasoning, recorded.response, recorded.reasoning_tokens) == (thought, response, 3)


async def test_a_stream_whose_thought_is_hidden_is_not_silent_and_clients_skip_what_it_says(
    house: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.exchange.ALIVE_SECONDS", 0.01)
    engine.delay = 0.05  # events come one by one
    assert ": thinking" in (await house.chat(stream=True, include_reasoning=False)).text
    assert ": thinking" not in (await house.chat(stream=True)).text
    client = openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="none")
    stream = await client.chat.completions.create(
        model="ruminate", messages=[{"role": "user", "content": "hello"}], stream=True,
        extra_body={"include_reasoning": False},
    )  # fmt: skip
    said = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(said) == engine.text("ruminate-v0")[1]


async def test_off_reaches_the_engine_as_its_template_variable(house: Running, engine: FakeEngine) -> None:
    assert (await house.chat(reasoning={"effort": "none"})).status_code == 200
    assert engine.requests[-1][1]["chat_template_kwargs"] == OFF
    refused = await house.chat(reasoning_effort="enormous")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "reasoning_effort")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_setting_serves_older_clients_the_older_name_beside(
    tmp_path: Path, engine: FakeEngine, stream: bool
) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], mirror_reasoning_content=True) as house:
        await house.until_ready()
        answer = await house.chat(stream=stream)
    if stream:
        pieces = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        said = [choice["delta"] for piece in pieces for choice in piece["choices"]]
    else:
        said = [answer.json()["choices"][0]["message"]]
    for name in ("reasoning", "reasoning_content"):
        assert "".join(words.get(name) or "" for words in said) == engine.text("ruminate-v0")[0]


def test_a_hidden_thought_does_not_show_in_log_probabilities_or_token_ids() -> None:
    choice = {"index": 0, "finish_reason": None, "logprobs": {"content": ["secret"]}, "token_ids": [1, 2]}
    thought = {"choices": [choice | {"delta": {"reasoning": "secret", "content": None}}]}
    crossing = {"choices": [choice | {"delta": {"reasoning": "secret", "content": "said"}}]}
    events = b"".join(b"data: " + orjson.dumps(one) + b"\n\n" for one in (thought, crossing))
    (left,) = Shape(hide=True).events(events).split(b"\n\n")[:-1]
    assert orjson.loads(left[6:]) == {"choices": [{"index": 0, "finish_reason": None, "delta": {"content": "said"}}]}
    message = {"choices": [choice | {"message": {"reasoning": "secret", "content": "said"}}]}
    assert b"secret" not in Shape(hide=True).body(orjson.dumps(message))


def test_errors_and_token_counts_pass_a_shape_untouched() -> None:
    passing = b'data: {"error":{"message":"x"}}\n\ndata: {"choices":[],"usage":{}}\n\ndata: [DONE]\n\n: ping\n\n'
    assert Shape(hide=True, mirror=True).events(passing) == passing


async def test_in_zero_mode_every_chat_stops_at_the_closing_tag(tmp_path: Path, engine: FakeEngine) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], thinking_format="zero") as house:
        await house.until_ready()
        engine.finish = ("stop", "</response>")
        assert (await house.chat()).status_code == 200
        assert (await house.chat(stop="END", stream=True)).status_code == 200
        assert (await house.chat(stop=["A", "B"])).status_code == 200
        raw = {"model": "ruminate", "prompt": "hello"}
        assert (await house.http.post("/v1/completions", json=raw)).status_code == 200
        sent = [body.get("stop") for path, body in engine.requests if path.startswith("/v1/c")]
        assert sent == [["</response>"], ["END", "</response>"], ["A", "B", "</response>"], None]
        wish = {"model": "ruminate", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
        answer = (await house.http.post("/v1/messages", json=wish)).json()
        assert (answer["stop_reason"], answer["stop_sequence"]) == ("end_turn", None)
        engine.finish = ("stop", "END")
        answer = (await house.http.post("/v1/messages", json=wish | {"stop_sequences": ["END"]})).json()
        assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "END")
