"""axe-core over a page as it stands: no serious and no critical finding."""

from playwright.sync_api import Page
from support.components import require_component


def check(page: Page, state: str) -> None:
    """Fails with what was found. `state`: what the page shows."""
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        require_component(False, "axe-playwright-python (requirements/test.txt)")
    found = Axe().run(page).response
    assert found["testEngine"]["name"] == "axe-core"
    bad = [
        f"{one['impact']} {one['id']}: {one['help']}: " + "; ".join(node["html"][:160] for node in one["nodes"][:3])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert not bad, f"{state}: " + "\n".join(bad)
