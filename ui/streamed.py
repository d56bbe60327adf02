"""Markdown that grows: what is finished is rendered once, and what is open costs no more the longer it gets.

Knows the text alone. The page is given three things: `blocks` that never change again, the open end of the text in
pieces (`tail`), or the code of a fence that has not closed (`code`).
"""

import re
from collections.abc import Sequence
from html import escape

from ui.markdown import Block, highlighted, parsed

SMALL = 1500  # characters of an open block up to which it is rendered anew at every update
GROWTH = 1.25  # a longer one is whenever it has grown by this factor: together that costs a few times its length
PIECE = 500  # characters of what came since; rendered by itself, so that a list goes on as a list below the first
WORK = 10  # times the text that whole renderings may come to where another block seems to have begun
PART_LINES, MOST_LINES = 20, 60  # of open code, after which colours stand: at the next empty line, and at the latest
PART = 4000  # characters of it, whatever its lines

_OPENING = re.compile(r"( {0,3})(`{3,}|~{3,})")


class StreamedMarkdown:
    """Renders a growing text: finished blocks once, the block still open at every update, in bounded portions.

    A top-level block can't change any more once the next one has two whole lines (one alone may still turn out to
    belong to it), so each update parses only from there. What stays different from rendering the whole: a link
    defined below its use.
    """

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.tail: list[str] = []
        self.code: OpenCode | None = None
        self._done = 0  # characters already in `blocks`
        self._seen = -1
        self._parsed = 0  # characters that the last whole rendering of the open end had
        self._cuts: list[int] = []  # where the pieces of `tail` after its first begin
        self._ripe = False  # whether the newest piece looks like another block, so that a whole rendering would tell
        self._work = 0  # characters of all whole renderings

    def update(self, text: str) -> None:
        """Take the text so far, which must begin with the text of the update before."""
        if len(text) == self._seen:
            return
        self._seen = len(text)
        if self.code is not None:
            if self.code.take(text):
                return
            self._close(text)
        if self._may_wait(text):
            self._piece(text)
        else:
            self._whole(text)

    def finish(self, text: str) -> None:
        """Take the whole text: everything is a block now."""
        self.code, self.tail, self._cuts = None, [], []
        self._seen = len(text)
        self.blocks += [block.html for block in parsed(text[self._done :])]
        self._done = len(text)

    def _may_wait(self, text: str) -> bool:
        size = len(text) - self._done
        if not self._cuts or size >= GROWTH * self._parsed:
            return False
        return not (self._ripe and self._work + size <= WORK * len(text))

    def _whole(self, text: str) -> None:
        """Render all that is open, and give up what can't change any more."""
        rest = text[self._done :]
        blocks, lines = parsed(rest), rest.split("\n")
        self._work += len(rest)
        sure = self._sure(blocks, lines)
        self.blocks += [block.html for block in blocks[:sure]]
        left = blocks[sure:]
        if left:
            self._done += sum(len(line) + 1 for line in lines[: left[0].line])
        self._parsed, self._ripe = len(text) - self._done, False
        self._cuts = [max(text.rfind("\n") + 1, self._done)] if self._parsed > SMALL else []
        if len(left) == 1 and left[0].kind == "fence" and "\n" in text[self._done :]:
            self.code, self.tail, self._cuts = OpenCode(text, self._done), [], []
            if not self.code.take(text):
                self._close(text)
        elif self._cuts:  # the last line goes on: it is drawn with what follows it
            self.tail = [_html(text[self._done : self._cuts[0]])]
            self._piece(text)
        else:
            self.tail = ["".join(block.html for block in left)]

    def _sure(self, blocks: Sequence[Block], lines: Sequence[str]) -> int:
        """How many blocks stand."""
        return max(
            (
                at
                for at, block in enumerate(blocks)
                if block.line + 2 <= len(lines) - 1 and not (at and _tied(blocks[at - 1], block, lines[block.line - 1]))
            ),
            default=0,
        )

    def _close(self, text: str) -> None:
        """The fence has its end: it is a block."""
        assert self.code is not None
        self.blocks.append(_html(text[self._done : self.code.end]))
        self._done, self.code = self.code.end, None
        self._parsed, self._cuts, self.tail = 0, [], []

    def _piece(self, text: str) -> None:
        """Render what came since the last cut; where that is enough for a piece, cut there."""
        begun = self._cuts[-1]
        blocks = parsed(text[begun:])
        self._ripe = self._sure(blocks, text[begun:].split("\n")) > 0
        del self.tail[len(self._cuts) :]
        self.tail.append("".join(block.html for block in blocks))
        cut, long = text.rfind("\n") + 1, len(text) - begun > 4 * PIECE
        if long and cut <= begun:
            cut = text.rfind(" ", begun) + 1 or len(text)
        if long or (cut - begun > PIECE and text[cut : cut + 1].strip()):
            self.tail[-1] = _html(text[begun:cut])
            self._cuts.append(cut)


def _html(text: str) -> str:
    return "".join(block.html for block in parsed(text))


def _tied(above: Block, below: Block, between: str) -> bool:
    """Whether a block's end hangs on the one above: a paragraph right below a numbered list (see ui.markdown)."""
    return above.kind == "ordered_list_open" and below.kind == "paragraph_open" and bool(between.strip())


class OpenCode:
    """The code of a fence whose end has not come: `parts` stand, `rest` is what is still written, its last line plain.

    Colours are of each part by itself; the finished block is coloured as a whole.
    """

    def __init__(self, text: str, begin: int) -> None:
        """`begin`: where the opening line begins, whole."""
        end = text.index("\n", begin)
        opening = _OPENING.match(text, begin)
        marker = opening[2] if opening else "```"
        info = text[begin + len(opening[0]) : end].strip() if opening else ""
        self.language = info.split()[0] if info else ""
        self.parts: list[str] = []
        self.rest = ""
        self.end = begin  # once it has closed: where the text goes on
        self._indent = re.compile(rf" {{0,{len(opening[1]) if opening else 0}}}")
        self._closing = re.compile(rf" {{0,3}}{re.escape(marker[0])}{{{len(marker)},}}[ \t]*")
        self._marker = marker[0]
        self._at = end + 1  # the first character not yet taken
        self._lines: list[str] = []  # whole ones that are in no part yet
        self._coloured = ""  # as HTML
        self._amid = False  # whether a part ended inside a line

    def take(self, text: str) -> bool:
        """Take the text so far. Returns False where the fence has closed."""
        before = len(self._lines), len(self.parts)
        while (end := text.find("\n", self._at)) >= 0:
            line = text[self._at : end]
            if not self._amid and self._closing.fullmatch(line):
                self.end = end + 1
                return False
            self._lines.append(self._plain(line) + "\n")
            self._at, self._amid = end + 1, False
            whole = len(self._lines) >= MOST_LINES or sum(map(len, self._lines)) > PART
            if whole or (len(self._lines) >= PART_LINES and not line.strip()):
                self._stand()
        last = text[self._at :]
        if len(last) > PART:
            self._lines.append(self._plain(last))
            self._at, self._amid, last = len(text), True, ""
            self._stand()
        if before != (len(self._lines), len(self.parts)):
            self._coloured = highlighted("".join(self._lines), self.language)
        may_be_the_end = not last.strip(f"{self._marker} ")
        self.rest = self._coloured + ("" if may_be_the_end else escape(self._plain(last)))
        return True

    def frame(self) -> dict[str, object]:
        """As the page gets it."""
        return {"language": self.language, "parts": list(self.parts), "rest": self.rest}

    def _plain(self, line: str) -> str:
        return line if self._amid else self._indent.sub("", line, count=1)

    def _stand(self) -> None:
        self.parts.append(highlighted("".join(self._lines), self.language))
        self._lines.clear()
