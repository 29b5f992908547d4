"""How long the report of a run takes to open in a real browser, and a moved slider to be counted.

    tokenmill run fineweb --mode annotate --input ../shared/crawl --output /tmp/annotated
    python benchmarks/report_page.py /tmp/annotated

Prints CPU seconds of making the page, its size, milliseconds from the beginning of the navigation to the end of the
load event (five times), and those of every move of every slider. Exits with 1 where a median is over its limit:
1,000 ms to open, 100 ms a move, 3 MB. Needs Chromium and playwright (extra `dev`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tokenmill.io.runfolder import RunFolder
from tokenmill.report.html import render
from tokenmill.report.page_data import page_data

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "microsoft-edge")
OPENED_MS, MOVED_MS, BYTES = 1000.0, 100.0, 3_000_000
OPENED = """() => new Promise(resolve => setTimeout(() => {
  resolve(performance.getEntriesByType('navigation')[0].loadEventEnd);
}, 0))"""
MOVES = """() => {
  const found = [];
  for (const slider of document.querySelectorAll('input[type=range]')) {
    for (const value of [slider.min, slider.max, slider.defaultValue]) {
      slider.value = value;
      slider.dispatchEvent(new Event('input', { bubbles: true }));
      found.push(window.tokenmill.timing.recompute);
    }
    slider.value = slider.min;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    found.push(window.tokenmill.timing.recompute);
  }
  return found;
}"""
"""Every slider to both ends; each is left away from where it was, so that more and more thresholds are moved."""


def measure(path: Path, browser: str) -> tuple[list[float], list[float]]:
    """(milliseconds to open, milliseconds of each move)."""
    from playwright.sync_api import sync_playwright

    opened: list[float] = []
    moves: list[Any] = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(5):
            page = chromium.new_page()
            page.goto(path.as_uri())
            opened.append(page.evaluate(OPENED))
            page.evaluate("window.tokenmill.openAll()")  # rules far down are drawn when they are opened
            moves = page.evaluate(MOVES)
            page.close()
        chromium.close()
    return opened, [one for one in moves if one is not None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a run, annotated for sliders")
    parser.add_argument("--browser", default=os.environ.get("TOKENMILL_TEST_BROWSER"))
    arguments = parser.parse_args()
    browser = arguments.browser or next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        sys.exit("no Chromium on this machine: apt-get install chromium, or --browser PATH")
    started = time.process_time()
    page = render(page_data(RunFolder(arguments.run))).encode()
    seconds = time.process_time() - started
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        path.write_bytes(page)
        opened, moves = measure(path, browser)
    print(f"made in {seconds:.2f} s of CPU, {len(page):,} bytes; load {os.getloadavg()[0]:.1f}")
    print(f"opened in {', '.join(f'{one:.0f}' for one in opened)} ms, median {statistics.median(opened):.0f}")
    if moves:
        print(f"{len(moves)} moves of sliders: median {statistics.median(moves):.1f} ms, slowest {max(moves):.1f} ms")
    over = [statistics.median(opened) > OPENED_MS, bool(moves) and max(moves) > MOVED_MS, len(page) > BYTES]
    return int(any(over))


if __name__ == "__main__":
    sys.exit(main())
