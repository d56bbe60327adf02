"""The vLLM reasoning parsers `ruminate`, `ruminate_prefilled` and `ruminate_zero`, built on the one splitter.

Loaded by vLLM through --reasoning-parser-plugin; nothing of ours imports it. Works on text, so that tags of several
tokens (Llama 3.1, Qwen2.5) serve as well as tags of one. Where a request offers no tools, the parser reads the stream
to its end and so removes stray tags from the response too; with tools it hands over to the tool parser.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from vllm.entrypoints.generate.base.protocol import DeltaMessage
from vllm.reasoning import ReasoningParser, ReasoningParserManager

from thinking.format import PREFILLED, THINK, ZERO, ThinkingFormat
from thinking.splitter import Pieces

_ANSWER = "\nAssistant:"  # after which the model writes, in the template `zero`
_TAIL_TOKENS = 12  # more tokens than any marker is long, in every tokenizer seen; the window for finding a split marker


class _FormatParser(ReasoningParser):
    """Reads one format; one instance serves one answer."""

    engine_based_streaming = True  # vLLM then asks this parser, not the token ids, whether the thought is over
    format: ThinkingFormat

    def __init__(self, tokenizer: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(tokenizer, *args, **kwargs)
        self._splitter = self.format.splitter()
        self._tools = False
        self._off = (kwargs.get("chat_template_kwargs") or {}).get("enable_thinking") is False
        self._open_id = self._single_token(self.format.open)
        self._end_id = self._single_token(self.format.thought_ends_with)

    @property
    def reasoning_start_str(self) -> str:
        return self.format.open

    @property
    def reasoning_end_str(self) -> str:
        return self.format.thought_ends_with

    def adjust_request(self, request: Any) -> Any:
        self._tools = bool(getattr(request, "tools", None))
        return request

    # -- text

    def extract_reasoning(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        prefilled = self._is_prefilled(self.format.thought_ends_with in model_output)
        parsed = replace(self.format, prefilled=prefilled).parse(model_output, finished=True)
        return parsed.reasoning or None, parsed.response or None

    def extract_reasoning_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
    ) -> DeltaMessage | None:
        return _message(self._splitter.feed(delta_text))

    def has_engine_confirmed_reasoning_end(self) -> bool:
        return self._tools and self._splitter.in_response

    def finish_streaming(self) -> DeltaMessage | None:
        """What the splitter still holds when the stream ends, or when a tool parser takes over."""
        pieces, _ = self._splitter.finish(finished=True)
        return _message(pieces)

    # -- token ids, for structured output and for counting

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        """Whether the last thought that was opened in `input_ids` (prompt, or prompt and output) is closed."""
        if self._open_id is not None and self._end_id is not None:
            for token in reversed(input_ids):
                if token in (self._open_id, self._end_id):
                    return token == self._end_id
            return False
        text = self.model_tokenizer.decode(list(input_ids))
        end = text.rfind(self.format.thought_ends_with)
        return end >= 0 and end > text.rfind(self.format.open)

    def is_reasoning_end_streaming(self, input_ids: Sequence[int], delta_ids: Iterable[int]) -> bool:
        delta = list(delta_ids)
        if self._end_id is not None:
            return self._end_id in delta
        tail = list(input_ids[-(len(delta) + _TAIL_TOKENS) :])
        return self.format.thought_ends_with in self.model_tokenizer.decode(tail)

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        return input_ids[self._thought_length(input_ids) :]

    def count_reasoning_tokens(self, token_ids: Sequence[int]) -> int:
        """Tokens between the markers, of the first thought: what is opened after its end is none. Markers of one token
        are not counted, those of several are (they blur)."""
        ids = list(token_ids)
        if self._open_id is not None and self._end_id is not None:
            end = ids.index(self._end_id) if self._end_id in ids else len(ids)
            if self._open_id in ids[:end]:
                return end - ids.index(self._open_id) - 1
            return end if self._is_prefilled(self._end_id in ids) else 0
        text = self.model_tokenizer.decode(ids)
        if not self._is_prefilled(self.format.thought_ends_with in text) and not text.lstrip().startswith(
            self.format.open
        ):
            return 0
        return self._thought_length(ids) if self.format.thought_ends_with in text else len(ids)

    def _is_prefilled(self, ends: bool) -> bool:
        """Whether an answer begins inside of its thought, which `ends` in it: where thinking is off, the template has
        closed the thought that it opened, unless it knows no off."""
        return self.format.prefilled and (ends or not self._off)

    def _thought_length(self, ids: list[int]) -> int:
        """How many tokens stand up to and including the end of the thought; 0 where it does not end."""
        if self._end_id is not None:
            return ids.index(self._end_id) + 1 if self._end_id in ids else 0
        marker = self.format.thought_ends_with
        if marker not in self.model_tokenizer.decode(ids):
            return 0
        low, high = 1, len(ids)
        while low < high:  # the shortest beginning that holds the marker
            middle = (low + high) // 2
            if marker in self.model_tokenizer.decode(ids[:middle]):
                high = middle
            else:
                low = middle + 1
        return low

    def _single_token(self, marker: str) -> int | None:
        ids = self.model_tokenizer.encode(marker, add_special_tokens=False)
        return ids[0] if len(ids) == 1 else None


def _message(pieces: Pieces) -> DeltaMessage | None:
    if not pieces.reasoning and not pieces.response:
        return None
    return DeltaMessage(reasoning=pieces.reasoning or None, content=pieces.response or None)


class ThinkParser(_FormatParser):
    """The model writes <think> itself (warm start)."""

    format = THINK


class PrefilledParser(_FormatParser):
    """The chat template wrote <think> (DeepSeek-R1 distills, Qwen3-Thinking)."""

    format = PREFILLED


class ZeroParser(_FormatParser):
    """Thought and response both in tags (zero mode), which the template's first paragraph shows in an example."""

    format = ZERO

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        answer = self.model_tokenizer.decode(list(input_ids)).rpartition(_ANSWER)[2]
        end = answer.rfind(self.format.thought_ends_with)
        return end >= 0 and end > answer.rfind(self.format.open)


for _name, _parser in (
    ("ruminate", ThinkParser),
    ("ruminate_prefilled", PrefilledParser),
    ("ruminate_zero", ZeroParser),
):
    ReasoningParserManager.register_module(_name, module=_parser)
