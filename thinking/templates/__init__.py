"""The chat templates (Jinja) that write a conversation for a thinking model, one file per family.

Every template neutralises the markers that a person types: a space is put after the `<` of a thought, response or
end-of-turn marker, so that a message can neither end a thought nor forge one. Thoughts of earlier turns are left out.
"""

import hashlib
from pathlib import Path

_FOLDER = Path(__file__).parent


def template_path(name: str) -> Path:
    """The file of the template `name` ("chatml", "llama3", "zero"). Raises ValueError for an unknown name."""
    path = _FOLDER / f"{name}.jinja"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in _FOLDER.glob("*.jinja")))
        raise ValueError(f"there is no chat template {name!r}; known are {known}")
    return path


def template_text(name: str) -> str:
    """The source of the template `name`."""
    return template_path(name).read_text(encoding="utf-8")


def template_hash(name: str) -> str:
    """SHA-256 (hex) of the template's source, as a checkpoint's manifest records it."""
    return hashlib.sha256(template_text(name).encode()).hexdigest()
