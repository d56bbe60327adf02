"""Reading the fields of a request in a form: each helper gives the value or says what is wrong with which field."""

from collections.abc import Mapping
from typing import Any

from server.errors import ApiError, invalid


def required(body: Mapping[str, Any], name: str) -> Any:
    if body.get(name) is None:
        raise invalid(f"`{name}` is missing", name, "missing_required_parameter")
    return body[name]


def mapping(value: object, name: str) -> dict[str, Any]:
    """An object; nothing is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"`{name}` must be an object", name)
    return value


def objects(value: object, name: str) -> list[dict[str, Any]]:
    """A list of objects; nothing is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid(f"`{name}` must be a list", name)
    for index, one in enumerate(value):
        if not isinstance(one, dict):
            raise invalid(f"{name}[{index}] must be an object", f"{name}[{index}]")
    return value


def words(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise invalid(f"{name} must be text", name)
    return value


def flag(value: object, name: str) -> bool | None:
    """Yes, no, or nothing said. The engine would take 1 and "true" for yes as well: it must not read what is not so
    read here."""
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{name} is {value!r}; expected true or false", name)
    return value


def whole(value: object, name: str) -> int | None:
    """A whole number, or nothing said. The engine would take "16" and 16.0 as well, which could pass a limit here."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise invalid(f"{name} is {value!r}; expected a whole number", name)
    return value


def not_here(name: str, why: str) -> ApiError:
    """A field, or a value of one, that this gateway can't honour."""
    return ApiError(400, f"{name}: {why}", param=name, code="unsupported_parameter")


def only(
    body: dict[str, Any], allowed: Mapping[str, tuple[object, ...]], why: Mapping[str, str], within: str = ""
) -> None:
    """Take fields out that may only say what holds anyway. What is None says nothing. `within`: what `body` is of."""
    for name, values in allowed.items():
        value = body.pop(name, None)
        if value is not None and value not in values:
            raise not_here(within + name, why.get(name, f"{value!r} is not offered here; expected {_listed(values)}"))


def plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Content parts; a single text is the text itself, as chat clients send it."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _listed(values: tuple[object, ...]) -> str:
    return ", ".join(repr(value) for value in values) or "nothing"
