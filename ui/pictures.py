"""Pictures within a message, as parts of OpenAI's form: one writer and one reader, each the other's inverse.

A picture travels inside the request, as a data URL: the page's server keeps none, and no engine fetches any.
"""

import re
from typing import Any

MOST = 4  # pictures of a message
MOST_CHARACTERS = 5_000_000  # of all its data URLs: the gateway takes requests of 8 MiB unless it is told otherwise

_PICTURE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+=*")

Content = str | list[dict[str, Any]]


def together(words: str, pictures: list[str]) -> Content:
    """A message's content: the words alone, or parts where there are pictures."""
    if not pictures:
        return words
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
    return [*parts, {"type": "text", "text": words}] if words else parts


def apart(content: Any) -> tuple[str, list[str]]:
    """The words and the pictures' addresses of a message's content."""
    if content is None or isinstance(content, str):
        return content or "", []
    words = [part.get("text", "") for part in content if part.get("type") == "text"]
    pictures = [
        str((part.get("image_url") or {}).get("url", "")) for part in content if part.get("type") == "image_url"
    ]
    return "\n".join(words), pictures


class BadPictures(Exception):
    """What the page sent are not pictures that can go with a message."""


def given(asked: object) -> list[str]:
    """Pictures as the page sends them. Raises BadPictures for too many, too large or other things."""
    pictures = [str(one) for one in asked] if isinstance(asked, list) else []
    if len(pictures) > MOST or sum(map(len, pictures)) > MOST_CHARACTERS:
        raise BadPictures(f"{len(pictures)} pictures of {sum(map(len, pictures))} characters")
    if not all(_PICTURE.fullmatch(one) for one in pictures):
        raise BadPictures("a picture is not a data URL of a PNG, JPEG, WebP or GIF")
    return pictures
