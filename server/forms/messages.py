"""Anthropic's Messages API as a form."""

from collections.abc import Mapping
from dataclasses import replace

from server.asking import Ask, Kind, read_object, understand
from server.auth import Identity
from server.forms.form import MESSAGES
from server.forms.messages_answer import MessagesTelling
from server.forms.messages_request import read


class Messages:
    path = MESSAGES
    kind: Kind = "chat"
    id_header = b"request-id"

    async def ask(self, raw: bytes, headers: Mapping[bytes, bytes], identity: Identity) -> Ask:
        ask = understand("chat", read(read_object(raw)), headers)
        return replace(ask, wants_usage=True)

    def writer(self, ask: Ask, generation_id: str) -> MessagesTelling:
        return MessagesTelling(generation_id, ask.hides_thought, ask.ends)
