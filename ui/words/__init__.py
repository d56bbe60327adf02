"""Every sentence that the page says, one JSON file a language; a new language is a new file with the same keys."""

import json
from functools import cache
from pathlib import Path


class Words:
    """The sentences of one language. `words("key", n=3)` fills in the braces."""

    def __init__(self, sentences: dict[str, str]) -> None:
        self.sentences = sentences

    def __call__(self, key: str, **values: object) -> str:
        return self.sentences[key].format(**values) if values else self.sentences[key]

    def counted(self, key: str, n: int) -> str:
        """A sentence about a number of things: that under `key` with `_one` for one of them."""
        return self(f"{key}_one" if n == 1 else key, n=n)


@cache
def load_words(language: str) -> Words:
    """The words of `language`. Raises FileNotFoundError, naming those that exist."""
    folder = Path(__file__).parent
    file = folder / f"{language}.json"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.json")))
        raise FileNotFoundError(f"no words for the language {language!r} in {folder}; there are: {known}")
    return Words(json.loads(file.read_text(encoding="utf-8")))
