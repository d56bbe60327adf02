"""What went wrong between the page and the gateway, in words for whoever chats: no address, no number of an error."""

from cli.client import GatewayError
from ui.words import Words

TOLD = ("unreached", "silent", "broken_off", "no_reason", "engine_lost", "engine_error", "engine_unavailable")
"""Codes of what no gateway has put into words, or in words for whoever runs it, with an engine's address; what else it
says is a sentence for people already."""

TOO_LONG = ("context_length_exceeded", "maximum context length")
"""A code of the gateway's, and words of vLLM's, which has none."""


def plain(say: Words, error: GatewayError | None) -> str:
    """The sentence for `error`; None: a defect of the page itself while it read an answer."""
    if error is None:
        return say("trouble_unreadable")
    if error.status == 401:
        return say("trouble_key")
    if error.code == TOO_LONG[0] or (error.status == 400 and TOO_LONG[1] in error.message):
        return say("trouble_too_long")
    if error.code in TOLD:
        return say(f"trouble_{error.code}")
    return error.message


def needs_key(error: GatewayError) -> bool:
    """Whether signing in is what helps."""
    return error.status == 401
