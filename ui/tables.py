"""Tables as HTML that a narrow page can show as cards: each cell carries the name of its column.

Roles are said although the elements have them: a browser forgets those once a style sheet lays a table out otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Cell:
    """HTML of a cell, and how it is laid out: `wide` (words that wrap) or `rest` (the width that is left)."""

    html: str
    kind: str = ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str | Cell]], kind: str = "") -> str:
    """Columns named `heads` (words; "" for none) over `rows` of HTML. `kind`: `small` stays a table on a phone."""
    head = "".join(f'<th role="columnheader" scope="col">{escape(words)}</th>' for words in heads)
    body = "".join(
        '<tr role="row">' + "".join(_cell(words, one) for words, one in zip(heads, row, strict=True)) + "</tr>"
        for row in rows
    )
    style = f' class="{kind}"' if kind else ""
    return (
        f'<div class="table-wrap" tabindex="0"><table role="table"{style}><thead role="rowgroup"><tr role="row">{head}'
        f'</tr></thead><tbody role="rowgroup">{body}</tbody></table></div>'
    )


def _cell(words: str, one: str | Cell) -> str:
    cell = one if isinstance(one, Cell) else Cell(one)
    label = f' data-label="{escape(words)}"' if words else ""
    style = f' class="{cell.kind}"' if cell.kind else ""
    return f'<td role="cell"{style}{label}>{cell.html}</td>'
