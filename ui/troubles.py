"""What went wrong between the page and the gateway, in words for whoever chats: no address, no number of an error."""

from cli.client import GatewayError
from ui.words import Words

FROM_A_PROXY = {413: "body_too_large", 429: "rate_limit_exceeded"}
"""Statuses that say enough where whatever stands before the gateway answers, in a form of its own."""

TOO_LONG = ("context_length_exceeded", "maximum context length")
"""A code of the gateway's, and words of vLLM's, which has none."""


def plain(say: Words, error: GatewayError | None) -> str:
    """The sentence for `error`: the language's own (`trouble_` and the error's code), else what the gateway said.

    None: a defect of the page itself while it read an answer.
    """
    if error is None:
        return say("trouble_unreadable")
    if error.status == 401:
        return say("trouble_key")
    if error.code == TOO_LONG[0] or (error.status == 400 and TOO_LONG[1] in error.message):
        return say("trouble_too_long")
    code = FROM_A_PROXY.get(error.status, error.code) if error.code == "no_reason" else error.code
    key = f"trouble_{code}"
    return say(key, error=error.message) if key in say.sentences else error.message


def passes(error: GatewayError) -> bool:
    """Whether it may pass by itself: nobody answered, or a proxy did, or the gateway can't reach its records."""
    return error.status in (0, 502, 503, 504)


def needs_key(error: GatewayError) -> bool:
    """Whether signing in is what helps."""
    return error.status == 401
