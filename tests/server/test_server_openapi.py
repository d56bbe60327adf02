"""The OpenAPI document: the chat routes are in it, and its examples are requests that this gateway answers."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.adapters import add_checkpoint
from support.fake_engine import FakeEngine
from support.gateways import Running

from server.docs_page import FILES
from server.openapi_examples import EXAMPLES, PLAIN
from server.steering import EFFORTS

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"


async def documented(house: Running) -> dict[str, Any]:
    answer = await house.http.get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def body(document: dict[str, Any], path: str) -> dict[str, Any]:
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]


async def test_the_chat_routes_stand_beside_the_others(house: Running) -> None:
    await documented(house)
    paths = (await documented(house))["paths"]  # asked twice: what is added once stays
    for path in (
        CHAT,
        TEXT,
        RESPONSES,
        MESSAGES,
        "/tokenize",
        "/v1/embeddings",
        "/v1/models",
        "/api/me",
        "/api/admin/users",
        "/metrics",
    ):
        assert path in paths, path
    assert "/health" in paths


async def test_every_example_fits_its_schema_and_is_answered(house: Running, engine: FakeEngine) -> None:
    document = await documented(house)
    for path in (CHAT, TEXT, RESPONSES, MESSAGES):
        content = body(document, path)
        jsonschema.Draft202012Validator.check_schema(content["schema"])
        for name, example in content["examples"].items():
            jsonschema.validate(example["value"], content["schema"])
            wish = example["value"] | ({"model": "ruminate"} if name == "pinned" else {})
            answer = await house.http.post(path, json=wish)
            assert answer.status_code == 200, (name, answer.text)


OPEN = ("config", "sampling", "metrics", "shown")  # whose fields are anybody's


def shape(value: Any) -> Any:
    """Which fields there are, without what is in them: of a list, those of each kind of entry."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items() if name not in OPEN}
    if isinstance(value, list):
        kinds: list[Any] = []
        for one in map(shape, value):
            kinds += [] if one in kinds else [one]
        return kinds
    return None


async def test_the_examples_of_the_app_are_what_is_sent_and_what_comes_back(house: Running, tmp_path: Path) -> None:
    paths = (await documented(house))["paths"]
    first = await house.chat("Plan three dinners, no nuts.")
    ids = {"conversation_id": first.headers["x-ruminate-conversation"], "name": "ann", "round_id": "1",
           "generation_id": first.headers["x-ruminate-generation"]}  # fmt: skip
    deployed = {"checkpoint": add_checkpoint(house.database, tmp_path), "reason": "a test"}
    assert (await house.http.post("/api/deployments", json=deployed)).status_code == 200
    place = {"conversation_id": ids["conversation_id"]}
    second = await house.chat("Plan three dinners, no nuts.", ruminate=place)
    own = {"left": ids["generation_id"], "right": second.headers["x-ruminate-generation"]}
    for (method, target), (asked, answered) in EXAMPLES.items():
        path, _, query = target.partition("?")
        route = paths[path][method]
        if "key_id" in path:
            made = await house.http.post("/api/admin/users/ann/keys", json={"scopes": ["chat"]})
            ids["key_id"] = made.json()["id"]
        said = (asked | own) if asked is not None and path == "/api/comparisons" else asked
        answer = await house.http.request(method.upper(), target.format(**ids), json=said)
        assert answer.is_success, (target, answer.text)
        assert f"{answer.status_code}" in route["responses"], (target, answer.text)
        content = route["responses"][f"{answer.status_code}"]["content"]["application/json"]
        assert content["examples"][query or PLAIN]["value"] == answered
        given, expected = shape(answer.json()), shape(answered)
        if path == "/api/me":
            given["key"] = expected["key"]  # the local user has none
        assert given == expected, target


async def test_docs_are_a_page_of_this_machine(house: Running) -> None:
    page = (await house.http.get("/docs")).text
    assert re.findall(r"(?:src|href)=\"([^\"]+)\"", page) == [
        "docs/swagger-ui.css", "docs/favicon-32x32.png", "docs/swagger-ui-bundle.js",
    ]  # fmt: skip
    for name, kind in FILES.items():
        answer = await house.http.get(f"/docs/{name}")
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, kind)
    assert (await house.http.get("/docs/main.py")).status_code == 404


async def test_what_a_schema_forbids_the_gateway_refuses(house: Running) -> None:
    schema = body(await documented(house), CHAT)["schema"]
    good = {"model": "ruminate", "messages": [{"role": "user", "content": "hello"}]}
    for wrong in (
        {"reasoning": {"exclud": True}},
        {"reasoning_effort": "enormous"},
        {"ruminate": {"consent": "maybe"}},
        {"messages": []},
        {"include_reasoning": "no"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(good | wrong, schema)
        assert (await house.http.post(CHAT, json=good | wrong)).status_code == 400, wrong
    for effort in EFFORTS:
        jsonschema.validate(good | {"reasoning_effort": effort}, schema)


async def test_what_the_newer_schemas_forbid_the_gateway_refuses(house: Running) -> None:
    document = await documented(house)
    said = {"model": "ruminate", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]}
    for path, good, wrong in (
        (RESPONSES, {"model": "ruminate", "input": "x"}, {"input": []}),
        (RESPONSES, {"model": "ruminate", "input": "x"}, {"reasoning": {"effort": "enormous"}}),
        (RESPONSES, {"model": "ruminate", "input": "x"}, {"background": True}),
        (RESPONSES, {"model": "ruminate", "input": "x"}, {"truncation": "auto"}),
        (MESSAGES, said, {"messages": []}),
        (MESSAGES, said, {"messages": [{"role": "robot", "content": "x"}]}),
        (MESSAGES, said, {"thinking": {"type": "sometimes"}}),
        (MESSAGES, said, {"thinking": {"type": "adaptive", "display": "loud"}}),
        (MESSAGES, said, {"output_config": {"effort": "enormous"}}),
    ):
        schema = body(document, path)["schema"]
        jsonschema.validate(good, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(good | wrong, schema)
        assert (await house.http.post(path, json=good | wrong)).status_code == 400, wrong


async def test_errors_are_documented_in_the_form_that_they_have(house: Running) -> None:
    document = await documented(house)
    for path, name in ((CHAT, "Error"), (RESPONSES, "Error"), (MESSAGES, "AnthropicError")):
        schema = document["components"]["schemas"][name]
        responses = document["paths"][path]["post"]["responses"]
        for status in ("400", "401", "403", "404", "409", "429", "503"):
            content = responses[status]["content"]["application/json"]
            assert content["schema"]["$ref"].endswith(f"/{name}")
            jsonschema.validate(content["example"], schema)
        said = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
        wish = {"model": "gpt-4"} | ({"input": "x"} if path == RESPONSES else said)
        refused = await house.http.post(path, json=wish)
        assert refused.status_code == 404
        jsonschema.validate(refused.json(), schema)


async def test_every_status_that_a_refused_chat_has_is_documented_with_an_example(house: Running) -> None:
    paths = (await documented(house))["paths"]
    for path in (CHAT, TEXT, RESPONSES, MESSAGES):
        found = paths[path]["post"]["responses"]
        assert {"400", "401", "403", "404", "409", "413", "429", "502", "503"} <= found.keys()
        large = await house.http.post(path, content=b" " * (8 * 1024 * 1024 + 1))
        assert large.status_code == 413
        example = found["413"]["content"]["application/json"]["example"]
        assert shape(example) == shape(large.json())
        assert example["error"]["type"] == large.json()["error"]["type"]
