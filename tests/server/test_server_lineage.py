"""Who learnt from whom, told and undone: stories of checkpoints, and forgetting down to the bytes on disk."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select
from support.adapters import add_checkpoint
from support.fake_engine import FakeEngine
from support.gateways import Running
from support.records import a_turn, its_end

from db.queries import checkpoints, curation, lessons, replays, rounds, turns, users
from db.schema import Base, Message, User
from db.values import Completion, CuratedPrompt, Turn
from server.journal import Journal
from server.spool import Spool

SECRET = b"xylophone"
WORDS = [{"role": "user", "content": "my xylophone"}]
MORE = [{"role": "user", "content": "a kazoo"}]

pytestmark = pytest.mark.usefixtures("kind")  # on SQLite and on PostgreSQL


async def taught(house: Running, name: str, headers: dict[str, str]) -> tuple[str, str]:
    """A user who said something, and a checkpoint of a round that trained on it. Returns conversation, checkpoint."""
    answer = await house.http.post(
        "/v1/chat/completions", json={"model": "ruminate", "messages": WORDS}, headers=headers
    )
    conversation = answer.headers["x-ruminate-conversation"]
    with house.database.transaction() as session:
        message = session.scalars(
            select(Message).where(Message.conversation_id == conversation, Message.role == "user")
        ).one()
        round_id = rounds.request_round(session, "grpo", {}, "schedule", reason="nightly").id
        rounds.claim_round(session, "trainer", 60)
        ids = (message.id, conversation, message.user_id)
        curation.save_prompts(
            session, round_id, "trainer",
            [CuratedPrompt(0, "recorded", "train", "kept", "", WORDS, *ids),
             CuratedPrompt(1, "mix", "train", "kept", "", [{"role": "user", "content": "mixed"}]),
             CuratedPrompt(2, "mix", "train", "left", "", [{"role": "user", "content": "spare"}])],
        )  # fmt: skip
        for step, reward in ((1, 0.25), (2, 0.75)):
            rounds.add_metrics(session, round_id, step, {"reward": reward}, owner="trainer")
        row = checkpoints.reserve_checkpoint(session, 0, round_id)
        manifest = {"config": {"steps": 2, "seed": round_id}, "base": {"name": "policy"}}
        checkpoints.complete_checkpoint(session, row.id, str(house.home / "checkpoints" / row.name), manifest)
        checkpoints.set_state(session, row.id, "published")
        verdict = {"publish": True, "words": "published: it wins", "checks": []}
        rounds.finish_round(session, round_id, "trainer", "published", verdict=verdict, candidate=row.id)
        return conversation, row.name


def join(house: Running, name: str, role: str = "user") -> dict[str, str]:
    with house.database.transaction() as session:
        user = users.ensure_user(session, name, role, "train")
        return {"Authorization": f"Bearer {users.create_key(session, user.id)[1]}"}


async def test_a_checkpoint_tells_its_story(house: Running) -> None:
    _, name = await taught(house, "ann", join(house, "ann"))
    told = (await house.http.get(f"/api/checkpoints/{name}/story")).json()
    assert (told["parent"], told["lineage"]) == ("v0", [name, "v0"])
    assert (told["round"]["id"], told["round"]["reason"]) == (1, "nightly")
    assert told["changed"]["steps"] == {"parent": None, "own": 2}
    assert told["verdict"]["words"] == "published: it wins"
    assert told["prompts"] == {"recorded": 1, "mix": 1, "erased": 0}
    assert told["metrics"] == {"reward": [0.25, 0.75]}
    assert SECRET.decode() not in str(told)
    assert (await house.http.get("/api/checkpoints/v9/story")).status_code == 404
    base = (await house.http.get("/api/checkpoints/v0/story")).json()
    assert (base["round"], base["parent"], base["prompts"]) == (None, None, {})


async def test_who_learnt_is_told_to_administrators_and_of_a_conversation_to_whoever_had_it(house: Running) -> None:
    ann, bob = join(house, "ann"), join(house, "bob")
    conversation, name = await taught(house, "ann", ann)
    for query in ({"user": "ann"}, {"conversation": conversation}):
        found = (await house.http.get("/api/lineage", params=query)).json()
        assert [one["name"] for one in found["learnt"]] == [name]
        assert found["last_clean"] == "v0"
        for key, status in ((ann, 200), (bob, 404)) if "conversation" in query else ((ann, 403), (bob, 403)):
            told = await house.http.get("/api/lineage", params=query, headers=key)
            assert told.status_code == status
            assert status != 200 or told.json() == found
    unknown = await house.http.get("/api/lineage", params={"conversation": "nothing"}, headers=bob)
    others = await house.http.get("/api/lineage", params={"conversation": conversation}, headers=bob)
    assert unknown.text.replace("nothing", conversation) == others.text, "nothing tells that there is one"
    assert (await house.http.post("/api/forget", json={"user": "ann"}, headers=ann)).status_code == 403
    for query, status in (({}, 400), ({"user": "ann", "conversation": "x"}, 400), ({"user": "nobody"}, 404)):
        assert (await house.http.get("/api/lineage", params=query)).status_code == status
        assert (await house.http.post("/api/forget", json=query)).status_code == status


async def test_an_answer_leads_to_its_checkpoint_and_what_that_learnt_from(house: Running) -> None:
    ann, bob = join(house, "ann"), join(house, "bob")
    _, name = await taught(house, "ann", ann)
    with house.database.transaction() as session:
        user = users.ensure_user(session, "ann", "user", "train").id
        made = checkpoints.find_checkpoint(session, name)
        assert made is not None
        turn = a_turn(user, WORDS, checkpoint_id=made.id, model=f"ruminate-{name}")
        turns.record_turn(session, turn, its_end(turn))
    path = f"/api/generations/{turn.generation_id}/lineage"
    told = (await house.http.get(path, headers=ann)).json()
    assert (told["generation_id"], told["model"]) == (turn.generation_id, f"ruminate-{name}")
    newest, base = told["lineage"]
    assert (newest["name"], newest["round"], newest["algorithm"]) == (name, 1, "grpo")
    assert newest["prompts"] == {"recorded": 1, "mix": 1, "erased": 0}
    assert (base["name"], base["round"], base["prompts"]) == ("v0", None, {})
    assert SECRET.decode() not in str(told)
    assert (await house.http.get(path)).json() == told, "an administrator may look"
    assert (await house.http.get(path, headers=bob)).status_code == 404
    assert (await house.http.get("/api/generations/nothing/lineage")).status_code == 404


async def test_a_conversation_leads_to_the_checkpoints_that_learnt_from_it_for_whoever_had_it(house: Running) -> None:
    ann, bob = join(house, "ann"), join(house, "bob")
    conversation, name = await taught(house, "ann", ann)
    path = f"/api/conversations/{conversation}/lineage"
    answer = await house.http.get(path, headers=ann)
    told = answer.json()
    (learnt,) = told["learnt"]
    assert (learnt["name"], learnt["state"], learnt["round"], learnt["directly"]) == (name, "published", 1, True)
    assert told["prompts"] == {"trained": 1, "heldout": 0, "left": 0}
    assert (told["open_round"], told["may_train"], told["conversation_id"]) == (None, True, conversation)
    assert SECRET not in answer.content
    assert (await house.http.get(path)).json() == told, "an administrator may look"
    assert (await house.http.get(path, headers=bob)).status_code == 404
    assert (await house.http.put("/api/me/consent", json={"consent": "history"}, headers=ann)).status_code == 200
    after = (await house.http.get(path, headers=ann)).json()
    assert after == told | {"may_train": False}
    assert (await house.http.delete(f"/api/conversations/{conversation}", headers=ann)).status_code == 200
    assert (await house.http.get(path, headers=ann)).status_code == 404


async def test_of_a_forgotten_user_no_row_and_no_byte_is_left_but_ids(house: Running) -> None:
    ann, bob = join(house, "ann"), join(house, "bob")
    conversation, name = await taught(house, "ann", ann)
    (await house.http.post("/v1/chat/completions", json={"model": "ruminate", "messages": [
        {"role": "user", "content": "a kazoo"}]}, headers=bob)).raise_for_status()  # fmt: skip
    with house.database.reading() as session:
        user_id = session.scalars(select(Message.user_id).where(Message.conversation_id == conversation)).first()
    now = datetime.now(UTC)
    late = Turn("late", "late", str(user_id), WORDS, 0, "ruminate-v0", now, consent="train")
    end = Completion("late", "", "xylophone", "complete", now)
    house.gateway.recorder._down_until = float("inf")  # as if the database were down: the spool is not replayed
    house.gateway.spool.append([(late, end)])
    gone = house.home / "spool" / "gateway-1"  # a gateway that was killed while it answered
    Spool(gone).append([(late, end)])
    left = Journal(gone)
    left.start()
    left.begin(late)
    assert words_in(house.home)
    told = (await house.http.post("/api/forget", json={"user": "ann"})).json()
    assert (told["deleted"]["messages"], told["deleted"]["keys"], told["deleted"]["spooled"]) == (2, 1, 3)
    assert ([one["name"] for one in told["learnt"]], told["last_clean"]) == ([name], "v0")
    assert words_in(house.home) == []
    with house.database.reading() as session:
        rows = {
            table.name: sum(str(user_id) in repr(tuple(row)) for row in session.execute(select(table)))
            for table in Base.metadata.sorted_tables
        }
        assert session.scalar(select(func.count()).select_from(Message)) == 2, "bob's question and its answer"
    assert {table: count for table, count in rows.items() if count} == {
        "users": 1, "conversations": 1, "round_prompts": 1, "audit": 1,
    }  # fmt: skip
    refused = await house.http.get("/api/me/consent", headers=ann)
    assert refused.status_code in (401, 404)
    again = (await house.http.post("/api/forget", json={"user": str(user_id)})).json()
    assert (again["deleted"]["messages"], [one["name"] for one in again["learnt"]]) == (0, [name])


async def test_a_forgotten_conversation_leaves_the_others(house: Running) -> None:
    ann = join(house, "ann")
    conversation, name = await taught(house, "ann", ann)
    (await house.http.post("/v1/chat/completions", json={"model": "ruminate", "messages": [
        {"role": "user", "content": "a kazoo"}]}, headers=ann)).raise_for_status()  # fmt: skip
    told = (await house.http.post("/api/forget", json={"conversation": conversation})).json()
    assert [one["name"] for one in told["learnt"]] == [name]
    assert words_in(house.home) == []
    listed = (await house.http.get("/api/conversations", headers=ann)).json()["data"]
    assert len(listed) == 1


async def test_the_keyless_user_of_this_machine_loses_their_words_and_goes_on(house: Running) -> None:
    await house.chat("my xylophone")
    assert (await house.http.post("/api/forget", json={"user": "local"})).json()["deleted"]["messages"] == 2
    assert words_in(house.home) == []
    after = await house.chat("a kazoo")
    place = after.headers["x-ruminate-conversation"]
    assert len((await house.http.get(f"/api/conversations/{place}")).json()["messages"]) == 2


async def test_the_last_clean_checkpoint_has_files_and_passed_its_gate(house: Running) -> None:
    clean = add_checkpoint(house.database, house.home)
    with house.database.transaction() as session:
        checkpoints.set_state(session, 1, "published")
    await taught(house, "ann", join(house, "ann"))
    add_checkpoint(house.database, house.home)  # younger and clean, but only a candidate
    assert (await house.http.get("/api/lineage", params={"user": "ann"})).json()["last_clean"] == clean


async def test_a_rebuild_takes_back_what_learnt_and_names_the_rounds_to_be_done_again(house: Running) -> None:
    clean = add_checkpoint(house.database, house.home)
    assert (await house.service.post("/internal/deploy", json={"checkpoint": clean})).status_code == 200
    tainted = await learnt_by(house, "ann")
    child = await learnt_by(house, "bob")
    assert house.gateway.catalog.live is not None
    assert house.gateway.catalog.live.name == child
    told = (await house.http.post("/api/forget", json={"user": "ann", "rebuild": True})).json()
    assert told["rebuild"] == {
        "from": clean, "rejected": [tainted, child], "rounds": [1, 2], "cancelled": None, "live": clean,
    }  # fmt: skip
    assert (await house.chat()).json()["model"] == f"ruminate-{clean}"
    for way in ("previous", tainted):
        refused = await house.http.post("/api/deployments", json={"checkpoint": way})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "checkpoint_rejected")
    pinned = await house.chat(model=f"ruminate-{child}")
    assert pinned.status_code == 404
    assert (await house.http.get("/api/rebuild")).json() == {"rounds": [1, 2]}
    assert (await house.http.get("/api/rebuild", headers=join(house, "eve"))).status_code == 403
    assert words_in(house.home) == []
    assert (await house.http.delete("/api/rebuild")).json() == {"rounds": [1, 2]}
    assert (await house.http.get("/api/rebuild")).json() == {"rounds": []}
    nobody = (await house.http.post("/api/forget", json={"user": "eve", "rebuild": True})).json()["rebuild"]
    assert (nobody["from"], nobody["rejected"], nobody["rounds"], nobody["live"]) == (clean, [], [], clean)


@pytest.mark.parametrize("of", ["user", "conversation"])
async def test_a_rebuild_after_an_opt_out_deletes_no_words(house: Running, of: str) -> None:
    tainted = await learnt_by(house, "ann")
    ann, bob = join(house, "ann"), join(house, "bob")
    conversation = (await house.http.get("/api/conversations", headers=ann)).json()["data"][0]["id"]
    assert (await house.http.put("/api/me/consent", json={"consent": "history"}, headers=ann)).status_code == 200
    wish = {of: "ann" if of == "user" else conversation, "keep_words": True, "rebuild": True}
    assert (await house.http.post("/api/forget", json=wish, headers=bob)).status_code == 403
    told = (await house.http.post("/api/forget", json=wish)).json()
    assert "deleted" not in told
    assert told["rebuild"] == {
        "from": "v0", "rejected": [tainted], "rounds": [1], "cancelled": None, "live": "v0",
    }  # fmt: skip
    assert (await house.http.get("/api/status")).json()["live"]["reason"] == f"{tainted} learnt from what was withdrawn"
    kept = (await house.http.get(f"/api/conversations/{conversation}", headers=ann)).json()
    assert [one["role"] for one in kept["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize("of", ["user", "conversation"])
async def test_what_is_withdrawn_for_somebody_is_trained_on_no_more_and_stays_theirs(house: Running, of: str) -> None:
    ann = join(house, "ann")
    conversation, name = await taught(house, "ann", ann)
    said = await house.http.post("/v1/chat/completions", json={"model": "ruminate", "messages": MORE}, headers=ann)
    other = said.headers["x-ruminate-conversation"]
    wish = {of: "ann" if of == "user" else conversation, "keep_words": True}
    told = (await house.http.post("/api/forget", json=wish)).json()
    assert told["withdrawn"] == {"round_prompts": 1, "regressions": 0}
    assert [one["name"] for one in told["learnt"]] == [name]
    assert (await house.http.get("/api/rebuild")).json() == {"rounds": []}
    for place, trainable in ((conversation, False), (other, of == "conversation")):
        found = (await house.http.get(f"/api/conversations/{place}/lineage", headers=ann)).json()
        assert found["may_train"] is trainable
        assert (await house.http.get(f"/api/conversations/{place}", headers=ann)).json()["messages"]
    own = {"user": "history", "conversation": "train"}[of]
    assert (await house.http.get("/api/me/consent", headers=ann)).json() == {"consent": own}
    gone = {of: "ann" if of == "user" else conversation}
    assert (await house.http.post("/api/forget", json=gone)).json()["deleted"]["messages"]
    again = (
        await house.http.post("/api/forget", json=wish | ({"user": gone_id(house)} if of == "user" else {}))
    ).json()
    assert again["withdrawn"] == {"round_prompts": 0, "regressions": 0}, (
        "of what is deleted nothing is left to take back"
    )


def gone_id(house: Running) -> str:
    with house.database.reading() as session:
        return str(session.scalars(select(User.id).where(User.deleted_at.is_not(None))).one())


async def test_a_rebuild_whose_gateway_died_before_live_was_taken_back_is_gone_on_with(house: Running) -> None:
    tainted = await learnt_by(house, "ann")
    with house.database.transaction() as session:
        ann = users.find_user(session, "ann").id
        replays.plan(session, "root", user_id=ann)  # and there it ended
        assert rounds.request_round(session, "grpo", {}, "person").id == 2
        assert rounds.claim_round(session, "trainer", 60) is None
    await house.gateway.watcher.look()
    assert house.gateway.catalog.live is not None
    assert house.gateway.catalog.live.name == "v0"
    history = (await house.http.get("/api/deployments")).json()["data"]
    assert history[0]["reason"] == f"{tainted} learnt from what was forgotten"
    with house.database.transaction() as session:
        assert rounds.claim_round(session, "trainer", 60) is not None


async def test_a_canary_that_is_rejected_answers_nobody_and_its_trial_ends(house: Running) -> None:
    """As where a rebuild's gateway dies before it ends the trial."""
    name = add_checkpoint(house.database, house.home)
    body = {"checkpoint": name, "reason": "a test", "canary_share": 0.5}
    answer = await house.http.post("/api/deployments", json=body)
    assert answer.status_code == 200, answer.text
    state = house.gateway.catalog.wanted
    assert state is not None
    first, second = [found for number in range(50) if state.on_trial(found := f"c{number}")][:2]
    assert (await house.chat(ruminate={"conversation_id": first})).json()["model"] == "ruminate-v1"
    with house.database.transaction() as session:
        checkpoints.set_state(session, 1, "rejected")
    await house.gateway.catalog.refresh()
    assert (await house.chat(ruminate={"conversation_id": second})).json()["model"] == "ruminate-v0"
    await house.gateway.watcher.look()
    history = (await house.http.get("/api/deployments")).json()["data"]
    assert history[0]["reason"] == "v1 was rejected while it was on trial"
    with house.database.transaction() as session:
        assert checkpoints.get_checkpoint(session, 1).state == "rejected"
        assert rounds.request_round(session, "grpo", {}, "person").id == 1
        assert rounds.claim_round(session, "trainer", 60) is not None


async def test_what_was_rejected_stays_so_when_a_person_makes_another_live(house: Running) -> None:
    """As where a rebuild's gateway dies before it takes live back, and somebody does."""
    name = add_checkpoint(house.database, house.home)
    assert (await house.http.post("/api/deployments", json={"checkpoint": name, "reason": "a"})).status_code == 200
    with house.database.transaction() as session:
        checkpoints.set_state(session, 1, "rejected")
    assert (await house.http.post("/api/deployments", json={"checkpoint": "v0", "reason": "b"})).status_code == 200
    with house.database.reading() as session:
        assert checkpoints.get_checkpoint(session, 1).state == "rejected"


async def test_a_checkpoint_that_is_rejected_while_engines_load_it_does_not_go_live(
    house: Running, engine: FakeEngine
) -> None:
    name = add_checkpoint(house.database, house.home)

    def reject() -> None:
        with house.database.transaction() as session:
            checkpoints.set_state(session, 1, "rejected")

    engine.at, engine.then = "loaded", reject
    answer = await house.service.post("/internal/deploy", json={"checkpoint": name})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "checkpoint_rejected")
    assert (await house.chat()).json()["model"] == "ruminate-v0"


async def test_cancelling_a_round_of_a_rebuild_gives_up_the_others(house: Running) -> None:
    await learnt_by(house, "ann")
    await learnt_by(house, "bob")
    assert (await house.http.post("/api/forget", json={"user": "ann", "rebuild": True})).status_code == 200
    with house.database.transaction() as session:
        row = replays.ask_next(session)
        assert row is not None
        running = row.id
    assert (await house.http.get("/api/rebuild")).json() == {"rounds": [2]}
    assert (await house.http.post(f"/api/rounds/{running}/cancel")).json()["state"] == "cancelled"
    assert (await house.http.get("/api/rebuild")).json() == {"rounds": []}


async def learnt_by(house: Running, name: str) -> str:
    """A round on live that trained on this user's words, and its checkpoint, live."""
    headers = join(house, name)
    answer = await house.http.post(
        "/v1/chat/completions",
        json={"model": "ruminate", "messages": WORDS if name == "ann" else MORE},
        headers=headers,
    )
    conversation, before = answer.headers["x-ruminate-conversation"], house.gateway.catalog.live
    assert before is not None
    made = add_checkpoint(house.database, house.home)
    with house.database.transaction() as session:
        round_id = rounds.request_round(session, "grpo", {}, "schedule").id
        rounds.claim_round(session, "trainer", 60)
        ids = ("m", conversation, users.find_user(session, name).id)
        prompts = [CuratedPrompt(0, "recorded", "train", "kept", "", WORDS if name == "ann" else MORE, *ids)]
        curation.save_prompts(session, round_id, "trainer", prompts)
        row = checkpoints.find_checkpoint(session, made)
        assert row is not None
        row.parent_id, row.round_id = before.id, round_id
        rounds.finish_round(session, round_id, "trainer", "published", candidate=row.id)
    assert (await house.service.post("/internal/deploy", json={"checkpoint": made})).status_code == 200
    return made


def words_in(home: Path) -> list[str]:
    """The files under the home that hold the secret."""
    return [path.name for path in sorted(home.rglob("*")) if path.is_file() and SECRET in path.read_bytes()]


async def test_the_funnel_of_a_round_counts_and_tells_no_prompt(house: Running) -> None:
    await taught(house, "v1", {})
    answer = await house.http.get("/api/rounds/1/prompts")
    assert answer.status_code == 200, answer.text
    assert sorted((row["source"], row["verdict"], row["prompts"]) for row in answer.json()["data"]) == [
        ("mix", "kept", 1),
        ("mix", "left", 1),
        ("recorded", "kept", 1),
    ]
    assert SECRET not in answer.content
    assert (await house.http.get("/api/rounds/99/prompts")).status_code == 404


async def test_administrators_see_from_which_prompts_by_ids_and_no_words(house: Running) -> None:
    ann = join(house, "ann")
    conversation, name = await taught(house, "ann", ann)
    with house.database.transaction() as session:
        asked = session.scalars(
            select(Message.id).where(Message.conversation_id == conversation, Message.role == "user")
        ).one()
        lessons.save(session, 1, [asked])
    learnt = await house.http.get(f"/api/checkpoints/{name}/prompts")
    found = learnt.json()
    (recorded,) = (one for one in found["data"] if one["source"] == "recorded")
    assert (found["checkpoint"], found["round"], len(found["data"])) == (name, 1, 2)
    assert (recorded["conversation"], recorded["split"], recorded["verdict"], recorded["forgotten"]) == (
        conversation, "train", "kept", None,
    )  # fmt: skip
    assert found["preferences"] == [{"message": asked, "conversation": conversation}]
    looked_at = await house.http.get("/api/rounds/1/prompts/ids")
    assert len(looked_at.json()["data"]) == 3
    assert SECRET not in learnt.content + looked_at.content
    first = (await house.http.get("/api/rounds/1/prompts/ids", params={"limit": 1})).json()["data"]
    rest = (await house.http.get("/api/rounds/1/prompts/ids", params={"after": first[-1]["position"]})).json()["data"]
    assert [*first, *rest] == looked_at.json()["data"]
    left = (await house.http.get("/api/rounds/1/prompts/ids", params={"verdict": "left"})).json()["data"]
    assert [one["verdict"] for one in left] == ["left"]
    for path in (f"/api/checkpoints/{name}/prompts", "/api/rounds/1/prompts/ids"):
        assert (await house.http.get(path, headers=ann)).status_code == 403
    assert (await house.http.get("/api/checkpoints/v9/prompts")).status_code == 404
    assert (await house.http.get("/api/rounds/9/prompts/ids")).status_code == 404
    assert (await house.http.get("/api/checkpoints/v0/prompts")).json()["data"] == []
