"""An answer in the words of OpenAI's Responses API: items of reasoning, message and function call, and their events."""

from collections.abc import Iterator, Mapping
from typing import Any

from server.errors import ApiError
from server.forms.telling import LENGTH, Event, Part, Telling

PREFIX = "resp_"
ECHOED: dict[str, Any] = {
    "instructions": None, "max_output_tokens": None, "max_tool_calls": None, "parallel_tool_calls": True,
    "previous_response_id": None, "store": True, "temperature": None, "text": {"format": {"type": "text"}},
    "tool_choice": "auto", "tools": [], "top_p": None, "truncation": "disabled", "user": None, "metadata": {},
}  # fmt: skip
"""What an answer repeats of its request, with what holds where that says nothing."""


class ResponsesTelling(Telling):
    """`request` as it was sent; `hide`: the client is not to see the thought."""

    def __init__(self, generation_id: str, hide: bool, request: Mapping[str, Any]) -> None:
        super().__init__(generation_id, hide)
        self._request = request
        self._number = 0

    def begin(self) -> Iterator[Event]:
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response=self._response("in_progress"))

    def open(self, part: Part) -> Iterator[Event]:
        empty = self._item(part, "in_progress", "")
        if part.kind != "call":
            empty["content"] = []
        yield self._event("response.output_item.added", output_index=part.index, item=empty)
        if part.kind != "call":
            yield self._of(part, "response.content_part.added", part=_content(part, ""))

    def add(self, part: Part, text: str) -> Iterator[Event]:
        yield self._of(part, f"response.{_NAMES[part.kind]}.delta", delta=text, **_unlogged(part))

    def close(self, part: Part) -> Iterator[Event]:
        done = f"response.{_NAMES[part.kind]}.done"
        if part.kind == "call":
            yield self._of(part, done, name=part.name, arguments=part.text)
        else:
            yield self._of(part, done, text=part.text, **_unlogged(part))
            yield self._of(part, "response.content_part.done", part=_content(part, part.text))
        item = self._item(part, self._status(part), part.text)
        yield self._event("response.output_item.done", output_index=part.index, item=item)

    def end(self) -> Iterator[Event]:
        whole = self.whole()
        yield self._event(f"response.{whole['status']}", response=whole)

    def fail(self, error: ApiError) -> Iterator[Event]:
        failed = self._response("failed") | {"error": {"code": "server_error", "message": error.message}}
        yield self._event("response.failed", response=failed)

    def whole(self) -> dict[str, Any]:
        cut = self.finish.reason == LENGTH
        response = self._response("incomplete" if cut else "completed")
        if cut:
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        counts = self.counts
        response["usage"] = {
            "input_tokens": counts.prompt,
            "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": 0},
            "output_tokens": counts.completion,
            "output_tokens_details": {"reasoning_tokens": counts.thought},
            "total_tokens": counts.prompt + counts.completion,
        }
        return response

    def _response(self, status: str) -> dict[str, Any]:
        head, asked = self.head, self._request
        reasoning = asked.get("reasoning") or {}
        return {
            "id": PREFIX + self.generation_id,
            "object": "response",
            "created_at": head.created if head else 0,
            "model": head.model if head else asked.get("model"),
            "status": status,
            "error": None,
            "incomplete_details": None,
            "background": False,
            "service_tier": "default",
            "output": [self._item(part, self._status(part), part.text) for part in self.parts],
            "reasoning": {"effort": reasoning.get("effort"), "summary": None},
            "usage": None,
            **{name: default if asked.get(name) is None else asked[name] for name, default in ECHOED.items()},
        }

    def _status(self, part: Part) -> str:
        """Only the last part of an answer that was cut off is incomplete."""
        return "incomplete" if self.finish.reason == LENGTH and part is self.parts[-1] else "completed"

    def _item(self, part: Part, status: str, text: str) -> dict[str, Any]:
        name = f"{self.generation_id}_{part.index}"
        if part.kind == "thought":
            content = [_content(part, text)]
            return {"id": f"rs_{name}", "type": "reasoning", "summary": [], "content": content, "status": status,
                    "encrypted_content": None}  # fmt: skip
        if part.kind == "text":
            return {"id": f"msg_{name}", "type": "message", "role": "assistant", "status": status,
                    "content": [_content(part, text)]}  # fmt: skip
        return {"id": f"fc_{name}", "type": "function_call", "call_id": part.id, "name": part.name, "arguments": text,
                "status": status}  # fmt: skip

    def _of(self, part: Part, kind: str, /, **more: Any) -> Event:
        """An event inside a part."""
        item = self._item(part, "in_progress", "")["id"]
        place = {"item_id": item, "output_index": part.index}
        if part.kind != "call":
            place["content_index"] = 0
        return self._event(kind, **place, **more)

    def _event(self, kind: str, **more: Any) -> Event:
        event = {"type": kind, "sequence_number": self._number, **more}
        self._number += 1
        return event


_NAMES = {"thought": "reasoning_text", "text": "output_text", "call": "function_call_arguments"}


def _unlogged(part: Part) -> dict[str, Any]:
    """Events of text must have log-probabilities, which are not given."""
    return {"logprobs": []} if part.kind == "text" else {}


def _content(part: Part, text: str) -> dict[str, Any]:
    if part.kind == "thought":
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
