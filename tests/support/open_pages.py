"""What the page's server keeps of open pages, and what they send it, for tests that have it lost."""

from typing import Any

from fastapi import FastAPI
from playwright.sync_api import Page, Route


def pages_of(app: FastAPI) -> dict[str, Any]:
    """What Gradio keeps of each open page, by its session."""
    gradio = next(route.app for route in app.routes if hasattr(getattr(route, "app", None), "state_holder"))
    return gradio.state_holder.session_data


def loses_one(page: Page) -> list[str]:
    """The next thing that the page sends is answered by a proxy that is busy; its address is put into the list."""
    lost: list[str] = []

    def lose(route: Route) -> None:
        if lost:
            route.continue_()
        else:
            lost.append(route.request.url)
            route.fulfill(status=503, json={"detail": "a proxy is busy"})

    page.route("**/gradio_api/queue/join*", lose)
    return lost
