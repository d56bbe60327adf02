"""One answer while it is being written: takes the gateway's pieces, gives the page's frames.

Knows neither threads nor Gradio nor HTTP; time comes in from outside, so that tests need no clock.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cli.client import Delta
from ui.streamed import StreamedMarkdown


class Phase(StrEnum):
    """Where an answer is. The last three are final."""

    WAITING = "waiting"
    THINKING = "thinking"
    RESPONDING = "responding"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """Whether no further piece can come."""
        return self in (Phase.DONE, Phase.STOPPED, Phase.FAILED)


@dataclass
class Answer:
    """The text so far and what is known about it. Times are seconds on one monotonic clock."""

    started: float
    phase: Phase = Phase.WAITING
    thought: str = ""
    response: str = ""
    model: str = ""
    generation_id: str | None = None
    conversation_id: str | None = None
    finish_reason: str | None = None
    thought_began: float | None = None
    thought_seconds: float | None = None
    thought_tokens: int | None = None  # None until the gateway has told
    tokens: int | None = None
    error: str | None = None
    markdown: StreamedMarkdown = field(default_factory=StreamedMarkdown)

    def feed(self, delta: Delta, now: float) -> None:
        """Take one piece of the stream."""
        self.model = delta.model or self.model
        self.generation_id = delta.generation_id or self.generation_id
        self.conversation_id = delta.conversation_id or self.conversation_id
        self.finish_reason = delta.finish_reason or self.finish_reason
        if delta.content and self.phase is Phase.THINKING:
            self._close_thought(now)
        if delta.usage:
            self._count(delta.usage)
        if delta.reasoning:
            if self.thought_began is None:
                self.thought_began = now
            self.phase = Phase.THINKING if not self.response else self.phase
            self.thought += delta.reasoning
        if delta.content:
            self.phase = Phase.RESPONDING
            self.response += delta.content

    def finish(self, now: float, stopped: bool = False) -> None:
        """The stream has ended, by itself or because somebody stopped it."""
        if self.phase is Phase.THINKING:
            self._close_thought(now)
        if not self.phase.over:
            self.phase = Phase.STOPPED if stopped else Phase.DONE

    def fail(self, sentence: str, now: float) -> None:
        """The stream broke; `sentence` is for the reader. What was written stays."""
        if self.phase is Phase.THINKING:
            self._close_thought(now)
        self.phase, self.error = Phase.FAILED, sentence

    def frame(self, now: float) -> dict[str, Any]:
        """What the page needs to draw the answer: plain JSON values, never shared with a later frame.

        `thought` only grows, `blocks` and the parts of `code` only gain items, so what Gradio sends of a frame is
        what is new in it.
        """
        if self.phase.over:
            self.markdown.finish(self.response)
        else:
            self.markdown.update(self.response)
        return {
            "phase": self.phase.value,
            "thought": self.thought,
            "elapsed": None if self.thought_began is None else round(now - self.thought_began, 2),
            "seconds": self.thought_seconds,
            "thought_tokens": self.thought_tokens,
            "blocks": list(self.markdown.blocks),
            "tail": list(self.markdown.tail),
            "code": self.markdown.code and self.markdown.code.frame(),
            "text": self.response if self.phase.over else "",
            "model": self.model,
            "generation": self.generation_id,
            "conversation": self.conversation_id,
            "tokens": self.tokens,
            "finish": self.finish_reason,
            "error": self.error,
        }

    def _close_thought(self, now: float) -> None:
        self.thought_seconds = round(now - (self.thought_began if self.thought_began is not None else now), 1)
        if self.tokens is not None and self.thought_tokens is None:
            self.thought_tokens = self.tokens  # tokens written when the response begins; the exact count comes last

    def _count(self, usage: dict[str, Any]) -> None:
        if usage.get("completion_tokens") is not None:
            self.tokens = int(usage["completion_tokens"])
        exact = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
        if exact and self.thought:
            self.thought_tokens = int(exact)
