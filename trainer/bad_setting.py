"""What is wrong with a setting, in one sentence that names it, its value and what was expected."""

from pydantic import ValidationError


class BadSetting(ValueError):
    """A setting is wrong; the message names it, its value and what was expected."""


def sentence(error: ValidationError, prefix: str) -> str:
    """The first thing that is wrong, in one sentence: key, value, what was expected."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    name = prefix + (place.upper() if prefix.isupper() else place) if place else "settings"
    return f"{name} = {first.get('input')!r}: {first['msg']}" if place else f"{name}: {first['msg']}"


def too_high(most: int) -> str:
    """What is wrong with a rank above `most`, and what to do."""
    return (
        f"engines and gateway take adapters of rank {most} at most; lower it, or set RUMINATE_MAX_LORA_RANK for engine,"
        f" gateway and trainer and start them anew"
    )
