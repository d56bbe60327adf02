"""The OpenAPI document: every route is in it as it is, and its examples are requests that this gateway answers.

Three tests walk all operations, so that a new route without its statuses, its keys or its examples fails.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from sqlalchemy import select
from support.adapters import add_checkpoint, fake_probe, write_adapter, write_manifest
from support.fake_engine import FakeEngine
from support.gateways import SERVICE_KEY, Running, running_gateway

from db.queries import checkpoints, curation, rounds, users
from db.schema import Message
from db.values import CuratedPrompt
from server.docs_page import FILES
from server.forms.messages_answer import speaks
from server.openapi_examples import EXAMPLES, HOUSE_EXAMPLES, PLAIN
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


OPEN = ("config", "sampling", "metrics", "shown", "manifest", "verdict", "detail")  # whose fields are anybody's


def shape(value: Any) -> Any:
    """Which fields there are, without what is in them: of a list, those of each kind of entry that has any."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items() if name not in OPEN}
    if isinstance(value, list):
        kinds: list[Any] = []
        for one in map(shape, value):
            kinds += [] if one is None or one in kinds else [one]
        return kinds
    return None


def assert_as_told(paths: dict[str, Any], method: str, target: str, answered: Any, answer: httpx.Response) -> None:
    """An answer has the status and the fields of its example, which the document has."""
    path, _, query = target.partition("?")
    status = f"{answer.status_code}"
    assert status in paths[path][method]["responses"], (target, answer.text)
    if answered is None:
        return
    assert answer.is_success, (target, answer.text)
    content = paths[path][method]["responses"][status]["content"]["application/json"]
    assert content["examples"][query or PLAIN]["value"] == answered
    given, expected = shape(answer.json()), shape(answered)
    if path == "/api/me":
        given["key"] = expected["key"]  # the local user has none
    assert given == expected, target


async def test_the_examples_of_the_app_are_what_is_sent_and_what_comes_back(house: Running, tmp_path: Path) -> None:
    paths = (await documented(house))["paths"]
    first = await house.chat("Plan three dinners, no nuts.")
    ids = {"conversation_id": first.headers["x-ruminate-conversation"], "name": "ann", "round_id": "1",
           "generation_id": first.headers["x-ruminate-generation"], "model": "ruminate-v0"}  # fmt: skip
    await house.http.post("/api/admin/users/local/keys", json={"scopes": ["chat"]})
    deployed = {"checkpoint": add_checkpoint(house.database, tmp_path), "reason": "a test"}
    assert (await house.http.post("/api/deployments", json=deployed)).status_code == 200
    place = {"conversation_id": ids["conversation_id"]}
    second = await house.chat("Plan three dinners, no nuts.", ruminate=place)
    own = {"left": ids["generation_id"], "right": second.headers["x-ruminate-generation"]}
    for (method, target), (asked, answered) in EXAMPLES.items():
        path = target.partition("?")[0]
        if "key_id" in path:
            made = await house.http.post("/api/admin/users/ann/keys", json={"scopes": ["chat"]})
            ids["key_id"] = made.json()["id"]
        said = (asked | own) if asked is not None and path == "/api/comparisons" else asked
        answer = await house.http.request(method.upper(), target.format(**ids), json=said)
        assert_as_told(paths, method, target, answered, answer)


async def learnt(house: Running, headers: dict[str, str]) -> str:
    """A round that trained on what a user said, and its checkpoint, which can be deployed. Returns its name."""
    said = [{"role": "user", "content": "Plan three dinners, no nuts."}]
    wish = {"model": "ruminate", "messages": said}
    (await house.http.post(CHAT, json=wish, headers=headers)).raise_for_status()
    with house.database.transaction() as session:
        message = session.scalars(select(Message).where(Message.role == "user")).one()
        ids = (message.id, message.conversation_id, message.user_id)
        prompts = [
            CuratedPrompt(0, "recorded", "train", "kept", "", said, *ids),
            CuratedPrompt(1, "mix", "train", "kept", "", said),
        ]
        round_id = rounds.request_round(session, "grpo", {}, "schedule", reason="nightly").id
        rounds.claim_round(session, "trainer", 60)
        curation.save_prompts(session, round_id, "trainer", prompts)
        rounds.add_metrics(session, round_id, 1, {"reward": 0.25}, owner="trainer")
        row = checkpoints.reserve_checkpoint(session, 0, round_id)
        folder = write_adapter(house.home / "checkpoints" / row.name)
        (folder / "logprob.txt").write_text("-2.0")
        manifest = write_manifest(folder, row.name, fake_probe()) | {"config": {"steps": 20}}
        checkpoints.complete_checkpoint(session, row.id, str(folder), manifest)
        rounds.finish_round(session, round_id, "trainer", "published", verdict={"publish": True}, candidate=row.id)
        return row.name


async def test_the_examples_of_the_house_are_what_is_sent_and_what_comes_back(
    house: Running, engine: FakeEngine, tmp_path: Path
) -> None:
    paths = (await documented(house))["paths"]
    with house.database.transaction() as session:
        ann = users.ensure_user(session, "ann", "user", "train")
        headers = {"Authorization": f"Bearer {users.create_key(session, ann.id)[1]}"}
    trained, another = await learnt(house, headers), add_checkpoint(house.database, tmp_path)
    step = str(write_adapter(tmp_path / "step"))
    second = FakeEngine()
    await second.start()
    own: dict[str, Any] = {
        "/api/deployments": {"checkpoint": trained, "expected_live": "v0"}, "/api/admin/engines": {"url": second.url},
        "/internal/adapters": {"path": step}, "/internal/deploy": {"checkpoint": another, "expected_live": "v0"},
    }  # fmt: skip
    ids = {"round_id": "1"}
    for (method, target), (asked, answered) in HOUSE_EXAMPLES.items():
        ids["name"] = "ann" if "users" in target else trained
        said = None if asked is None else asked | own.get(target, {})
        client = house.service if target.startswith("/internal") else house.http
        answer = await client.request(method.upper(), target.format(**ids), json=said)
        assert_as_told(paths, method, target, answered, answer)
        if (method, target) == ("post", "/api/deployments"):
            words = {"model": "ruminate", "messages": [{"role": "user", "content": "Plan three dinners, no nuts."}]}
            chat = await house.http.post(CHAT, json=words, headers=headers)
            assert chat.headers["x-ruminate-checkpoint"] == trained
            ids["generation_id"] = chat.headers["x-ruminate-generation"]
            with house.database.reading() as session:
                learnt_from = select(Message.conversation_id).where(Message.role == "user").order_by(Message.id)
                ids["conversation_id"] = session.scalars(learnt_from).first() or ""
    lines = {"model": "ruminate-v0", "prompts": [[1]], "max_tokens": 1, "stream": True}
    line = await house.service.post("/internal/sample", json=lines)
    told = paths["/internal/sample"]["post"]["responses"]["200"]["content"]["application/x-ndjson"]["example"]
    assert shape(line.json()) == shape(json.loads(told))
    await second.stop()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, found in document["paths"].items():
        for method, operation in found.items():
            yield method, path, operation


def told(content: dict[str, Any]) -> list[Any]:
    """The values of the examples of a body."""
    return (
        [content["example"]] if "example" in content else [one["value"] for one in content.get("examples", {}).values()]
    )


async def test_every_operation_has_an_example_of_all_that_it_takes_and_gives(house: Running) -> None:
    for method, path, operation in operations(await documented(house)):
        bodies = {"the request": operation["requestBody"]} if "requestBody" in operation else {}
        for name, body in (bodies | operation["responses"]).items():
            if name == "204":
                assert "content" not in body
                continue
            assert body["content"], (method, path, name)
            for kind, content in body["content"].items():
                assert told(content), f"{method} {path}: no example of {name} as {kind}"


async def test_every_refusal_is_in_the_form_of_its_route(house: Running) -> None:
    document = await documented(house)
    assert "HTTPValidationError" not in json.dumps(document)
    for method, path, operation in operations(document):
        name = "AnthropicError" if speaks(path) else "Error"
        assert "500" in operation["responses"], (method, path)
        for status, response in operation["responses"].items():
            if status < "400" or path == "/health" and status == "503":
                continue
            content = response["content"]["application/json"]
            assert content["schema"]["$ref"] == f"#/components/schemas/{name}", (method, path, status)
            for example in told(content):
                jsonschema.validate(example, document["components"]["schemas"][name])


async def test_every_operation_refuses_what_it_says_with_the_keys_that_it_says(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with running_gateway(tmp_path / "home", [engine.url], loopback_without_key=False) as house:
        await house.until_ready()
        document = await documented(house)
        keys = {"admin": (tmp_path / "home" / "admin.key").read_text().strip(), "service": SERVICE_KEY}
        with house.database.transaction() as session:
            for scope in ("chat", "app"):
                user = users.ensure_user(session, scope, "user", "train")
                keys[scope] = users.create_key(session, user.id, [scope])[1]

        async def ask(key: str | None, method: str, path: str, **more: Any) -> httpx.Response:
            headers = {} if key is None else {"Authorization": f"Bearer {keys[key]}"}
            url = re.sub("{(.*?)}", lambda found: "1" if found[1] == "round_id" else "nobody", path)
            answer = await house.http.request(method.upper(), url, headers=headers, **more)
            told = document["paths"][path][method]["responses"]
            assert f"{answer.status_code}" in told, f"{method} {path} by {key}: {answer.status_code} {answer.text}"
            if answer.status_code >= 400:
                name = "AnthropicError" if speaks(path) else "Error"
                jsonschema.validate(answer.json(), document["components"]["schemas"][name])
            return answer

        for method, path, operation in operations(document):
            schemes = [name for one in operation["security"] for name in one]
            free = {} in operation["security"] or not operation["security"]
            assert free == (path in ("/health", "/metrics")), f"{method} {path} is open to anybody"
            assert ((await ask(None, method, path)).status_code != 401) == free, (method, path)
            if "bearer" in schemes:
                stranger = await ask("chat" if path.startswith("/api") else "app", method, path)
                assert stranger.status_code == 403, (method, path)
                assert {"bearer": []} in operation["security"]
                assert {"x-api-key": []} in operation["security"]
            elif not free:
                assert (await ask("admin", method, path)).status_code == 401, (method, path)
            if "service" in schemes and not free:
                assert (await ask("service", method, path)).status_code not in (401, 403), (method, path)
            key = "admin" if "bearer" in schemes else "service"
            if "requestBody" in operation:
                assert (await ask(key, method, path, content=b"[]")).status_code == 400, (method, path)
            elif (method, path) != ("delete", "/api/me/data"):
                assert (await ask(key, method, path)).status_code not in (401, 403), (method, path)


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
        (example,) = told(found["413"]["content"]["application/json"])
        assert shape(example) == shape(large.json())
        assert example["error"]["type"] == large.json()["error"]["type"]
