"""The writer and the reader of the thinking format are inverse; no way of cutting a text changes how it is read."""

import ast
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import thinking
from thinking import FORMATS, PLAIN, PREFILLED, THINK, ZERO, Ending, ThinkingFormat

THINKING = [THINK, PREFILLED, ZERO]
MARKERS = ["<think>", "</think>", "<response>", "</response>"]
words = st.text(alphabet="ab <>/thinkrespo\n|é", max_size=60)
clean = words.map(str.strip).filter(lambda t: not any(m in t for m in MARKERS))
soup = st.lists(
    st.one_of(st.sampled_from([*MARKERS, "\n", " ", "<", "</", "<thi", "think>", "nk>"]), words), max_size=12
).map("".join)


def read_in_chunks(fmt: ThinkingFormat, text: str, cuts: list[int], finished: bool) -> tuple[str, str, Ending]:
    splitter = fmt.splitter()
    bounds = [0, *sorted(c % (len(text) + 1) for c in cuts), len(text)]
    pieces = [splitter.feed(text[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
    last, ending = splitter.finish(finished)
    pieces.append(last)
    return "".join(p.reasoning for p in pieces), "".join(p.response for p in pieces), ending


@pytest.mark.parametrize("fmt", THINKING, ids=lambda f: f.id)
@given(reasoning=clean, response=clean.filter(bool))
def test_what_is_written_is_read_back(fmt: ThinkingFormat, reasoning: str, response: str) -> None:
    parsed = fmt.parse(fmt.render(reasoning, response), finished=True)
    if response.endswith(("<", "</", "<t", "<r")) or any(m.startswith(response[-k:]) for m in MARKERS for k in (2, 3)):
        return  # the beginning of a marker at the very end is dropped by design; the next test covers it
    assert (parsed.reasoning, parsed.response, parsed.ending) == (reasoning, response, Ending.COMPLETE)
    assert parsed.well_formed


def test_the_beginning_of_a_marker_at_the_end_is_dropped_and_a_lone_bracket_is_kept() -> None:
    assert THINK.parse("<think>\na\n</think>\n\nis 2 <", finished=True).response == "is 2 <"
    cut = THINK.parse("<think>\na\n</think>\n\nfine </thi", finished=True)
    assert (cut.response, cut.ending) == ("fine", Ending.MALFORMED)
    assert THINK.parse("<think>\nplan\n</thi", finished=False).reasoning == "plan"


@pytest.mark.parametrize("fmt", list(FORMATS.values()), ids=lambda f: f.id)
@given(text=soup, cuts=st.lists(st.integers(0, 200), max_size=8), finished=st.booleans())
def test_any_chunking_gives_the_same_split(fmt: ThinkingFormat, text: str, cuts: list[int], finished: bool) -> None:
    parsed = fmt.parse(text, finished)
    assert read_in_chunks(fmt, text, cuts, finished) == (parsed.reasoning, parsed.response, parsed.ending)


@pytest.mark.parametrize("fmt", THINKING, ids=lambda f: f.id)
@given(text=soup, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_no_marker_leaks(fmt: ThinkingFormat, text: str, cuts: list[int]) -> None:
    splitter = fmt.splitter()
    bounds = [0, *sorted(c % (len(text) + 1) for c in cuts), len(text)]
    for a, b in zip(bounds, bounds[1:], strict=False):
        piece = splitter.feed(text[a:b])
        assert not any(m in piece.reasoning or m in piece.response for m in fmt.markers)
    reasoning, response, _ = read_in_chunks(fmt, text, cuts, True)
    assert not any(m in reasoning or m in response for m in fmt.markers)


@pytest.mark.parametrize(
    ("text", "finished", "reasoning", "response", "ending"),
    [
        ("<think>\nplan\n</think>\n\nanswer", True, "plan", "answer", Ending.COMPLETE),
        ("<think></think>answer", True, "", "answer", Ending.COMPLETE),
        ("<think>\nplan that goes", False, "plan that goes", "", Ending.TRUNCATED_THOUGHT),
        ("<thi", False, "", "", Ending.TRUNCATED_THOUGHT),
        ("", False, "", "", Ending.TRUNCATED_THOUGHT),
        ("<think>\nplan\n</think>\n\n", False, "plan", "", Ending.TRUNCATED_THOUGHT),
        ("<think>\nplan\n</think>\n\nansw", False, "plan", "answ", Ending.TRUNCATED_RESPONSE),
        ("<think>\nplan and the end", True, "plan and the end", "", Ending.MALFORMED),
        ("<think>\nplan\n</think>\n\n", True, "plan", "", Ending.MALFORMED),
        ("answer only", True, "", "answer only", Ending.NO_THOUGHT),
        ("answer </think> more", True, "", "answer  more", Ending.MALFORMED),
        ("<think>a<think>b</think>c", True, "ab", "c", Ending.MALFORMED),
        ("<think>a</think>b</think>c", True, "a", "bc", Ending.MALFORMED),
        ("<think>a</think>b<</think>think>c", True, "a", "b< think>c", Ending.MALFORMED),
        ("<think>a<thi<think>nk>b</think>c", True, "a<thi nk>b", "c", Ending.MALFORMED),
        ("", True, "", "", Ending.MALFORMED),
    ],
)
def test_every_ending_of_the_warm_start_format(
    text: str, finished: bool, reasoning: str, response: str, ending: Ending
) -> None:
    parsed = THINK.parse(text, finished)
    assert (parsed.reasoning, parsed.response, parsed.ending) == (reasoning, response, ending)


@pytest.mark.parametrize(
    ("text", "finished", "response", "ending"),
    [
        ("<think> p </think> <response> r </response>", True, "r", Ending.COMPLETE),
        ("<think> p </think> <response> r ", True, "r", Ending.COMPLETE),  # the engine stopped before </response>
        ("<think> p </think> <response> r ", False, "r", Ending.TRUNCATED_RESPONSE),
        ("<think> p </think> r", True, "r", Ending.MALFORMED),  # no <response>: kept, but malformed
        ("<think> p </think> <response> r </response> and more", True, "r  and more", Ending.MALFORMED),
        ("<think> p </think> <response> r </response>", False, "r", Ending.COMPLETE),
        ("<think> p </think> <response> r</</response>think>", True, "r</ think>", Ending.MALFORMED),
    ],
)
def test_every_ending_of_the_zero_format(text: str, finished: bool, response: str, ending: Ending) -> None:
    parsed = ZERO.parse(text, finished)
    assert (parsed.reasoning, parsed.response, parsed.ending) == ("p", response, ending)


def test_the_control_without_a_thought_reads_everything_as_response() -> None:
    parsed = PLAIN.parse(" <think> is a tag ", finished=True)
    assert (parsed.reasoning, parsed.response, parsed.ending) == ("", "<think> is a tag", Ending.COMPLETE)


def test_a_part_that_holds_a_marker_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="reasoning holds the marker '</think>'"):
        THINK.render("a </think> b", "answer")


def test_a_piece_is_emitted_as_soon_as_it_is_certain() -> None:
    splitter = THINK.splitter()
    assert splitter.feed("<think>\nfirst").reasoning == "first"
    assert splitter.feed(" second<").reasoning == " second"
    assert splitter.feed("b>").reasoning == "<b>"
    assert splitter.feed("\n</think>\n\nYes").response == "Yes"
    assert splitter.in_response


def test_the_core_stands_on_the_standard_library_alone() -> None:
    """All of the package but the plug-in that vLLM loads, which the core must not know either."""
    folder = Path(thinking.__file__).parent
    core = {path for path in folder.rglob("*.py") if path.name != "vllm_parser.py"}
    assert {folder / "format.py", folder / "splitter.py", folder / "templates" / "__init__.py"} <= core
    imported = set()
    for path in core:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} imports relatively"
                imported |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    foreign = {name for name in imported if name.partition(".")[0] not in {*sys.stdlib_module_names, "thinking"}}
    assert not foreign
    assert not any(name.startswith("thinking.vllm_parser") for name in imported)


def test_only_zero_mode_names_a_text_at_which_a_model_is_stopped() -> None:
    assert ZERO.stop == ZERO.without_thought.stop == ("</response>",)
    assert THINK.stop == PREFILLED.stop == PLAIN.stop == ()
    stopped = " " + ZERO.render("plan", "hello").removesuffix("</response>")  # an engine leaves the text itself out
    assert ZERO.parse(stopped, finished=True) == ZERO.parse(stopped + "</response>", finished=True)
