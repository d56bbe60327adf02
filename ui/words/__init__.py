"""Every sentence that the page says, one JSON file a language; a new language is a new file with the same keys.

A count takes the form that its language wants: `{n|token|tokens}` where there are two, one and other, and where there
are more each with its name: `{n|one=токен|few=токена|many=токенов}`. One that is not there is told as `other`, or last.
"""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path

from babel import Locale, UnknownLocaleError

_VALUE = re.compile(r"\{(\w+)")
_FORMS = re.compile(r"\{(\w+)((?:\|[^|{}]*)+)\}")


class Words:
    """The sentences of one language. `words("key", n=3)` fills in the braces: `{n} {n|prompt|prompts}`."""

    def __init__(self, sentences: dict[str, str], language: str = "en") -> None:
        self.sentences, self._language = sentences, language

    def __call__(self, key: str, **values: object) -> str:
        def form(found: re.Match[str]) -> str:
            forms = _named(found[2][1:].split("|"))
            wanted = plural(self._language, values.get(found[1]))
            return next(forms[name] for name in (wanted, "other", [*forms][-1]) if name in forms)

        sentence = self.sentences[key]
        return _FORMS.sub(form, sentence).format(**values) if values else sentence

    def known(self, key: str, values: Mapping[str, object]) -> str | None:
        """The sentence with what is in a record; None where there is no such sentence, or a value of its is missing."""
        sentence = self.sentences.get(key)
        if sentence is None or any(values.get(name) is None for name in _VALUE.findall(sentence)):
            return None
        return self(key, **values)


def plural(language: str, count: object) -> str:
    """The name of the form that `count` takes: zero, one, two, few, many, other, as the browser's Intl.PluralRules."""
    try:
        return str(_locale(language).plural_form(Decimal(str(count))))
    except InvalidOperation:  # no number
        return "other"


@cache
def _locale(language: str) -> Locale:
    try:
        return Locale.parse(language, sep="-")
    except (UnknownLocaleError, ValueError):
        return Locale("en")


def _named(forms: Sequence[str]) -> dict[str, str]:
    if "=" not in forms[0]:
        return dict(zip(("one", "other"), forms, strict=False))
    return {name: words for name, _, words in (form.partition("=") for form in forms)}


@cache
def load_words(language: str) -> Words:
    """The words of `language`. Raises FileNotFoundError, naming those that exist."""
    folder = Path(__file__).parent
    file = folder / f"{language}.json"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.json")))
        raise FileNotFoundError(f"no words for the language {language!r} in {folder}; there are: {known}")
    return Words(json.loads(file.read_text(encoding="utf-8")), language)
