"""What the page asks of the gateway, and the shapes that come back turned into rows: the one place that knows both."""

import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx

from cli.client import Delta, GatewayClient, GatewayError
from ui.pictures import apart
from ui.stream import Interruptible
from ui.tree import Conversation, Row

EFFORTS = ("low", "medium", "high")  # what the page offers; none of them: as the model usually does
SIDE_BAR = 500  # conversations listed; the gateway gives no more at once
FOUND = 100  # conversations found; who has more of them says more words


class Gate:
    """The gateway as one person sees it: every call carries this person's key, or none where none is asked for."""

    def __init__(self, base_url: str, key: str | None, tls: ssl.SSLContext) -> None:
        self._base_url, self._key, self._tls = base_url, key, tls

    def transport(self) -> httpx.BaseTransport:
        """A connection of its own, for an answer that somebody may cut."""
        return httpx.HTTPTransport(verify=self._tls)

    def client(self, transport: httpx.BaseTransport | None = None) -> GatewayClient:
        """A client for one call or a few; close it."""
        return GatewayClient(self._base_url, self._key, transport or self.transport())

    def stream(
        self, transport: Interruptible, messages: list[dict[str, Any]], options: dict[str, Any]
    ) -> Iterator[Delta]:
        """One answer, piece by piece. `options`: conversation, think, effort, consent, model. Raises GatewayError."""
        extra: dict[str, Any] = {
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "ruminate": {
                key: value
                for key, value in {
                    "conversation_id": options.get("conversation"),
                    "consent": options.get("consent"),
                    "origin": "chat",
                }.items()
                if value
            },
        }
        if options.get("think") is False:
            extra["chat_template_kwargs"] = {"enable_thinking": False}
        elif options.get("effort") in EFFORTS:
            extra["reasoning_effort"] = options["effort"]
        with self.client(transport) as client:
            yield from client.stream_chat(list(messages), model=options.get("model") or "ruminate", **extra)

    def short_answer(self, text: str, origin: str) -> str:
        """A line from the live model, without a thought; of the turn no words are kept. Raises GatewayError."""
        body = {
            "model": "ruminate",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 32,
            "temperature": 0,
            "chat_template_kwargs": {"enable_thinking": False},
            "ruminate": {"origin": origin, "consent": "none"},
        }
        reply = self.call("POST", "/v1/chat/completions", body)
        return str(reply["choices"][0]["message"].get("content") or "")

    def get(self, path: str, **params: Any) -> Any:
        """One GET. Raises GatewayError."""
        with self.client() as client:
            return client.get(path, **params)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One call with a JSON body. Raises GatewayError."""
        with self.client() as client:
            return client.call(method, path, body)

    def me(self) -> dict[str, Any]:
        """Who is asking, whether as an admin, and what they allow; the live checkpoint. Raises GatewayError
        (401: a key is needed)."""
        with self.client() as client:
            person = client.get("/api/me")
            sees = takes_pictures(items(client.get("/v1/models")))
            return {
                "name": person.get("name") or "",
                "consent": person["consent"],
                "admin": person.get("role") == "admin",
                "pictures": sees,
                **_standing(client.status()),
            }

    def side(self) -> dict[str, Any]:
        """What the side bar shows: the conversations, and what is live by now. Raises GatewayError."""
        return {"lines": self.conversations(), **_standing(self.get("/api/status"))}

    def rivals(self) -> tuple[str, list[str]]:
        """Which two checkpoints to compare, under the names to ask for them, and what the other one is to live.

        The canary while there is one: both by version, since either may be what answers in this conversation. Otherwise
        the one that was live before; nobody where there was none.
        """
        status = self.get("/api/status")
        canary, previous = status.get("canary"), status.get("previous")
        if canary and status.get("live"):
            return "canary", [f"ruminate-{one['name']}" for one in (status["live"], canary)]
        return "previous", ["ruminate", f"ruminate-{previous}"] if previous else []

    def is_admin(self, client: GatewayClient) -> bool:
        """Whether the person may start rounds and move checkpoints; an older gateway doesn't say: then it decides."""
        try:
            return bool(client.get("/api/me").get("role") == "admin")
        except GatewayError as error:
            if error.status == 404:
                return True
            raise

    def conversations(self) -> list[dict[str, Any]]:
        """The side bar's lines, newest first, pinned ones before all others."""
        lines = [_line(item) for item in items(self.get("/api/conversations", limit=SIDE_BAR))]
        return sorted(lines, key=lambda line: not line["pinned"])

    def search(self, words: str) -> list[dict[str, Any]]:
        """Lines of the conversations that have these words in their title or in what was said in them."""
        found = items(self.get("/api/conversations", limit=FOUND, search=words))
        return [_line(item) | {"excerpt": item.get("excerpt") or ""} for item in found]

    def learnt(self, name: str) -> dict[str, Any]:
        """What rounds made of one conversation. Raises GatewayError."""
        return dict(self.get(f"/api/conversations/{within(name)}/lineage"))

    def own_data(self) -> list[dict[str, Any]]:
        """All that is kept of this person, conversation by conversation. Raises GatewayError."""
        found: list[dict[str, Any]] = []
        before: dict[str, str] = {}
        while page := items(self.get("/api/me/data", limit=200, **before)):
            found += page
            before = {"before": page[-1]["updated_at"], "before_id": page[-1]["id"]}
        return found

    def conversation(self, name: str) -> Conversation:
        """One conversation with all its branches. Raises GatewayError (404: not there or somebody else's)."""
        reply = self.get(f"/api/conversations/{within(name)}")
        ratings = {one["generation_id"]: one["rating"] for one in reply.get("feedback") or []}
        kept = {one["generation_id"]: one["kind"] for one in reply.get("regressions") or []}
        rows = [_row(item, ratings, kept) for item in reply["messages"]]
        talk = Conversation(rows, id=reply["id"], title=reply.get("title") or "", consent=reply.get("consent"))
        last = next((item["generation"] for item in reversed(reply["messages"]) if item.get("generation")), None)
        if last is not None and "thinks" in last:
            talk.thinking = {"think": last["thinks"], "effort": last.get("effort") or ""}
        for one in reply.get("comparisons") or []:
            _prefer(talk, one)
        return talk


def within(name: object) -> str:
    """A name as one part of a path, whatever an address says that it is."""
    return quote(str(name), safe="").replace(".", "%2E")


def items(reply: Any) -> list[dict[str, Any]]:
    """The list within a reply, bare or wrapped in {"data": …}."""
    return list(reply["data"] if isinstance(reply, dict) else reply)


def _standing(status: dict[str, Any]) -> dict[str, Any]:
    """What is live, and whether there is another version to compare it with."""
    return {"live": status.get("live"), "comparable": bool(status.get("previous") or status.get("canary"))}


def takes_pictures(cards: list[dict[str, Any]]) -> bool:
    """Whether the live model takes pictures, as the gateway's list of models says; an older gateway doesn't say."""
    live = next((card for card in cards if card["id"] == "ruminate"), {})
    return "image" in ((live.get("architecture") or {}).get("input_modalities") or [])


def _prefer(talk: Conversation, comparison: dict[str, Any]) -> None:
    """Mark the answer that was chosen, and show it where its rival ends the path."""
    by_generation = {row.generation: row for row in talk.rows.values() if row.generation}
    sides = [by_generation.get(comparison[side]) for side in ("left", "right")]
    choice = {"left": 0, "right": 1}.get(comparison["choice"])
    if choice is None or None in sides:
        return
    winner, loser = sides[choice], sides[1 - choice]
    assert winner is not None
    assert loser is not None
    winner.chosen = True
    if talk.path and talk.path[-1] == loser.id:
        talk.turn_to(winner)


def _row(item: dict[str, Any], ratings: dict[str, int], kept: dict[str, str]) -> Row:
    made = item.get("generation") or {}
    words, pictures = apart(item["content"])
    return Row(
        role=item["role"],
        text=words,
        pictures=pictures,
        parent=item.get("parent_id"),
        id=item["id"],
        thought=made.get("reasoning") or "",
        model=made.get("model") or "",
        generation=made.get("id"),
        seconds=made.get("thought_seconds"),
        thought_tokens=made.get("reasoning_tokens") or None,
        ending=made.get("ending") or ("complete" if words else "interrupted"),
        rating=ratings.get(made.get("id") or ""),
        kept=kept.get(made.get("id") or ""),
    )


def _line(item: dict[str, Any]) -> dict[str, Any]:
    return {"id": item["id"], "title": item.get("title") or "", "pinned": bool(item.get("pinned"))}
