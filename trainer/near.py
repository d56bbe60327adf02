"""Which prompts nearly say the same: MinHash over runs of words, looked up by bands (rensa).

Two texts are near when they share THRESHOLD of their runs (Jaccard) or more, by an estimate from PERMUTATIONS hashes:
pairs close to the threshold may fall on either side.
"""

from functools import lru_cache

import regex
from rensa import RMinHash, RMinHashLSH

from trainer.prompts import words_of

PERMUTATIONS = 128
BANDS = 16  # of 8 rows: finds 95 of 100 pairs that share 0.8, and looks at few that share less than 0.6
SEED = 42
RUN = 3  # words in a row
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
PIECES = regex.compile(rf"[{_UNSPACED}]\p{{M}}*|[^{_UNSPACED}]+")
"""A word; of scripts that leave no space between words, a character with its marks."""


def runs(text: str) -> list[str]:
    """The runs of RUN words (or characters, see PIECES) in a text; a shorter text is one run."""
    words = [piece for word in words_of(text) for piece in PIECES.findall(word)]
    return [" ".join(words[at : at + RUN]) for at in range(max(1, len(words) - RUN + 1))]


class Near:
    """Texts seen so far, each under a number."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._index = RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=BANDS)
        self._hashes: list[RMinHash] = []

    def find(self, text: str) -> int | None:
        """The number of the first text that is near this one; None where there is none."""
        made = _hash(text)
        for number in sorted(self._index.query(made)):
            if self._hashes[number].jaccard(made) >= self._threshold:
                return number
        return None

    def add(self, text: str) -> int:
        """Remember a text. Returns its number: how many there were before."""
        made = _hash(text)
        self._index.insert(len(self._hashes), made)
        self._hashes.append(made)
        return len(self._hashes) - 1


@lru_cache(maxsize=16)  # a text is often looked for as a whole and as a conversation's beginning, then added
def _hash(text: str) -> RMinHash:
    made = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
    made.update(runs(text))
    return made
