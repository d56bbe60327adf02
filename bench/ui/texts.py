"""What the answers of the page's benchmark say: every kind of block that a page draws, long ones among them."""

THOUGHT = ["First the soup, ", "then what goes with it; ", "no nuts. "] * 40
LINES_OF_CODE, ITEMS, ROWS_OF_TABLE = 120, 40, 30
END = "That is all of it."
"""The last words, which a page that shows them has drawn whole."""

PARAGRAPHS = "\n\n".join(
    f"Paragraph {n}: a plan of a week with **soup**, `rice` and a [list](https://example.org/{n}), told in a few lines "
    "that go on until they wrap, as the paragraphs of an answer do."
    for n in range(8)
)
LIST = "\n".join(f"{n}. dish {n}: **leeks**, potatoes, stock and `{n}` spoons of cream" for n in range(1, ITEMS + 1))
TABLE = "| Day | Dinner | Needs | Minutes |\n|---|---|---|---|\n" + "\n".join(
    f"| day {n} | dinner {n} | {n} leeks, rice, peas | {10 + n} |" for n in range(ROWS_OF_TABLE)
)
CODE = (
    "```python\n"
    + "\n".join(
        f"def dinner_{n}(guests: int, nuts: bool = False) -> list[str]:" if n % 4 == 0 else
        f'    """Dinner number {n}, without nuts."""' if n % 4 == 1 else
        f"    found = [name for name in menu({n}) if nuts or 'nut' not in name][:guests * 2]" if n % 4 == 2 else
        f"    return sorted(found, key=lambda name: (len(name), name))  # {n}"
        for n in range(LINES_OF_CODE)
    )
    + "\n```"
)  # fmt: skip
ANSWER = f"{PARAGRAPHS}\n\n{LIST}\n\n{TABLE}\n\n{CODE}\n\n{END}"
"""About 2,500 pieces in all; the code is one block of a few thousand characters."""

OLD_TURN = (
    "Here is **a plan** for it:\n\n1. soup with leek and cream\n2. rice with peas\n\n```python\nprint('soup')\n```\n"
)
"""What each answer of the long conversation says that is streamed into."""


def pieces(text: str, size: int = 5) -> list[str]:
    """The text in pieces about as long as tokens are."""
    return [text[at : at + size] for at in range(0, len(text), size)]
