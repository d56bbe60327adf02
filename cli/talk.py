"""Chat in a terminal: the thought dimmed as it comes, then the response."""

import sys
from typing import TextIO

from cli.client import GatewayClient, GatewayError, Message

_DIM, _RESET = "\x1b[2m", "\x1b[0m"


def converse(client: GatewayClient, prompt: str | None, model: str, think: bool, show: bool) -> None:
    """Answer one prompt, or hold a conversation until the end of input.

    Raises GatewayError, but where a person types: they are told, and may ask again.
    """
    messages: list[Message] = []
    conversation: str | None = None
    while True:
        text = prompt if prompt is not None else _ask()
        if not text:
            return
        messages.append({"role": "user", "content": text})
        try:
            response, conversation = answer(client, messages, model, think, show, sys.stdout, conversation)
        except GatewayError as error:
            if prompt is not None or not sys.stdin.isatty():
                raise
            print(f"ruminate: {error.message}", file=sys.stderr)
            messages.pop()  # ask again, or something else: what was said before stands
            continue
        messages.append({"role": "assistant", "content": response})
        if prompt is not None:
            return


def answer(
    client: GatewayClient,
    messages: list[Message],
    model: str,
    think: bool,
    show: bool,
    out: TextIO,
    conversation: str | None = None,
) -> tuple[str, str | None]:
    """Stream one answer to `out`. Returns the response and the conversation's id."""
    dim, reset = (_DIM, _RESET) if out.isatty() else ("", "")
    extra = {} if think else {"chat_template_kwargs": {"enable_thinking": False}}
    headers = {"X-Ruminate-Conversation": conversation} if conversation else {}
    response, thinking, writer, reason = "", False, None, None
    try:
        for delta in client.stream_chat(messages, model, headers, **extra):
            conversation, writer = delta.conversation_id or conversation, delta.model or writer
            reason = delta.finish_reason or reason
            if delta.reasoning and show:
                out.write((dim if not thinking else "") + delta.reasoning)
                thinking = True
            if delta.content:
                out.write((f"{reset}\n\n" if thinking else "") + delta.content)
                thinking = False
                response += delta.content
            out.flush()
    except BaseException:
        out.write(f"{reset}\n")  # the terminal is the person's again, whatever ended the thought
        raise
    out.write(f"{reset}\n{dim}— {writer}{_note(reason, response)}{reset}\n")
    return response, conversation


def _note(reason: str | None, response: str) -> str:
    if reason == "length":
        return " (cut off at the length limit" + ("" if response else ", while it was still thinking") + ")"
    return "" if response else " (no response)"


def _ask() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""
