"""In which language a prompt is, by py3langid. Short texts and unsure cases are nobody's: they are never left out.

A request in an allowed language may carry a text in another one, to translate or to correct: what it asks for stands at
the beginning of its first line or in its last one, so that a prompt is left only where neither of them is surely in an
allowed language.
"""

import re
from functools import cache
from typing import Any

LETTERS = 20  # of a whole text; fewer tell a language badly
WORDS, MOST_WORDS = 3, 10  # of what a request is told by
SURE = 0.9
MOST = 4_000  # characters looked at: more tell nothing new
PROSE = 0.9  # share of letters and spaces above which a line is no code
QUOTE = re.compile(r"[:：\"“”«»「]")  # where a request's own words end
NO_LANGUAGE = "zxx"  # numbers, keys, code


def surely_other(text: str, allowed: str) -> str | None:
    """The code of the text's language where that is surely none of `allowed` (codes with commas; empty: all are)."""
    codes = {code.strip() for code in allowed.split(",") if code.strip()}
    text = text[:MOST]
    if not codes or _letters(text) < LETTERS:
        return None
    language, share = _identifier().classify(text)
    if language in {NO_LANGUAGE, *codes} or share < SURE:
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    begins = " ".join(QUOTE.split(lines[0], maxsplit=1)[0].split()[:MOST_WORDS])
    asks = {begins, lines[-1]}
    return None if any(_asks_in(piece, codes) for piece in asks) else language


def _asks_in(piece: str, codes: set[str]) -> bool:
    """Whether it is prose in one of these languages; of a short piece, such as `Translate to English`, most likely."""
    if len(piece.split()) < WORDS or _letters(piece) + piece.count(" ") < PROSE * len(piece):
        return False
    language, share = _identifier().classify(piece)
    return language in codes and (share >= SURE or _letters(piece) < LETTERS)


def _letters(text: str) -> int:
    return sum(map(str.isalpha, text))


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)  # some seconds: only where languages are set
