"""Markdown of an answer as safe HTML: code highlighted, LaTeX as MathML, and block by block while it streams.

The text is a model's and thus anybody's: raw HTML is escaped, links are checked, images become links (a picture's
address could carry the conversation to somebody else's server). No scripts or styles come from outside.
"""

import re
from collections.abc import Sequence
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from ui.formulas import add_formulas

_NUMBERED = re.compile(r"\d{1,9}[.)]\s+\S")
_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True)
LIGHT_CODE, DARK_CODE = "xcode", "monokai"  # of Pygments' styles those whose every colour meets WCAG AA on our grounds


def render(text: str) -> str:
    """The whole text as HTML."""
    return _MARKDOWN.render(text)


def code_styles() -> str:
    """CSS of highlighted code, for a light page and a dark one."""
    light: HtmlFormatter[str] = HtmlFormatter(style=LIGHT_CODE)
    dark: HtmlFormatter[str] = HtmlFormatter(style=DARK_CODE)
    return "\n".join([light.get_style_defs("[data-theme=light] .code"), dark.get_style_defs("[data-theme=dark] .code")])


class StreamedMarkdown:
    """Renders a growing text: finished blocks once, the block still open at every update.

    A top-level block can't change any more once the next one has two whole lines (one alone may still turn out to
    belong to it), so each update parses only from there: its cost is the size of the last blocks, not of the answer.
    What stays different from rendering the whole: a link defined below its use.
    """

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.tail = ""
        self._done = 0  # characters already in `blocks`
        self._seen = -1

    def update(self, text: str) -> None:
        """Take the text so far, which must begin with the text of the update before."""
        if len(text) == self._seen:
            return
        self._seen = len(text)
        rest = text[self._done :]
        env: EnvType = {}
        groups = _top_level(_MARKDOWN.parse(rest, env))
        starts = [group[0].map[0] if group[0].map else 0 for group in groups]
        lines = rest.split("\n")
        sure = max(
            (
                at
                for at, start in enumerate(starts)
                if start + 2 <= len(lines) - 1 and not (at and _tied(groups[at - 1], groups[at], lines[start - 1]))
            ),
            default=0,
        )
        self.blocks += [_html(group, env) for group in groups[:sure]]
        if sure:
            self._done += sum(len(line) + 1 for line in lines[: starts[sure]])
        self.tail = "".join(_html(group, env) for group in groups[sure:])


def _top_level(tokens: Sequence[Token]) -> list[list[Token]]:
    groups: list[list[Token]] = []
    for token in tokens:
        if token.level == 0 and token.nesting >= 0:
            groups.append([])
        groups[-1].append(token)
    return groups


def _tied(above: Sequence[Token], below: Sequence[Token], between: str) -> bool:
    """Whether a block's end hangs on the one above: a paragraph right below a numbered list (see `_goes_on`)."""
    return above[0].type == "ordered_list_open" and below[0].type == "paragraph_open" and bool(between.strip())


def _html(tokens: Sequence[Token], env: EnvType) -> str:
    return str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, env))


def _fence(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    language = token.info.strip().split()[0] if token.info.strip() else ""
    return (
        f'<figure class="code"><figcaption><span>{escape(language)}</span>'
        '<button type="button" data-do="copy-code"></button></figcaption>'
        f'<pre tabindex="0"><code>{_highlighted(token.content, language)}</code></pre></figure>\n'
    )


def _highlighted(code: str, language: str) -> str:
    try:
        return str(highlight(code, get_lexer_by_name(language), _FORMATTER))
    except ClassNotFound:
        return escape(code)


def _image(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    words = token.content or str(token.attrs.get("src", ""))
    return f'<a href="{escape(str(token.attrs.get("src", "")))}" {_OUTSIDE}>{escape(words)}</a>'


def _link_open(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    return f'<a href="{escape(str(tokens[index].attrs.get("href", "")))}" {_OUTSIDE}>'


def _table_open(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    return '<div class="table" tabindex="0"><table>\n'


def _table_close(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    return "</table></div>\n"


def _line_below_a_list(state: StateBlock, line: int, last: int, silent: bool) -> bool:
    """Ends a list item's paragraph at a line that is not indented as far as the item.

    CommonMark lets such a line go on with the item ("lazy continuation", 5.2), for mail with broken lines. A model
    that writes it means a new paragraph; and with a next number below it, the list to go on after that.
    """
    return silent and (0 <= state.sCount[line] < state.blkIndent or _goes_on(state, line))


def _goes_on(state: StateBlock, line: int) -> bool:
    """Whether a paragraph that stands right below a numbered list is followed by an item of that list."""
    if not state.tokens or state.tokens[-1].type != "ordered_list_close" or state.sCount[line] < 0:
        return False
    began = next(t for t in reversed(state.tokens) if t.type == "ordered_list_open" and t.level == state.level)
    words = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]
    beside = began.map is not None and not any(state.isEmpty(at) for at in range(began.map[1] - 1, line))
    return beside and _NUMBERED.match(words) is not None


_OUTSIDE = 'target="_blank" rel="noopener noreferrer nofollow"'


def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    add_formulas(reader)
    reader.block.ruler.before("paragraph", "line_below_a_list", _line_below_a_list, {"alt": ["paragraph"]})
    for name, rule in (
        ("fence", _fence),
        ("code_block", _fence),
        ("image", _image),
        ("link_open", _link_open),
        ("table_open", _table_open),
        ("table_close", _table_close),
    ):
        reader.add_render_rule(name, rule)
    return reader


_MARKDOWN = _reader()
