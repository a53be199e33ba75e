"""A page in headless Chromium: a screenshot, and what a script finds out about the page."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)

# Texts of pictures that leave their picture, or lie on each other; and how wide the page is.
_LOOK = """
<script>
const cut = [], overlapping = [];
for (const svg of document.querySelectorAll("svg")) {
  const frame = svg.getBoundingClientRect(), texts = [];
  for (const text of svg.querySelectorAll("text")) {
    const box = text.getBoundingClientRect();
    if (box.left < frame.left - 1 || box.right > frame.right + 1 ||
        box.top < frame.top - 1 || box.bottom > frame.bottom + 1) cut.push(text.textContent);
    texts.push([text.textContent, box]);
  }
  texts.forEach(([name, a], i) => texts.slice(i + 1).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 1 && high > 0.3 * Math.min(a.height, b.height)) overlapping.push([name, other]);
  }));
}
const found = {
  cut, overlapping,
  scrolling: [...document.querySelectorAll(".scroll")]
    .filter(table => table.scrollWidth > table.clientWidth)
    .map(table => table.innerText.slice(0, 40)),
  width: document.documentElement.scrollWidth, window: window.innerWidth,
  loaded: performance.getEntriesByType("resource").map(entry => entry.name),
  text: document.querySelector("main").innerText,
};
parent.postMessage(JSON.stringify(found), "*");
</script>
"""


# Windows of exact widths: a browser's own are never as narrow as a phone.
_FRAMES = """<!doctype html><pre id="found"></pre><script>
const all = {{}}, widths = {widths};
addEventListener("message", event => {{
  const found = JSON.parse(event.data);
  all[found.window] = found;
  if (Object.keys(all).length == widths.length)
    document.getElementById("found").textContent = JSON.stringify(all);
}});
for (const width of widths) {{
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 9000; frame.style.border = 0; frame.src = "page.html";
  document.body.append(frame);
}}
</script>
"""


def program() -> str:
    """The browser; the test is skipped where there is none."""
    found = next((shutil.which(name) for name in _PROGRAMS if shutil.which(name)), None)
    if found is None:
        pytest.skip("no Chromium: apt-get install chromium")
    return found


def look(page: Path, *widths: int) -> dict[int, dict[str, Any]]:
    """What `_LOOK` finds in a page, for windows of these widths."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(page.read_text(encoding="utf-8") + _LOOK, encoding="utf-8")
        frames = copy.with_name("frames.html")
        frames.write_text(_FRAMES.format(widths=list(widths)))
        output = _run(folder, "--virtual-time-budget=8000", "--dump-dom", f"file://{frames}")
    found = re.search(r'<pre id="found">(.+?)</pre>', output, re.DOTALL)
    assert found, output[-2000:]
    return {int(width): value for width, value in json.loads(html.unescape(found[1])).items()}


def screenshot(page: Path, target: Path, width: int, height: int) -> None:
    """A page as PNG, `width` x `height` pixels."""
    with tempfile.TemporaryDirectory() as folder:
        _run(folder, f"--window-size={width},{height}", f"--screenshot={target}", f"file://{page}")


def _run(folder: str, *arguments: str) -> str:
    done = subprocess.run(
        [program(), *_OPTIONS, f"--user-data-dir={folder}/profile", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HOME": folder},
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout
