r"""LaTeX inside Markdown, drawn by the browser itself as MathML: `$…$`, `\(…\)`, `$$…$$` and `\[…\]`.

A single dollar opens a formula only as in Pandoc (no space inside it, no digit after it), so that prices stay prices.
latex2mathml builds the tree; the text is written here, since its own writer lets `\text{<img onerror=…>}` through.
"""

from collections.abc import Sequence
from html import escape, unescape
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

_INLINE = (("\\(", "\\)", False), ("\\[", "\\]", True), ("$$", "$$", True), ("$", "$", False))
_BLOCK = (("$$", "$$"), ("\\[", "\\]"))


def add_formulas(reader: MarkdownIt) -> None:
    """Teach a Markdown reader the formulas."""
    reader.inline.ruler.before("escape", "formula", _inline_rule)
    reader.block.ruler.before("fence", "formula_block", _block_rule, {"alt": ["paragraph", "blockquote", "list"]})
    reader.add_render_rule("formula", _draw)


def _inline_rule(state: StateInline, silent: bool) -> bool:
    for opening, closing, display in _INLINE:
        if not state.src.startswith(opening, state.pos):
            continue
        begin = state.pos + len(opening)
        end = state.src.find(closing, begin, state.posMax)
        latex = state.src[begin:end]
        if end < 0 or not latex.strip() or (opening == "$" and not _plausible(state.src, latex, end)):
            return False
        if not silent:
            _push(state, latex, display)
        state.pos = end + len(closing)
        return True
    return False


def _plausible(text: str, latex: str, end: int) -> bool:
    after = text[end + 1 : end + 2]
    return not latex[0].isspace() and not latex[-1].isspace() and not after.isdigit() and "\n" not in latex


def _block_rule(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    begin = state.bMarks[first] + state.tShift[first]
    for opening, closing in _BLOCK:
        if not state.src.startswith(opening, begin):
            continue
        end = state.src.find(closing, begin + len(opening))
        if end < 0 or end > state.eMarks[last - 1] or "\n\n" in state.src[begin:end]:
            return False
        line = first
        while state.eMarks[line] < end:
            line += 1
        if state.src[end + len(closing) : state.eMarks[line]].strip():
            return False  # words follow on the line: a formula within a paragraph
        if not silent:
            token = _push(state, state.src[begin + len(opening) : end], True)
            token.map = [first, line + 1]
        state.line = line + 1
        return True
    return False


def _push(state: StateInline | StateBlock, latex: str, display: bool) -> Token:
    token = state.push("formula", "math", 0)
    token.content, token.meta = latex.strip(), {"display": display}
    return token


def _draw(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    display = bool(token.meta.get("display"))
    try:
        mathml = _written(convert_to_element(token.content, display="block" if display else "inline"))
    except Exception:  # noqa: BLE001 - the converter raises many kinds on a model's half-right LaTeX: show the source
        return f"<code>{escape(token.content)}</code>"
    return f'<div class="formula" tabindex="0">{mathml}</div>' if display else mathml


# What may stand on an element: shapes and sizes, never an address, a style or a handler.
_ATTRIBUTES = frozenset(
    ("accent", "columnalign", "columnlines", "columnspacing", "display", "displaystyle", "fence", "form", "height")
    + ("linethickness", "lspace", "mathcolor", "mathsize", "mathvariant", "maxsize", "minsize", "movablelimits")
    + ("notation", "rowlines", "rowspacing", "rspace", "scriptlevel", "separator", "stretchy", "width")
)


def _written(element: Element) -> str:
    tag = element.tag if element.tag.isalpha() else "mrow"
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in element.attrib.items() if key in _ATTRIBUTES)
    inside = _text(element.text) + "".join(_written(child) + _text(child.tail) for child in element)
    return f"<{tag}{attributes}>{inside}</{tag}>"


def _text(text: str | None) -> str:
    return escape(unescape(text or ""))
