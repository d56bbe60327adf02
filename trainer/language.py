"""In which language a prompt is, by py3langid. Short texts and unsure cases are nobody's: they are never left out."""

from functools import cache
from typing import Any

LETTERS = 20  # fewer tell a language badly
SURE = 0.9


def surely_other(text: str, allowed: str) -> str | None:
    """The code of the text's language where that is surely none of `allowed` (codes with commas; empty: all are)."""
    codes = {code.strip() for code in allowed.split(",") if code.strip()}
    if not codes or sum(character.isalpha() for character in text) < LETTERS:
        return None
    language, share = _identifier().classify(text)
    return language if language not in codes and share >= SURE else None


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)  # some seconds: only where languages are set
