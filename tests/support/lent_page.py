"""Pages of one browser, lent to test after test: a page made anew, in a context of its own, costs three times as much.

What a page loses when it goes to another address needs no care, and what it keeps beyond that is cleared. Where a test
does anything else to it, such as a route or another page of its context, it is not lent a second time.
"""

from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

VIEWPORT: ViewportSize = {"width": 1200, "height": 800}

_PASSING = {
    *("check", "click", "content", "evaluate", "expect_download", "expect_response", "fill", "focus", "get_by_label"),
    *("go_back", "go_forward", "goto", "hover", "inner_text", "input_value", "is_checked", "is_visible", "keyboard"),
    *("locator", "mouse", "press", "reload", "screenshot", "set_checked", "set_input_files", "set_viewport_size"),
    *("type", "uncheck", "url", "viewport_size", "wait_for_function", "wait_for_selector", "wait_for_timeout"),
    *("wait_for_url", "errors", "spent"),
}
"""What leaves nothing behind that `Lender.give_back` does not clear."""


class LentPage(Page):
    """A page of Playwright's that notes, in `spent`, whether anything was done to it that may last.

    `errors`: what its scripts failed with since it was lent.
    """

    spent: bool
    errors: list[str]

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in _PASSING:
            self.spent = True
        return super().__getattribute__(name)


def context_of(page: LentPage) -> BrowserContext:
    """For what is cleared, such as cookies; `page.context` may be for anything, and so spends the page."""
    return super(LentPage, page).context


class Lender:
    """Keeps the pages that are with nobody. `origin` is where they were: its storage is cleared."""

    def __init__(self, browser: Browser, origin: str, patience_ms: float) -> None:
        self._browser, self._origin, self._patience_ms = browser, origin.rstrip("/"), patience_ms
        self._idle: list[LentPage] = []

    def lend(self, **context: Any) -> LentPage:
        """A page that has nothing of an earlier test, and shows nothing of ours yet; with options of a context of its
        own it is lent once."""
        return self._idle.pop() if self._idle and not context else self._new(context)

    def give_back(self, page: LentPage) -> None:
        """Have it leave what it shows, so that it asks nobody for anything any more."""
        if page.spent:
            page.context.close()
            return
        page.goto(f"{self._origin}/nothing-is-here")  # no script that could keep anything
        page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); window.name = '' }")
        page.set_viewport_size(VIEWPORT)
        context_of(page).clear_cookies()
        page.errors.clear()
        self._idle.append(page)

    def close(self) -> None:
        """Close the pages that are with nobody."""
        while self._idle:
            self._idle.pop().context.close()

    def _new(self, options: dict[str, Any]) -> LentPage:
        context = self._browser.new_context(**({"viewport": VIEWPORT} | options))
        context.set_default_timeout(self._patience_ms)
        page = context.new_page()
        page.__class__ = LentPage
        assert isinstance(page, LentPage)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.errors, page.spent = errors, bool(options)
        return page
