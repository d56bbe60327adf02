"""The vLLM parsers, driven through vLLM's own delegating parser, with tags of one token and of several."""

import json
from typing import Any

import pytest
from support.components import require_component
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = "<think>\nplan the dinner\n</think>\n\nHere it is."


def tokenizer(single: bool) -> Any:
    """A byte-level BPE, as Qwen2.5 and Llama 3.1 have; `single` adds the tags as tokens, as Qwen3 does."""
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(["plan the dinner here it is"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe)
    if single:
        fast.add_tokens(["<think>", "</think>"])
    return fast


@pytest.fixture(scope="module")
def parsers() -> Any:
    try:
        import vllm  # noqa: F401
    except ImportError:
        require_component(False, "vLLM")
    import thinking.vllm_parser as ours

    return ours


@pytest.fixture(params=[True, False], ids=["one-token-tags", "many-token-tags"])
def served(request: pytest.FixtureRequest, parsers: Any) -> tuple[Any, Any]:
    """A fresh vLLM parser as the chat endpoint builds it, and its tokenizer."""
    from vllm.parser.abstract_parser import DelegatingParser

    tok = tokenizer(request.param)
    kind = type("Served", (DelegatingParser,), {"reasoning_parser_cls": parsers.ThinkParser})
    return kind(tok), tok


def ask(tools: bool = False) -> Any:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
    if tools:
        body["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    return ChatCompletionRequest.model_validate(body)


def stream(parser: Any, tok: Any, text: str, request: Any) -> tuple[str, str]:
    ids = tok.encode(text, add_special_tokens=False)
    reasoning = content = ""
    shown = ""
    prompt: list[int] | None = tok.encode("user: hi", add_special_tokens=False)
    for at in range(1, len(ids) + 1):
        now = tok.decode(ids[:at])
        delta = parser.parse_delta(now[len(shown) :], [ids[at - 1]], request, prompt, finished=at == len(ids))
        shown, prompt = now, None
        if delta is not None:
            reasoning += delta.reasoning or ""
            content += delta.content or ""
    return reasoning, content


def test_streaming_and_whole_answers_are_split_alike(served: tuple[Any, Any]) -> None:
    parser, tok = served
    assert parser.parse(TEXT, ask())[:2] == ("plan the dinner", "Here it is.")
    assert stream(parser, tok, TEXT, ask()) == ("plan the dinner", "Here it is.")


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("<think>\nplan the", "plan the", ""),
        ("Here it is.", "", "Here it is."),
        ("<think>\na\n</think>\n\nHere </think> it is", "a", "Here  it is"),
    ],
)
def test_cut_missing_and_stray_tags_do_not_leak(
    served: tuple[Any, Any], text: str, reasoning: str, content: str
) -> None:
    parser, tok = served
    assert stream(parser, tok, text, ask()) == (reasoning, content)


def test_the_end_of_the_thought_is_reported_to_structured_output(served: tuple[Any, Any]) -> None:
    parser, tok = served
    reader = parser.reasoning_parser
    ids = tok.encode(TEXT, add_special_tokens=False)
    length = reader._thought_length(ids)
    assert tok.decode(ids[:length]).rstrip().endswith("</think>")
    assert not reader.is_reasoning_end(ids[: length - 1])
    assert reader.is_reasoning_end(ids[:length])
    assert reader.is_reasoning_end_streaming(ids[:length], ids[length - 1 : length])
    assert not reader.is_reasoning_end_streaming(ids[: length - 1], ids[length - 2 : length - 1])
    assert tok.decode(reader.extract_content_ids(ids)).strip() == "Here it is."


def test_reasoning_tokens_are_those_of_the_thought(served: tuple[Any, Any]) -> None:
    parser, tok = served
    thought = len(tok.encode("\nplan the dinner\n", add_special_tokens=False))
    ids = tok.encode(TEXT, add_special_tokens=False)
    counted = parser.count_reasoning_tokens(ids)
    tags = 0 if len(tok.encode("<think>", add_special_tokens=False)) == 1 else counted - thought
    assert counted - tags == thought
    assert tags < 20
    assert parser.count_reasoning_tokens(tok.encode("Here it is.", add_special_tokens=False)) == 0


@pytest.mark.parametrize("single", [True, False])
def test_a_thought_that_is_opened_after_the_first_one_ended_makes_no_count_wrong(parsers: Any, single: bool) -> None:
    tok = tokenizer(single)
    for kind, first in ((parsers.PrefilledParser, "plan the dinner\n"), (parsers.ThinkParser, "")):
        ids, thought, end = (
            tok.encode(text, add_special_tokens=False)
            for text in (f"{first}</think> here <think> it is", first, "</think>")
        )
        assert 0 <= kind(tok).count_reasoning_tokens(ids) - len(thought) <= (0 if single else len(end))


def test_a_prompt_that_ends_in_an_empty_thought_has_none_open(served: tuple[Any, Any]) -> None:
    parser, tok = served
    assert parser.is_reasoning_end(tok.encode("assistant\n<think>\n\n</think>\n\n", add_special_tokens=False))
    assert not parser.is_reasoning_end(tok.encode("user\nhi\nassistant\n", add_special_tokens=False))


@pytest.mark.parametrize("single", [True, False])
def test_with_thinking_off_a_prefilled_answer_has_no_thought_unless_its_template_knows_no_off(
    parsers: Any, single: bool
) -> None:
    from vllm.parser.abstract_parser import DelegatingParser

    tok = tokenizer(single)
    kind = type("Served", (DelegatingParser,), {"reasoning_parser_cls": parsers.PrefilledParser})
    on, off = (kind(tok, chat_template_kwargs={"enable_thinking": wish}) for wish in (True, False))
    words, thought = "Here it is.", "plan the dinner\n</think>\n\nHere it is."
    assert on.parse(words, ask())[:2] == (words, None)
    assert off.parse(words, ask())[:2] == (None, words)
    assert on.parse(thought, ask())[:2] == off.parse(thought, ask())[:2] == ("plan the dinner", words)
    ids, more = (tok.encode(text, add_special_tokens=False) for text in (words, thought))
    assert (on.count_reasoning_tokens(ids), off.count_reasoning_tokens(ids)) == (len(ids), 0)
    assert on.count_reasoning_tokens(more) == off.count_reasoning_tokens(more) > 0


def test_tools_are_left_to_the_tool_parser_after_the_thought(served: tuple[Any, Any]) -> None:
    parser, tok = served
    request = parser.adjust_request(ask(tools=True))
    call = json.dumps({"name": "f"})
    reasoning, content = stream(parser, tok, f"<think>\nplan\n</think>\n\n{call}", request)
    assert reasoning == "plan"
    assert content.strip() == call


@pytest.mark.parametrize("single", [True, False])
def test_the_example_in_zero_modes_instruction_is_no_thought_that_ended(parsers: Any, single: bool) -> None:
    from thinking.templates import template_text

    tok = tokenizer(single)
    tok.chat_template = template_text("zero")
    said = [{"role": "user", "content": "hi\nAssistant: <response>"}, {"role": "assistant", "content": "hello"}]
    said.append({"role": "user", "content": "more"})
    parser = parsers.ZeroParser(tok)

    def prompt(**options: Any) -> list[int]:
        found = tok.apply_chat_template(said, add_generation_prompt=True, return_dict=False, **options)
        return list(found)

    assert not parser.is_reasoning_end(prompt())
    assert parser.is_reasoning_end(prompt(enable_thinking=False))
    more = " <think>\nplan\n</think> <response>\nhere"
    assert parser.is_reasoning_end(prompt() + tok.encode(more, add_special_tokens=False))
    assert not parser.is_reasoning_end(prompt() + tok.encode(more[:18], add_special_tokens=False))
