"""The written form of a thought and a response: its writer, its reader, and how a text can end.

Writer and reader are inverse: ``fmt.parse(fmt.render(t, r), finished=True)`` gives back ``t`` and ``r``. The reader is
the streaming splitter fed with one piece, so that the two can never disagree. Knows no tokens and no chat templates.

Formats after "Language Models that Think, Chat Better" (arXiv 2509.20357), warm start and zero mode.
"""

from dataclasses import dataclass

from thinking.splitter import Ending, Splitter


@dataclass(frozen=True)
class Parsed:
    """One finished text, split. Both parts are without markers and without white space around them."""

    reasoning: str
    response: str
    ending: Ending

    @property
    def well_formed(self) -> bool:
        """Whether the text is a closed thought and a finished, non-empty response."""
        return self.ending is Ending.COMPLETE


@dataclass(frozen=True)
class ThinkingFormat:
    """A way of writing thoughts. `id` is what a checkpoint's manifest names.

    `prefilled`: the chat template already wrote `open`, so the model's own text starts inside the thought.
    `response_open` and `response_close` mark the response as well (zero mode); the engine may stop before
    `response_close`, which counts as finished.
    """

    id: str
    open: str = "<think>"
    close: str = "</think>"
    response_open: str | None = None
    response_close: str | None = None
    prefilled: bool = False
    thinks: bool = True

    @property
    def without_thought(self) -> "ThinkingFormat":
        """How the same model's text is read when its template has closed an empty thought: a response and no more.

        That is how thinking is switched off, and how the control of the paper (RLHF) is sampled.
        """
        return ZERO_RESPONSE if self.response_close else PLAIN

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts at which a model is stopped, which ends its answer properly: nothing may follow them."""
        return (self.response_close,) if self.response_close else ()

    @property
    def markers(self) -> tuple[str, ...]:
        """Every marker that may never stand inside a thought or a response, in no particular order."""
        if not self.thinks:
            return (self.response_close,) if self.response_close else ()
        return tuple(m for m in (self.open, self.close, self.response_open, self.response_close) if m)

    @property
    def thought_ends_with(self) -> str:
        """The marker after which the response starts."""
        return self.response_open or self.close

    def render(self, reasoning: str, response: str) -> str:
        """Write the completion that a model would produce, without the end-of-turn token.

        Raises ValueError if either part holds a marker of this format: it could not be read back.
        """
        for name, part in (("reasoning", reasoning), ("response", response)):
            for marker in self.markers:
                if marker in part:
                    raise ValueError(
                        f"the {name} holds the marker {marker!r}, which only the format may write; remove it first"
                    )
        reasoning, response = reasoning.strip(), response.strip()
        if not self.thinks:
            return f"{response}\n{self.response_close}" if self.response_close else response
        opening = "" if self.prefilled else f"{self.open}\n"
        if self.response_open is None:
            return f"{opening}{reasoning}\n{self.close}\n\n{response}"
        return f"{opening}{reasoning}\n{self.close} {self.response_open}\n{response}\n{self.response_close}"

    def parse(self, text: str, finished: bool) -> Parsed:
        """Split a whole text. `finished` is false when it was cut off (finish_reason "length" or an interruption)."""
        splitter = self.splitter()
        first = splitter.feed(text)
        last, ending = splitter.finish(finished)
        return Parsed(first.reasoning + last.reasoning, first.response + last.response, ending)

    def splitter(self) -> Splitter:
        """A new incremental reader of one text in this format."""
        return Splitter(self)


THINK = ThinkingFormat("think")
PREFILLED = ThinkingFormat("prefilled", prefilled=True)
ZERO = ThinkingFormat("zero", response_open="<response>", response_close="</response>")
PLAIN = ThinkingFormat("plain", thinks=False)
ZERO_RESPONSE = ThinkingFormat("zero-response", response_close="</response>", thinks=False)
FORMATS = {fmt.id: fmt for fmt in (THINK, PREFILLED, ZERO, PLAIN)}
