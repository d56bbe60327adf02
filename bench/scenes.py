"""The states of the page that pictures are taken of, in the order in which one leads to the next.

A scene is a name and how to reach it from the scene before. Those of `SCRIPTED` need the tests' gateway, whose answers
can be set; `PLAIN` ones work on any running page.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

QUESTION = "Plan three dinners for two, no nuts."
THOUGHT = """The user wants three dinners for two people. The rule is: no nuts, so I leave out pesto and satay.
I should keep each dinner simple, name it, and give the main ingredients. Monday can be soup, Tuesday rice, and
Wednesday something from the oven. A table reads well; at the end one line about shopping."""
ANSWER = """Here are **three dinners for two**, without nuts:

| Day | Dinner | What you need |
|---|---|---|
| Monday | Leek and potato soup | 2 leeks, 3 potatoes, stock, cream |
| Tuesday | Lemon rice with peas | 150 g rice, peas, 1 lemon, parsley |
| Wednesday | Baked cod with tomatoes | 2 fillets, 400 g tomatoes, olives |

Buy the cod on Wednesday. The rest keeps:

1. Cook double the rice on Tuesday.
2. Freeze what is left of the soup.

Each takes about $t = 30$ minutes."""
OTHER = """Three dinners, quick and without nuts:

1. **Monday:** omelette with chives, green salad
2. **Tuesday:** pasta with courgettes and lemon
3. **Wednesday:** chickpea curry with rice
Start with the one you like best."""
CODE = r"""The mean and its error, in a function:

```python
from statistics import fmean, stdev


def mean_and_error(values: list[float]) -> tuple[float, float]:
    '''The mean and its standard error; needs two values at least.'''
    return fmean(values), stdev(values) / len(values) ** 0.5
```

It is $\sigma / \sqrt{n}$, where

$$\sigma^2 = \frac{1}{n - 1} \sum_{i=1}^{n} (x_i - \bar{x})^2$$

> Fewer than two values raise an error."""


@dataclass
class Stage:
    """The page that is looked at. `gateway` is the tests' own, or None in front of a house that really answers."""

    page: Any
    url: str
    gateway: Any = None
    question: str = QUESTION

    def open(self, query: str = "") -> None:
        """Load the page at an address, and wait for its first values."""
        self.page.goto(self.url + query)
        self.page.wait_for_function("() => window.ruminate?.me?.consent")

    def ask(self, text: str) -> None:
        """Write and send."""
        self.page.fill("#message", text)
        self.page.press("#message", "Enter")

    def answered(self) -> None:
        """Wait until nothing is being answered."""
        self.page.wait_for_function("() => !window.ruminate.answering()", timeout=240_000)

    def says(self, response: str, **how: Any) -> None:
        """Set the next answers of the tests' gateway."""
        from support.fake_chat_gateway import Script

        how = {"pause": 0.01} | how
        self.gateway.script = Script(thought=_pieces(THOUGHT.replace("\n", " ")), response=_pieces(response), **how)

    def escape(self) -> None:
        """Close what lies over the page."""
        self.page.keyboard.press("Escape")


def _pieces(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")] if text else []


def _welcome(stage: Stage) -> None:
    stage.open()


def _thinking(stage: Stage) -> None:
    stage.ask(stage.question)
    long_enough = "() => (document.querySelector('.thought-text')?.textContent.length ?? 0) > 20"
    stage.page.wait_for_function(long_enough, timeout=60_000)


def _answered(stage: Stage) -> None:
    stage.page.wait_for_selector(".row.assistant:not(.live) .by", timeout=240_000)
    stage.page.mouse.move(0, 0)


def _thought(stage: Stage) -> None:
    stage.page.click(".thought summary")


def _options(stage: Stage) -> None:
    stage.page.click(".thought summary")
    stage.page.click("#options")


def _feedback(stage: Stage) -> None:
    stage.escape()
    stage.page.click("[data-do=bad]")
    stage.page.click("[data-tag=incomplete]")
    stage.page.fill(".why input", "Thursday is missing")


def _keep(stage: Stage) -> None:
    stage.page.click(".why [aria-label=Close]")
    stage.page.click("[data-do=keep]")


def _menu(stage: Stage) -> None:
    stage.page.click("dialog [value=no]")
    if stage.page.locator("#side").is_hidden():
        stage.page.click("#menu")
    stage.page.click(".item .icon-button")


def _rename(stage: Stage) -> None:
    stage.page.click(".menu button >> nth=0")


def _delete(stage: Stage) -> None:
    stage.escape()
    if stage.page.locator("#side").is_hidden():
        stage.page.click("#menu")
    stage.page.click(".item .icon-button")
    stage.page.click(".menu .danger")


def _search(stage: Stage) -> None:
    stage.escape()
    if stage.page.locator("#side").is_hidden():
        stage.page.click("#menu")
    stage.page.fill("#search", "rhubarb")


def _settings(stage: Stage) -> None:
    stage.page.fill("#search", "")
    if stage.page.locator("#scrim").is_visible():
        stage.page.click("#scrim", position={"x": 380, "y": 400})
    stage.page.click("#settings")


def _training(stage: Stage) -> None:
    stage.escape()
    stage.page.click("#tab-training")
    stage.page.wait_for_selector(".live-card")


def _plots(stage: Stage) -> None:
    _look_at_plots(stage, 0)


def _win_rates(stage: Stage) -> None:
    _look_at_plots(stage, 1)


def _look_at_plots(stage: Stage, which: int) -> None:
    plots = stage.page.locator(".plots").nth(which)
    if plots.count():
        plots.evaluate("(box) => box.previousElementSibling.scrollIntoView()")
        box = plots.locator("svg.plot").first.bounding_box()
        stage.page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + box["height"] / 2)


def _checkpoint(stage: Stage) -> None:
    stage.page.evaluate("document.querySelector('.training a[href*=checkpoint]').click()")
    stage.page.wait_for_selector(".facts")
    verdict = stage.page.locator(".training h2", has_text="Verdict of the gate")
    if verdict.count():
        verdict.evaluate("(heading) => heading.scrollIntoView()")


def _choosing(stage: Stage) -> None:
    stage.open()
    if stage.gateway is not None:
        stage.says(ANSWER, more={"ruminate-v1": ["\n\nA third soup."]})
    stage.page.click("#options")
    stage.page.click("[data-option=compare] label:has-text('With another version')")
    stage.escape()
    stage.ask(stage.question)
    stage.page.wait_for_selector(".choose", state="visible", timeout=240_000)


def _chosen(stage: Stage) -> None:
    stage.page.click("[data-choice=left]")
    stage.page.wait_for_selector(".chosen")


PLAIN: dict[str, Callable[[Stage], None]] = {
    "welcome": _welcome,
    "thinking": _thinking,
    "answered": _answered,
    "thought": _thought,
    "options": _options,
    "feedback": _feedback,
    "keep": _keep,
    "menu": _menu,
    "rename": _rename,
    "delete": _delete,
    "search": _search,
    "settings": _settings,
    "training": _training,
    "plots": _plots,
    "win-rates": _win_rates,
    "checkpoint": _checkpoint,
    "choosing": _choosing,
    "chosen": _chosen,
}


def _samples(stage: Stage) -> None:
    stage.says(ANSWER)
    stage.open("/?checkpoint=v2")
    stage.page.locator("tr", has_text="Name a soup.").scroll_into_view_if_needed()


def _promote(stage: Stage) -> None:
    stage.open("/?checkpoint=v1")
    stage.page.click("[data-do=promote]")


def _round(stage: Stage) -> None:
    stage.open("/?round=1")
    stage.page.wait_for_selector(".facts")


def _training_empty(stage: Stage) -> None:
    kept, stage.gateway.rounds = stage.gateway.rounds, []
    stage.open("/?view=training")
    stage.page.wait_for_selector(".live-card")
    stage.gateway.rounds = kept


def _files(stage: Stage) -> None:
    stage.open()
    for name in ("soup.md", "shopping.txt"):
        stage.page.set_input_files("#file-input", {"name": name, "mimeType": "text/plain", "buffer": b"# Soup\n\nleek"})
    stage.page.fill("#message", "How do I write this in Python, and what is the formula?")


def _code(stage: Stage) -> None:
    stage.says(CODE)
    stage.page.press("#message", "Enter")
    stage.answered()


def _editing(stage: Stage) -> None:
    stage.page.locator(".row.user").hover()
    stage.page.click("[data-do=edit]")


def _branches(stage: Stage) -> None:
    stage.says(OTHER)
    stage.page.fill(".editor textarea", QUESTION)
    stage.page.press(".editor textarea", "Enter")
    stage.page.wait_for_selector(".row.assistant:not(.live) .by")


def _error(stage: Stage) -> None:
    stage.says("", refuse=(503, "no engine is ready; it is starting", "engine_unavailable"))
    stage.ask("And for Thursday?")
    stage.page.wait_for_selector(".note.failed")


def _limited(stage: Stage) -> None:
    stage.says("", refuse=(429, "60 requests a minute are allowed", "rate_limit_exceeded"))
    stage.page.click(".note.failed button")
    stage.page.wait_for_selector(".note.failed:has-text('in a minute')")


def _broken_off(stage: Stage) -> None:
    stage.open()
    stage.says(ANSWER, break_after=_so_far())
    stage.ask(QUESTION)
    stage.page.wait_for_selector(".note.failed")


def _stopped(stage: Stage) -> None:
    stage.open()
    stage.says(ANSWER, hold_at=(_so_far(),))
    stage.ask(QUESTION)
    stage.page.wait_for_selector(".row.live .md td")
    stage.page.click("#stop")
    stage.page.wait_for_selector(".row.assistant:not(.live) .note")
    stage.gateway.release()


def _so_far() -> int:
    """After how many pieces of an answer its thought is whole and a part of its table is there."""
    return len(_pieces(THOUGHT)) + 40


def _lost(stage: Stage) -> None:
    stage.page.context.set_offline(True)
    stage.page.wait_for_selector("#lost:visible")


def _round_waits(stage: Stage) -> None:
    from support.fake_rounds import round_view

    with stage.page.expect_navigation():  # the page comes back by itself
        stage.page.context.set_offline(False)
    kept, stage.gateway.rounds = stage.gateway.rounds, [stage.gateway.rounds[0], round_view(2, "requested", 0)]
    stage.open("/?view=training")
    stage.page.wait_for_selector(".live-card")
    stage.gateway.rounds = kept


def _not_found(stage: Stage) -> None:
    stage.open("/?c=nothere")
    stage.page.wait_for_selector(".toast")


def _sign_in(stage: Stage) -> None:
    stage.gateway.key = "rk-right"
    try:
        stage.page.goto(stage.url)
        stage.page.fill("dialog.signin input", "rk-wrong")
        stage.page.click("dialog.signin .primary")
        stage.page.wait_for_function("() => document.querySelector('dialog.signin .failed').textContent")
    finally:
        stage.gateway.key = None


SCRIPTED: dict[str, Callable[[Stage], None]] = {
    "samples": _samples,
    "promote": _promote,
    "round": _round,
    "training-empty": _training_empty,
    "files": _files,
    "code": _code,
    "editing": _editing,
    "branches": _branches,
    "error": _error,
    "limited": _limited,
    "broken-off": _broken_off,
    "stopped": _stopped,
    "lost": _lost,
    "round-waits": _round_waits,
    "not-found": _not_found,
    "sign-in": _sign_in,
}
