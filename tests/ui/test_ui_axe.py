"""Every state of the page under axe-core, light and dark: no serious and no critical finding."""

import pytest
from playwright.sync_api import expect
from support.axe import check
from support.fake_chat_gateway import Script

ANSWER = """# A plan

**Soup**, see [this](https://example.org), or https://example.org/soup:

- [x] peel it
- [ ] **cook** it

```python
x = 1  # one
```

| a | b |
|---|---|
| 1 | 2 |"""


@pytest.fixture(params=["light", "dark", "phone"])
def look(shown, request):
    if request.param == "phone":
        shown.page.set_viewport_size({"width": 390, "height": 800})
    shown.page.emulate_media(color_scheme="dark" if request.param == "dark" else "light", reduced_motion="reduce")
    expect(shown.page.locator("html")).to_have_attribute("data-theme", "dark" if request.param == "dark" else "light")
    return shown


def test_axe_sees_what_is_wrong(shown) -> None:
    """The check itself can fail: an image and a button without names."""
    shown.page.evaluate(
        "document.querySelector('#main').insertAdjacentHTML('beforeend', '<button></button><img src=x>')"
    )
    with pytest.raises(AssertionError, match="critical button-name"):
        check(shown.page, "spoilt")


def test_the_chat_has_no_serious_finding(look) -> None:
    page = look.page
    check(page, "welcome")
    page.click("#options")
    check(page, "options")
    page.keyboard.press("Escape")
    page.set_input_files("#file-input", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"words"})
    look.gateway.script = Script(response=[ANSWER])
    look.ask("Plan three dinners")
    look.answered()
    page.click(".thought summary")
    page.click(".file summary")
    page.click("[data-do=bad]")
    check(page, "answered")
    page.click("[data-do=keep]")
    check(page, "keeping")
    page.click("dialog [value=yes]")
    expect(page.locator("[data-do=keep]")).to_have_attribute("aria-pressed", "true")
    check(page, "kept")
    page.hover(".row.user")
    page.click("[data-do=edit]")
    check(page, "editing")
    page.keyboard.press("Escape")
    page.click("#settings")
    check(page, "settings")
    page.keyboard.press("Escape")
    look.gateway.script = Script(refuse=(503, "no engine is ready"))
    look.ask("and then?")
    expect(page.locator(".note.failed")).to_be_visible()
    check(page, "failed")
    page.context.set_offline(True)
    expect(page.locator("#lost")).to_be_visible()
    check(page, "lost")


def test_a_choice_between_two_has_no_serious_finding(look) -> None:
    page = look.page
    page.click("#options")
    page.click("[data-option=compare] label:has-text('Two samples')")
    page.keyboard.press("Escape")
    look.ask("Plan three dinners")
    expect(page.locator(".choose")).to_be_visible()
    check(page, "choosing")
    page.click("[data-choice=right]")
    expect(page.locator(".chosen")).to_be_visible()
    check(page, "chosen")


def test_the_training_page_has_no_serious_finding(look) -> None:
    page = look.page
    look.ask("Plan three dinners")
    look.answered()
    page.click("[data-do=keep]")
    page.click("dialog [value=yes]")
    expect(page.locator("[data-do=keep]")).to_have_attribute("aria-pressed", "true")
    page.click("#tab-training")
    expect(page.locator("[data-do=drop]")).to_have_count(1)
    check(page, "overview")
    page.click("[data-do=rollback]")
    page.press("dialog input", "Enter")
    expect(page.locator("dialog .failed")).not_to_be_empty()
    check(page, "no reason")
    page.keyboard.press("Escape")
    page.goto(f"{look.url}/?round=1")
    expect(page.locator(".facts")).to_be_visible()
    check(page, "round")
    page.goto(f"{look.url}/?checkpoint=v2")
    expect(page.locator(".facts")).to_be_visible()
    check(page, "checkpoint")
