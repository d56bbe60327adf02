"""What the page's server keeps of open pages, for tests that have it lose them."""

from typing import Any

from fastapi import FastAPI


def pages_of(app: FastAPI) -> dict[str, Any]:
    """What Gradio keeps of each open page, by its session."""
    gradio = next(route.app for route in app.routes if hasattr(getattr(route, "app", None), "state_holder"))
    return gradio.state_holder.session_data
