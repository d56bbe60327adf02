"""Markdown of an answer as safe HTML: code highlighted, LaTeX as MathML. How it grows is in `ui.streamed`.

The text is a model's and thus anybody's: raw HTML is escaped, links are checked, images become links (a picture's
address could carry the conversation to somebody else's server). No scripts or styles come from outside.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from ui.formulas import add_formulas

_NUMBERED = re.compile(r"\d{1,9}[.)]\s+\S")
_SCHEME = re.compile(r"(?:^|[^A-Za-z0-9_.+-])(https?)$", re.IGNORECASE)
_ADDRESS = re.compile(r"""://[^\W_][^\s<>\[\]"`|\\、。，；：！？（）「」『』【】《》〈〉“”‘’…]*""")
_AFTER_IT = "?!.,:;*_~'"  # at the end of an address these belong to the sentence around it
_TASK = re.compile(r"\[([ xX])\][ \t]+")
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


@dataclass(frozen=True)
class Block:
    """A top-level block: what it is (its first token's type), the line where it begins, its HTML."""

    kind: str
    line: int
    html: str


def parsed(text: str) -> list[Block]:
    """The top-level blocks of a text."""
    env: EnvType = {}
    groups = _top_level(_MARKDOWN.parse(text, env))
    return [Block(group[0].type, group[0].map[0] if group[0].map else 0, _html(group, env)) for group in groups]


def _top_level(tokens: Sequence[Token]) -> list[list[Token]]:
    groups: list[list[Token]] = []
    for token in tokens:
        if token.level == 0 and token.nesting >= 0:
            groups.append([])
        groups[-1].append(token)
    return groups


def _html(tokens: Sequence[Token], env: EnvType) -> str:
    return str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, env))


def _fence(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    language = token.info.strip().split()[0] if token.info.strip() else ""
    return (
        f'<figure class="code" dir="ltr"><figcaption><span>{escape(language)}</span>'
        '<button type="button" data-do="copy-code"></button></figcaption>'
        f'<pre tabindex="0"><code>{highlighted(token.content, language)}</code></pre></figure>\n'
    )


def highlighted(code: str, language: str) -> str:
    """Code with its colours as HTML; plain where the language is not known."""
    try:
        return str(highlight(code, get_lexer_by_name(language, stripnl=False, ensurenl=False), _FORMATTER))
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


def _bare_address(state: StateInline, silent: bool) -> bool:
    """An address that stands in the text by itself becomes a link, as GitHub has it: `http` and `https` only.

    Before emphasis is looked for, for an underscore in an address is none; inside of a link's own words never.
    """
    if silent or state.linkLevel > 0 or state.src[state.pos] != ":":
        return False
    scheme, rest = _SCHEME.search(state.pending), _ADDRESS.match(state.src, state.pos, state.posMax)
    if scheme is None or rest is None:
        return False
    address = _without_its_sentence(scheme[1] + rest[0])
    target = state.md.normalizeLink(address)
    if not state.md.validateLink(target):
        return False
    state.pending = state.pending[: -len(scheme[1])]
    state.push("link_open", "a", 1).attrs = {"href": target}
    state.push("text", "", 0).content = state.md.normalizeLinkText(address)
    state.push("link_close", "a", -1)
    state.pos += len(address) - len(scheme[1])
    return True


def _without_its_sentence(address: str) -> str:
    """An address without what follows it in its sentence: marks, and brackets that were opened before it."""
    while address[-1] in _AFTER_IT or (address[-1] == ")" and address.count(")") > address.count("(")):
        address = address[:-1]
    return address


def _task_list(state: StateCore) -> None:
    """An item that begins with `[ ]` or `[x]` is a box with its words, as GitHub has it; nobody can tick it here."""
    for at, item in enumerate(state.tokens[:-2]):
        paragraph, inline = state.tokens[at + 1 : at + 3]
        if item.type != "list_item_open" or paragraph.type != "paragraph_open" or not inline.children:
            continue
        first = inline.children[0]
        found = _TASK.match(first.content) if first.type == "text" else None
        if found is None:
            continue
        first.content = first.content[found.end() :]
        ticked = "" if found[1] == " " else ' checked=""'
        opening, closing = Token("html_inline", "", 0), Token("html_inline", "", 0)
        opening.content, closing.content = f'<label><input type="checkbox" disabled=""{ticked}> ', "</label>"
        inline.children = [opening, *inline.children, closing]
        item.attrJoin("class", "task")


_OUTSIDE = 'target="_blank" rel="noopener noreferrer nofollow"'


def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    add_formulas(reader)
    reader.inline.ruler.after("text", "bare_address", _bare_address)
    reader.core.ruler.after("inline", "task_list", _task_list)
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
