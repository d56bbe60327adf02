"""Items of a Responses request that only name one of an earlier answer, as clients send that count on the record.

Pure: which answers are named, and what stands in their place. A thought is no part of a history, so one that is named
is left out.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from server.errors import ApiError, invalid

MOST = 1000
"""Answers that one request may name: they are looked for at once."""
_ID = re.compile(r"(rs|msg|fc)_(.{1,64})_(\d{1,6})")


def named(given: object) -> set[str]:
    """The generations that are named. Raises ApiError 400 beyond MOST."""
    found = {generation for _, kind, generation, _ in _references(given) if kind != "rs"}
    if len(found) > MOST:
        raise invalid(f"`input` names {len(found)} answers; at most {MOST} can be named, send others in full", "input")
    return found


def put_in(given: list[Any], said: Mapping[str, dict[str, Any]]) -> list[Any]:
    """The input with the items themselves, from the messages `said`. Raises ApiError 400 for what is not there."""
    references = {place: (kind, generation, index) for place, kind, generation, index in _references(given)}
    calls: dict[str, set[int]] = {}
    for kind, generation, index in references.values():
        if kind == "fc":
            calls.setdefault(generation, set()).add(index)
    items: list[Any] = []
    for place, item in enumerate(given):
        if place not in references:
            items.append(item)
            continue
        kind, generation, index = references[place]
        if kind == "rs":
            continue
        message = said.get(generation)
        if message is None:
            raise _gone(place, item["id"], "it was not kept, was deleted, or is not yours")
        if kind == "msg":
            items.append({"type": "message", "role": "assistant", "content": message.get("content") or ""})
            continue
        made, places = message.get("tool_calls") or [], sorted(calls[generation])
        if len(made) != len(places):
            raise _gone(place, item["id"], f"its answer has {len(made)} calls, of which {len(places)} are named")
        call = made[places.index(index)]
        items.append({"type": "function_call", "call_id": call["id"], **call["function"]})
    return items


def _references(given: object) -> Iterator[tuple[int, str, str, int]]:
    """Place, kind, generation and index. Raises ApiError 400 for a name that nothing here has."""
    for place, item in enumerate(given if isinstance(given, list) else ()):
        if isinstance(item, dict) and (item.get("type") == "item_reference" or item.keys() == {"id"}):
            name = item.get("id")
            found = _ID.fullmatch(name) if isinstance(name, str) else None
            if found is None:
                raise _gone(place, name, "no item of this house is called so")
            yield place, found[1], found[2], int(found[3])


def _gone(place: int, name: object, why: str) -> ApiError:
    message = f"input[{place}]: there is no item {name!r} to refer to: {why}; send the item itself"
    return invalid(message, f"input[{place}].id", "item_not_found")
