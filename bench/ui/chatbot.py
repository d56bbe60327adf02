"""gr.Chatbot with a long history, streaming as Gradio's guide shows it: what the page is compared with."""

import argparse
import os
import time
from collections.abc import Iterator
from typing import Any

from bench.ui.texts import OLD_TURN

FRAME_SECONDS = 0.04  # as often as the page draws


def build(gateway: str, turns: int) -> Any:
    """The Blocks, with `turns` questions and answers on the page."""
    import gradio as gr

    from cli.client import GatewayClient

    history: list[Any] = []
    for number in range(turns):
        history += [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": OLD_TURN}]

    def reply(message: str, shown: list[Any]) -> Iterator[list[Any]]:
        shown = [*shown, {"role": "user", "content": message}, {"role": "assistant", "content": ""}]
        sent = 0.0
        with GatewayClient(gateway) as client:
            for delta in client.stream_chat([{"role": "user", "content": message}]):
                shown[-1]["content"] += delta.reasoning + delta.content
                if time.monotonic() - sent > FRAME_SECONDS:
                    sent = time.monotonic()
                    yield shown
        yield shown

    with gr.Blocks(analytics_enabled=False) as blocks:
        talk = gr.Chatbot(history)
        box = gr.Textbox(elem_id="box")
        box.submit(reply, [box, talk], [talk])
    return blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--turns", type=int, default=200)
    given = parser.parse_args()

    from ui.app import GRADIO

    os.environ.update(GRADIO)  # before Gradio is imported

    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    theme = gr.themes.Base(font=["sans-serif"], font_mono=["monospace"])
    blocks = build(given.gateway, given.turns)
    app = gr.mount_gradio_app(FastAPI(), blocks, path="/", theme=theme, run_history=False)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
