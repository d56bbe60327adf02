"""The page's web server: Gradio mounted in FastAPI, static files, sign-in, headers that keep it at home."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cli.client import GatewayError
from ui.compare import Pair
from ui.markdown import code_styles
from ui.page import build, head
from ui.people import COOKIE, People
from ui.preview import ABOUT, put_in_place
from ui.settings import UiSettings
from ui.stream import Running, RunningAnswers
from ui.troubles import needs_key, plain
from ui.words import load_words

# Gradio reads these when it is built.
GRADIO = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",  # else pandas groups up to 10,000 past events at each new one: ever slower
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**12),
    "HF_HUB_OFFLINE": "1",
}
STATIC = Path(__file__).parent / "static"

# Nothing is loaded from, or sent to, anywhere but this server, whatever an answer contains. Gradio builds functions
# from text ('unsafe-eval') and has scripts and styles inline.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)


def create_app(settings: UiSettings) -> FastAPI:
    """The whole web application for `settings`."""
    os.environ.update(GRADIO)
    words = load_words(settings.language)
    people = People(settings.gateway)
    answers: RunningAnswers[Running | Pair] = RunningAnswers()
    styles = code_styles()
    version = _version(styles + json.dumps(words.sentences))
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(AtHome)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ui/code.css")
    def code() -> Response:
        return Response(styles, media_type="text/css")

    @app.get("/ui/words.js")
    def sentences() -> Response:
        script = f"window.ruminateWords = {json.dumps(words.sentences)};\n"
        script += f"document.documentElement.lang = {json.dumps(settings.language)};\n"
        return Response(script, media_type="text/javascript")

    def renamed(reply: JSONResponse, request: Request, browser: str) -> JSONResponse:
        reply.headers.append("Set-Cookie", cookie(browser, request.url.scheme))
        return reply

    @app.post("/signin")
    def sign_in(request: Request, given: dict[str, Any]) -> JSONResponse:
        key = str(given.get("key") or "").strip()
        if not (key.isascii() and key.isprintable()):  # no header can carry it: a dash that a messenger changed, say
            return JSONResponse({"error": words("signin_wrong")}, status_code=401)
        try:
            people.with_key(key).me()
        except GatewayError as error:
            sentence = words("signin_wrong") if needs_key(error) else plain(words, error)
            return JSONResponse({"error": sentence}, status_code=401 if needs_key(error) else 502)
        browser = people.browser(request.cookies)
        answers.end(browser)
        return renamed(JSONResponse({"signed": True}), request, people.sign_in(browser, key))

    @app.post("/signout")
    def sign_out(request: Request) -> JSONResponse:
        browser = people.browser(request.cookies)
        answers.end(browser)
        return renamed(JSONResponse({"signed": False}), request, people.sign_out(browser))

    app.mount("/ui", StaticFiles(directory=STATIC))
    put_in_place()
    blocks = build(people, answers, words, version)
    mounted = gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        head=head(version),
        favicon_path=STATIC / "mark.svg",
        theme=_theme(),
        footer_links=[],
        run_history=False,  # else Gradio keeps everybody's calls in the browser, to be sent to a hub
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        show_error=False,
    )
    config: Any = blocks.config  # which the line above has made
    config[ABOUT] = words("about")
    return mounted


def cookie(browser: str, scheme: str) -> str:
    """The header's value that names a browser."""
    secure = "; Secure" if scheme == "https" else ""
    return f"{COOKIE}={browser}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax{secure}"


class AtHome:
    """ASGI middleware: names a browser by a cookie at its first page; sends the headers that keep the page private."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = f"{COOKIE}=" in Headers(scope=scope).get("cookie", "")

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                if not known and scope["path"] == "/":
                    headers.append("Set-Cookie", cookie(People.new_browser(), scope.get("scheme", "http")))
            await send(message)

        await self._app(scope, receive, sending)


def _theme() -> gr.themes.Base:
    """Gradio's plainest theme with the system's own fonts: the default one asks a font server."""
    return gr.themes.Base(font=["ui-sans-serif", "system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def _version(made: str) -> str:
    digest = hashlib.sha256(made.encode())
    for file in sorted(STATIC.iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
