"""The Gradio page: one element that is the page, invisible channels that carry values to it, events that it sends.

Gradio is the transport and the session; what is drawn, and how little a frame touches, is up to `static/`. Why not
gr.Chatbot: docs/decisions/gradio.md.
"""

import json
from typing import Any

import gradio as gr

from ui.chat import Chat
from ui.compare import Pair
from ui.people import People
from ui.places import Places
from ui.stream import Running, RunningAnswers
from ui.tab import FORGOTTEN_S, Tab
from ui.titles import Titles
from ui.training import Training
from ui.words import Words

SCRIPTS = (
    "words",
    "base",
    "place",
    "shell",
    "rows",
    "morph",
    "growing",
    "pair",
    "chat",
    "branch",
    "consent",
    "options",
    "files",
    "composer",
    "drafts",
    "reach",
    "keys",
    "side",
    "learnt",
    "keeping",
    "patch",
    "plots",
    "training",
)  # each stands on those before it
STYLES = ("page.css", "chat.css", "training.css", "code.css")
CHANNELS = ("transcript", "live", "side", "me", "training")
TABS = 2000  # open pages whose state is kept; beyond, the one unused longest is read anew at its next use
EVENTS = ("boot", "open", "answer", "halt", "act", "training", "train")


def head(version: str) -> str:
    """What the document's head loads; `version` makes browsers fetch anew what has changed."""
    styles = [f'<link rel="stylesheet" href="ui/{name}?{version}">' for name in STYLES]
    return "".join(['<meta name="referrer" content="same-origin">', *styles])


def scripts(version: str) -> str:
    """The page's scripts, which Gradio loads before it starts the page's element."""
    return "".join(f'<script src="ui/{name}.js?{version}"></script>' for name in SCRIPTS)


def build(people: People, answers: RunningAnswers[Running | Pair], words: Words, version: str) -> gr.Blocks:
    """The Blocks of the page, not yet mounted."""
    chat = Chat(people, answers, Titles(words), words)
    places, training = Places(people, chat, words), Training(people, words)
    with gr.Blocks(title=words("app"), analytics_enabled=False, fill_width=True) as blocks:
        blocks.state_session_capacity = TABS
        tab = gr.State(Tab(), time_to_live=FORGOTTEN_S)
        transcript, live, side, me, drawn = (_channel(name, version) for name in CHANNELS)
        page = gr.HTML(
            html_template="",
            js_on_load=f"ruminate.start(element, trigger); /* sends {list(EVENTS)} */",
            head=scripts(version),
            elem_id="page-block",
            apply_default_css=False,
        )
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        quiet["postprocess"] = False  # values are plain JSON; else each frame goes through a worker thread to say so
        free = {**quiet, "concurrency_limit": None}  # Gradio's default lets one person in at a time
        page.boot(places.boot, [tab], [transcript, side, me, tab], trigger_mode="multiple", **free)
        page.open(places.open, [tab], [transcript, side, me, tab], trigger_mode="multiple", **free)
        page.answer(chat.answer, [tab], [live], trigger_mode="multiple", **free).then(
            places.side, [tab], [side], **free
        )
        page.halt(chat.stop, [tab], None, trigger_mode="multiple", queue=False, **quiet)
        page.act(places.act, [tab], [transcript, side, me], trigger_mode="multiple", **free)
        page.training(training.show, None, [drawn], trigger_mode="always_last", **free)
        page.train(training.act, None, [drawn, me], **free)
    return blocks


def _channel(name: str, version: str) -> gr.HTML:
    """A component nobody sees: setting its value hands the value to the page's scripts under `name`."""
    return gr.HTML(
        html_template="",
        js_on_load=f"ruminate.channel({json.dumps(name)}, props, watch);",
        head=scripts(version),
        elem_classes=["channel"],
        apply_default_css=False,
    )
