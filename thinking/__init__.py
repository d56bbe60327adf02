"""The format of a thinking model's text: one writer, one reader, a streaming splitter and the chat templates.

The core stands on the standard library alone. `thinking.vllm_parser` is the one module beside it that needs vLLM, and
nothing here imports it.
"""

from thinking.format import FORMATS, PLAIN, PREFILLED, THINK, ZERO, Parsed, ThinkingFormat
from thinking.splitter import Ending, Pieces, Splitter

__all__ = ["FORMATS", "PLAIN", "PREFILLED", "THINK", "ZERO", "Ending", "Parsed", "Pieces", "Splitter", "ThinkingFormat"]
