"""The report in a real browser: hostile data change nothing but its words, and people can use it.

One browser for all tests of this file; skipped with a reason where the machine has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.executors.support import recipe, run
from tests.report import browser_data, browser_scripts
from tests.report.browser import Visit
from tests.report.xss_payloads import LONG, PAYLOADS
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.write import write_report

# words of the schema, and packed numbers: the only strings that are not other people's
OURS = {
    *("run.mode", "rules.comparison", "funnel.reasons.kind", "lengths.unit"),
    *("whatif.bytes", "whatif.tokens", "whatif.fixed", "whatif.codes"),
}


def planted(value: Any, make: Callable[[str], str], path: str = "") -> Any:
    """The data with other strings for all that may come from others, and for the keys of the samples."""
    if isinstance(value, str):
        return value if path in OURS else make(value)
    if isinstance(value, list):
        return [planted(one, make, path) for one in value]
    if isinstance(value, dict):
        return {
            make(key) if path == "samples.dropped" else key: planted(one, make, f"{path}.{key}".lstrip("."))
            for key, one in value.items()
        }
    return value


def numbered(words: list[str]) -> Callable[[str], str]:
    """Each string becomes the next of the words, the same for equal ones; later rounds have a number at their end."""
    seen: dict[str, str] = {}

    def make(text: str) -> str:
        n = len(seen)
        return seen.setdefault(text, words[n % len(words)] + (str(n) if n >= len(words) else ""))

    return make


def structure(found: Visit) -> dict[str, int]:
    """Elements and their attributes, with everything open."""
    found.run("window.tokenmill.openAll()")
    return dict(found.run(browser_scripts.STRUCTURE))


def check_hostile(found: Visit, hostile: Any, expected: dict[str, int]) -> None:
    found.again(hostile)
    assert structure(found) == expected
    assert found.run(browser_scripts.MISSING) == []
    recipe = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", str(hostile["run"]["recipe"])).encode("utf-8", "replace").decode()
    assert found.page.title().split() == f"{recipe}: what was kept and why".split()
    found.run(browser_scripts.PRESS)
    assert found.misdeeds() == []


def harmless() -> Callable[[str], str]:
    """As many words as there are payloads, for the same shape of data."""
    return numbered([f"w{i}." for i in range(len(PAYLOADS))])


def test_hostile_strings_add_no_element_attribute_request_or_script(visit: Callable[..., Visit]) -> None:
    """All payloads on one page, each as the whole of some strings; `test_each_payload` has each in all strings."""
    found = visit(planted(browser_data.short(), harmless()))
    expected = structure(found)
    check_hostile(found, planted(browser_data.short(), numbered(PAYLOADS)), expected)
    found.page.wait_for_timeout(50)
    assert found.misdeeds() == []


@pytest.mark.ci
def test_each_payload_in_every_string(visit: Callable[..., Visit]) -> None:
    found = visit(planted(browser_data.short(), lambda text: f"harmless {text}"))
    expected = structure(found)
    for payload in PAYLOADS:
        check_hostile(found, planted(browser_data.short(), lambda text, payload=payload: payload + text), expected)


@pytest.mark.ci
def test_each_payload_as_every_kind_of_string(visit: Callable[..., Visit]) -> None:
    """Which string is which payload moves by seven, so that over all pages most meet most."""
    found = visit(planted(browser_data.short(), harmless()))
    expected = structure(found)
    for start in range(7, len(PAYLOADS), 7):
        turned = PAYLOADS[start:] + PAYLOADS[:start]
        check_hostile(found, planted(browser_data.short(), numbered(turned)), expected)


@pytest.mark.ci
def test_the_report_of_a_run_over_hostile_pages(browser: Any, write_jsonl: Callable[..., Path], tmp_path: Path) -> None:
    """From the archive to the page: texts that are kept and dropped, and addresses."""
    seen = []
    for kind, words in (("harmless", [f"w{i}." for i in range(len(PAYLOADS))]), ("hostile", PAYLOADS)):
        words = [word.encode("utf-8", "replace").decode() for word in words]
        rows = [{"text": f"document {word}", "url": f"http://e.org/{word}"} for word in words]
        rows += [{"text": f"<b>{i % 7}", "url": word} for i, word in enumerate(words)]
        run(recipe("trap"), write_jsonl(rows), tmp_path / kind, sample_dropped=1.0)
        write_report(RunFolder(str(tmp_path / kind)))
        found = Visit(browser, (tmp_path / kind / "report.html").as_uri())
        seen.append(set(structure(found)))
        shown = found.run("document.getElementById('samples').textContent")
        assert shown.count("DOCUMENT ") == 5  # the recipe makes texts upper case
        found.run(browser_scripts.PRESS)
        assert found.misdeeds() == []
        found.context.close()
    assert seen[0] == seen[1]


@pytest.mark.ci
def test_the_policy_is_in_force(visit: Callable[..., Visit]) -> None:
    """The page would be safe without its policy; the policy holds without the page's care, too."""
    found = visit()
    assert found.misdeeds() == []
    found.run(browser_scripts.ATTACK)
    found.page.wait_for_timeout(100)
    violated = {one.split()[0] for one in found.run("window.__violations")}
    assert violated == {"script-src-elem", "img-src", "style-src-attr", "base-uri"}
    assert not found.run("'__pwned' in window")
    assert found.run("document.baseURI").startswith("file:")


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["page", "empty"])
def test_the_page_can_be_read_by_everyone(visit: Callable[..., Visit], kind: str) -> None:
    found = visit(getattr(browser_data, kind)())
    found.run("window.tokenmill.openAll()")
    levels = found.run(browser_scripts.HEADINGS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    unnamed = found.run(browser_scripts.UNNAMED)
    assert unnamed == []
    ids = found.run("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
    found.page.keyboard.press("Tab")
    assert found.run("document.activeElement.textContent") == "Skip to the report"
    targets = found.run("[...document.querySelectorAll('a')].map((node) => node.getAttribute('href').slice(1))")
    assert set(targets) <= set(ids)
    assert found.misdeeds() == []


@pytest.mark.ci
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_can_be_read_and_the_button_changes_them(visit: Callable[..., Visit], scheme: str) -> None:
    found = visit(color_scheme=scheme)
    other = "Light page" if scheme == "dark" else "Dark page"
    before = found.run("getComputedStyle(document.body).backgroundColor")
    for _ in range(2):
        for pair, ratio in found.run(browser_scripts.CONTRAST).items():
            words = pair.split()[0] in ("--ink", "--soft", "--accent")
            assert ratio >= (4.5 if words else 3), pair
        found.page.locator("button.theme").click()
    assert found.page.locator("button.theme").text_content() == other
    assert found.run("getComputedStyle(document.body).backgroundColor") == before
    found.page.locator("button.theme").click()
    assert found.run("getComputedStyle(document.body).backgroundColor") != before
    assert found.misdeeds() == []


@pytest.mark.ci
@pytest.mark.parametrize("width", [360, 760, 1280])
def test_the_page_itself_never_scrolls_sideways(visit: Callable[..., Visit], width: int) -> None:
    for data in (browser_data.page(), planted(browser_data.page(), lambda text: LONG + text)):
        found = visit(data, viewport={"width": width, "height": 800})
        assert found.run(browser_scripts.WIDTH) <= width
        found.run("window.tokenmill.openAll()")
        found.run("for (const node of document.querySelectorAll('details')) node.open = true")
        assert found.run(browser_scripts.WIDTH) <= width


@pytest.mark.ci
def test_on_paper_everything_is_open(visit: Callable[..., Visit]) -> None:
    found = visit()
    before = found.run(browser_scripts.CLOSED)
    assert before > 0
    found.page.emulate_media(media="print", color_scheme="dark")
    found.run("window.dispatchEvent(new Event('beforeprint'))")
    assert found.run(browser_scripts.CLOSED) == 0
    assert found.run("getComputedStyle(document.querySelector('.passage')).maxHeight") == "none"
    assert found.run(browser_scripts.PRESSABLE) == 0
    assert found.run("[...document.querySelectorAll('#funnel tr')].every((row) => row.checkVisibility())")
    assert found.run("getComputedStyle(document.documentElement).colorScheme") == "light"
    found.run("window.dispatchEvent(new Event('afterprint'))")
    assert found.run(browser_scripts.CLOSED) == before
    assert len(found.page.pdf(format="A4")) > 20_000


@pytest.mark.ci
def test_without_scripts_the_page_says_what_to_do(visit: Callable[..., Visit]) -> None:
    found = visit(java_script_enabled=False)
    assert "tokenmill report RUN" in found.page.locator("noscript").inner_text()


@pytest.mark.ci
def test_a_broken_part_leaves_the_others(visit: Callable[..., Visit]) -> None:
    data = browser_data.page()
    data["whatif"]["codes"][0] = "no base64!"
    found = visit(data)
    assert "could not be shown" in found.page.locator("main > section > .warn").first.inner_text()
    assert found.page.locator("#samples .sample").count() == 5
