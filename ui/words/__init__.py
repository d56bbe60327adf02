"""Every sentence that the page says, one JSON file a language; a new language is a new file with the same keys."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_VALUE = re.compile(r"\{(\w+)")
_ONE_OR_MORE = re.compile(r"\{(\w+)\|([^|{}]*)\|([^|{}]*)\}")


class Words:
    """The sentences of one language. `words("key", n=3)` fills in the braces: `{n} {n|prompt|prompts}`."""

    def __init__(self, sentences: dict[str, str]) -> None:
        self.sentences = sentences

    def __call__(self, key: str, **values: object) -> str:
        def one_or_more(found: re.Match[str]) -> str:
            return found[2] if str(values.get(found[1])) == "1" else found[3]

        sentence = self.sentences[key]
        return _ONE_OR_MORE.sub(one_or_more, sentence).format(**values) if values else sentence

    def known(self, key: str, values: Mapping[str, object]) -> str | None:
        """The sentence with what is in a record; None where there is no such sentence, or a value of its is missing."""
        sentence = self.sentences.get(key)
        if sentence is None or any(values.get(name) is None for name in _VALUE.findall(sentence)):
            return None
        return self(key, **values)


@cache
def load_words(language: str) -> Words:
    """The words of `language`. Raises FileNotFoundError, naming those that exist."""
    folder = Path(__file__).parent
    file = folder / f"{language}.json"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.json")))
        raise FileNotFoundError(f"no words for the language {language!r} in {folder}; there are: {known}")
    return Words(json.loads(file.read_text(encoding="utf-8")))
