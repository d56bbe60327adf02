"""Answers that users keep an eye on, over HTTP: their own ones, and only while they allow training."""

import pytest
from support.gateways import Running

from db.queries import users

pytestmark = pytest.mark.usefixtures("kind")  # on SQLite and on PostgreSQL


def join(house: Running, name: str) -> dict[str, str]:
    with house.database.transaction() as session:
        user = users.ensure_user(session, name, "user", "train")
        return {"Authorization": f"Bearer {users.create_key(session, user.id)[1]}"}


async def ask(house: Running, headers: dict[str, str], text: str) -> str:
    wish = {"model": "ruminate", "messages": [{"role": "user", "content": text}]}
    answer = await house.http.post("/v1/chat/completions", json=wish, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-ruminate-generation"])


async def test_a_user_keeps_lists_and_drops_their_own_answers(house: Running) -> None:
    ann, bob = join(house, "ann"), join(house, "bob")
    answer = await ask(house, ann, "hello")
    place = f"/api/generations/{answer}/regression"
    assert (await house.http.put(place, json={"kind": "good"}, headers=bob)).status_code == 404
    assert (await house.http.put(place, json={"kind": "fine"}, headers=ann)).status_code == 400
    for kind in ("good", "never"):
        made = await house.http.put(place, json={"kind": kind}, headers=ann)
        assert (made.status_code, made.json()["kind"]) == (200, kind)
    listed = (await house.http.get("/api/regressions", headers=ann)).json()["data"]
    assert [(one["generation_id"], one["kind"], one["model"]) for one in listed] == [(answer, "never", "ruminate-v0")]
    assert listed[0]["response"]
    talks = (await house.http.get("/api/conversations", headers=ann)).json()["data"]
    assert [one["id"] for one in talks] == [listed[0]["conversation_id"]]
    told = (await house.http.get("/api/me/data", headers=ann)).json()["data"]
    assert [(one["generation_id"], one["kind"]) for one in told[0]["regressions"]] == [(answer, "never")]
    assert (await house.http.get("/api/regressions", headers=bob)).json() == {"data": []}
    assert (await house.http.delete(place, headers=bob)).status_code == 404
    assert (await house.http.delete(place, headers=ann)).status_code == 204
    assert (await house.http.get("/api/regressions", headers=ann)).json() == {"data": []}


async def test_an_opt_out_takes_them_along_and_refuses_new_ones(house: Running) -> None:
    ann = join(house, "ann")
    answer = await ask(house, ann, "hello")
    place = f"/api/generations/{answer}/regression"
    assert (await house.http.put(place, json={"kind": "good"}, headers=ann)).status_code == 200
    assert (await house.http.put("/api/me/consent", json={"consent": "history"}, headers=ann)).status_code == 200
    assert (await house.http.get("/api/regressions", headers=ann)).json() == {"data": []}
    refused = await house.http.put(place, json={"kind": "good"}, headers=ann)
    assert (refused.status_code, "consent is not `train`" in refused.json()["error"]["message"]) == (400, True)
