"""An answer that grows on the page leaves what stands alone: selections, scrolling, code. In a real Chromium."""

from playwright.sync_api import expect
from support.fake_chat_gateway import Script

CODE = "".join(f"def f{n}(): return '{'long ' * 30}'\n{'' if n % 5 else chr(10)}" for n in range(60))


def pieces(text: str, size: int = 30) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def test_open_code_keeps_its_selection_and_scrolling_and_ends_as_the_whole(shown) -> None:
    page = shown.page
    answer = f"Here:\n\n```python\n{CODE}```\n\nThat is all."
    shown.gateway.script = Script(thought=[], response=pieces(answer, 60), pause=0.02, hold_at=(12, 125))
    shown.ask("code, please")
    expect(page.locator(".row.live .code")).to_contain_text("def f3()")
    page.evaluate(
        """() => {
          const pre = document.querySelector('.row.live .code pre');
          pre.scrollLeft = 77;
          const walk = document.createTreeWalker(pre, NodeFilter.SHOW_TEXT);
          while (!walk.nextNode().data.includes('f1')) {}
          getSelection().selectAllChildren(walk.currentNode.parentElement);
          window.wasSelected = String(getSelection());
        }"""
    )
    shown.gateway.release()
    expect(page.locator(".row.live .code")).to_contain_text("def f40()")
    assert page.evaluate("document.querySelector('.row.live .code pre').scrollLeft") == 77
    assert page.evaluate("String(getSelection())") == page.evaluate("window.wasSelected") != ""
    shown.gateway.release()
    shown.answered()
    assert page.evaluate("document.querySelector('.code pre').scrollLeft") == 77
    assert page.locator(".row.assistant .code").count() == 1
    assert page.locator(".code code").evaluate("(node) => node.textContent") == CODE
    streamed = page.locator(".row.assistant .md").evaluate("(node) => node.textContent")
    page.reload()
    shown.answered()
    assert page.locator(".row.assistant .md").evaluate("(node) => node.textContent") == streamed


def test_an_open_list_is_added_to_and_not_drawn_anew(shown) -> None:
    page = shown.page
    answer = "".join(f"- item {n} of **many**\n" for n in range(200)) + "\nThat is all.\n"
    shown.gateway.script = Script(thought=[], response=pieces(answer), pause=0.005, hold_at=(20,))
    shown.ask("a list, please")
    expect(page.locator(".row.live .md")).to_contain_text("item 19")
    page.evaluate("window.first = document.querySelector('.row.live .md li')")
    shown.gateway.release()
    expect(page.locator(".row .md")).to_contain_text("item 90")
    assert page.evaluate("window.first.isConnected")
    shown.answered()
    assert page.evaluate("window.first.isConnected")
    assert page.locator(".row.assistant li").count() == 200
    assert page.locator(".row.assistant ul").count() == 1


def test_code_can_be_copied_once_its_fence_is_closed_while_the_answer_goes_on(shown) -> None:
    page = shown.page
    words = [
        "```python\n",
        "x = 1\n",
        "```\n\n",
        "Then ",
        "this ",
        "- in a list:\n\n",
        "- an item\n\n  ```\n",
        "  y\n",
        "  ```\n",
    ]
    shown.gateway.script = Script(thought=[], response=[*words, "  more", "\n\nEnd."], hold_at=(5, 10))
    shown.ask("code, please")
    expect(page.locator(".row.live .md")).to_contain_text("Then this")
    expect(page.locator(".row.live .code button")).to_have_text("Copy")
    shown.gateway.release()
    expect(page.locator(".row.live .md")).to_contain_text("more")
    expect(page.locator(".row.live .code button")).to_have_text(["Copy", "Copy"])
    shown.gateway.release()
    shown.answered()


def test_tasks_are_boxes_and_addresses_are_links_while_the_answer_grows_and_after(shown) -> None:
    page = shown.page
    said = ["- [x] ", "soup from https://example.org/so", "up_one\n", "- [ ] **rice**\n", "\n"]
    shown.gateway.script = Script(thought=[], response=[*said, "Enjoy."], hold_at=(2, 4))
    shown.ask("a list, please")
    boxes, link = page.locator(".md li.task input"), page.locator(".md a")
    expect(link).to_have_attribute("href", "https://example.org/so")
    expect(boxes).to_be_checked()
    shown.gateway.release()
    expect(boxes).to_have_count(2)
    shown.gateway.release()
    shown.answered()
    for _ in ("as it ended", "as it is read anew"):
        expect(page.get_by_label("soup from")).to_be_checked()
        expect(page.get_by_label("rice")).not_to_be_checked()
        expect(page.get_by_label("rice")).to_be_disabled()
        expect(link).to_have_attribute("href", "https://example.org/soup_one")
        expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
        box, words = boxes.first.bounding_box(), page.locator(".md li.task strong").bounding_box()
        assert box is not None
        assert words is not None
        assert box["x"] >= page.locator(".md ul").bounding_box()["x"]
        assert box["x"] + box["width"] < words["x"]
        page.reload()
