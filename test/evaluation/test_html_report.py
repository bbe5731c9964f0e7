# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The HTML report: well-formed, escaped, self-contained, and drawn by a real browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superpoint_ros.data import TrackingState
from superpoint_ros.evaluation.html_recording import _interval_part
from superpoint_ros.evaluation.html_report import Provenance, render_html
from superpoint_ros.evaluation.lockstep import LockstepRun
from superpoint_ros.evaluation.moments import Moment, compress
from superpoint_ros.evaluation.page import COLOURS, element, join
from superpoint_ros.evaluation.plots import Line, plot_over_time
from superpoint_ros.evaluation.results import BagResult, Condition, Evaluation, Failure, Row
from superpoint_ros.evaluation.summary import RunRecord, summarize
from superpoint_ros.evaluation.trajectory import Trajectory, make_trajectory

T0, STEP, N = 1_700_000_000_000_000_000, 100_000_000, 60
LOST, TRACKING = TrackingState.LOST, TrackingState.TRACKING
NASTY = """<script>window.pwned = 1</script><img src=x onerror="window.pwned = 2">'"&amp;"""
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def spiral() -> Trajectory:
    poses = np.tile(np.eye(4), (N, 1, 1))
    angles = np.linspace(0.0, 7.0, N)
    poses[:, :3, 3] = np.column_stack([angles * np.cos(angles), 0.1 * angles, np.sin(angles)])
    return make_trajectory([T0 + i * STEP for i in range(N)], list(poses))


def judged(
    rng: np.random.Generator, has_truth: bool, condition: Condition | None = None
) -> BagResult:
    """A run along the spiral, a bit off and lost for five frames."""
    truth = spiral()
    poses = truth.poses.copy()
    poses[:, :3, 3] += rng.normal(0.0, 0.02, (N, 3)).cumsum(axis=0)
    states = [LOST if 30 <= i < 35 else TRACKING for i in range(N)]
    kept = [i for i in range(N) if states[i] == TRACKING]
    stamps = truth.stamps_ns.tolist()
    run = LockstepRun(
        stamps_ns=stamps,
        states=states,
        poses=[poses[i] if i in kept else None for i in range(N)],
        map_ids=[0] * N,
        covariances=[1e-3 * np.eye(6) if i in kept else None for i in range(N)],
        num_keypoints=[500] * N,
        num_inliers=[200 + i if i in kept else 0 for i in range(N)],
        num_landmarks=list(range(N)),
        skipped={3: f"{NASTY}: broken"},
        latency_ms={s: {"p50": 3, "p95": 8, "p99": 9} for s in ("total", "track", "track/map")},
    )
    summary = summarize(
        RunRecord(
            sensor="rgbd" if has_truth else "mono",
            stamps_ns=stamps,
            trajectory=run.trajectory(),
            wall_s=6.0,
            latency_ms=run.latency_ms,
            skipped={3: NASTY},
            model_id=NASTY,
            weights_sha256="12ab",
        ),
        truth if has_truth else None,
        NASTY,
    )
    picture = compress(rng.integers(0, 255, (48, 80, 3), np.uint8))
    moments = tuple(
        Moment(stamp, state, 500, 7, *picture) for stamp, state in zip(stamps, states, strict=True)
    )
    return BagResult(condition or Condition(), 0, run, summary, pictures=moments)


@pytest.fixture(scope="module")
def page() -> str:
    """Two recordings, one with ground truth, three kinds of features and both curves."""
    rng = np.random.default_rng(0)
    drops = tuple(
        judged(rng, True, Condition("drops", f"every {n}th", 1.0 - 1.0 / n)) for n in (2, 5)
    )
    exposure = tuple(judged(rng, True, Condition("exposure", f"gain {g}", g)) for g in (0.25, 4.0))
    rows = [
        Row(
            bag=f"/data/{NASTY}",
            name=NASTY,
            features=features,
            config={"odometry": {"mode": NASTY}},
            recorded=judged(rng, True),
            repeats=(judged(rng, True),),
            curves={"drops": drops, "exposure": exposure},
        )
        for features in ("superpoint", "orb")
    ]
    rows.append(Row("plain", "plain", "superpoint", {}, judged(rng, False)))
    provenance = Provenance(NASTY, NASTY, "", datetime(2026, 11, 23, tzinfo=timezone.utc))
    return render_html(Evaluation(tuple(rows), (Failure(NASTY, "no such file"),)), provenance)


class Tags(HTMLParser):
    """Collects what a browser would see; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_elements_escape_everything_but_markup() -> None:
    inner = element("b", "a < b & c")
    assert inner == "<b>a &lt; b &amp; c</b>"
    assert element("p", inner, '"', title='x"><i>') == (
        '<p title="x&quot;&gt;&lt;i&gt;"><b>a &lt; b &amp; c</b>&quot;</p>'
    )
    assert join([inner, "<i>"]) == "<b>a &lt; b &amp; c</b>&lt;i&gt;"


def test_the_page_is_well_formed_escaped_accessible_and_asks_for_nothing(page: str) -> None:
    assert len(page) < 1_000_000
    seen = Tags(page)
    names = [tag for tag, _ in seen.tags]
    assert names.count("script") == 1
    assert names.count("h1") == 1
    assert any(NASTY in text for text in seen.texts)
    for tag, attributes in seen.tags:
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/jpeg;base64,")
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["role"] == "img"
        if tag == "a":
            assert (attributes["href"] or "").startswith("#")
        assert tag not in ("link", "iframe", "object", "base", "form")
    ids = [attributes["id"] for tag, attributes in seen.tags if attributes.get("id")]
    targets = {(attributes["href"] or "")[1:] for tag, attributes in seen.tags if tag == "a"}
    assert targets <= set(ids)
    references = re.findall(r"url\(([^)]*)\)|xlink:href=\"([^\"]*)\"", page)
    assert references
    assert all((first or second).startswith("#") for first, second in references)
    for light, _ in COLOURS.values():  # every colour follows the scheme
        assert light not in re.sub(r":root\{.*?\}", "", page)


def test_the_page_says_what_was_measured(page: str) -> None:
    text = " ".join(Tags(page).texts)
    for words in (
        "91.7 %", "55 of 60, lost once", "SE3 alignment", "12ab", "no such file", "every 5th",
        "argest error", "ound again", "no ground truth", "Seen from above", "units of the map",
    ):  # fmt: skip
        assert words in text, words


def test_a_long_line_keeps_its_peaks_and_its_holes() -> None:
    values = np.zeros(100_000)
    values[43_210] = 7.0
    values[70_000:70_400] = np.nan
    line = Line("x", np.arange(100_000) * 0.05, values)
    svg = plot_over_time([line], "x", "m", "a long run")
    match = re.search(r'data-axes="([^"]*)"', svg)
    assert match is not None
    (drawn,) = json.loads(html.unescape(match.group(1)))["lines"]
    assert 500 < len(drawn["t"]) <= 1500
    points = list(zip(drawn["t"], drawn["y"], strict=True))
    assert (2160.5, 7.0) in points
    assert any(3500.0 <= t <= 3520.0 for t, y in points if y is None)
    assert len(svg) < 200_000


def test_many_lost_intervals_do_not_make_a_large_report() -> None:
    line = Line("x", np.arange(9000) / 30.0, np.zeros(9000))
    often = [(i / 30.0, (i + 2) / 30.0) for i in range(0, 9000, 3)]
    svg = plot_over_time([line], "x", "m", "lost often", lost_s=often)
    assert svg.count("opacity: 0.22") == 1
    far = [(0.0, 1.0), (100.0, 100.1), (100.2, 100.3), (250.0, 260.0)]
    svg = plot_over_time([line], "x", "m", "lost seldom", lost_s=far)
    assert svg.count("opacity: 0.22") == 3
    lost = [{"start_s": start, "end_s": end, "frames": 2} for start, end in often]
    table = _interval_part({"lost_intervals": lost, "maps": [], "skipped": []})
    assert table.count("<tr>") == 1 + 100
    assert "2900 more are in summary.json." in table


# In the page before its own script: errors, what the page's policy refused, what was drawn.
PROBE = """
const found = {errors: [], refused: []};
addEventListener('error', (event) => found.errors.push(String(event.message)), true);
addEventListener('securitypolicyviolation', (event) => found.refused.push(event.blockedURI));
addEventListener('load', () => {
  const lengthOf = (path) => path.closest('defs') ? 0 : path.getTotalLength();
  const isSeries = (shape) => shape.style.stroke.includes('series');
  found.plots = [...document.querySelectorAll('figure > svg')].map((svg) => {
    const {width, height} = svg.getBoundingClientRect();
    const drawn = [...svg.querySelectorAll('path')].filter(
      (path) => isSeries(path) && lengthOf(path) > 20);
    const uses = [...svg.querySelectorAll('use')].filter(isSeries);
    return {title: svg.querySelector('title').textContent, width, height,
            lines: drawn.length, marks: uses.length, words: svg.querySelectorAll('text').length};
  });
  found.pictures = [...document.images].map((image) => image.naturalWidth);
  found.requests = performance.getEntriesByType('resource').map((entry) => entry.name);
  const svg = document.querySelector('svg[data-axes*="time"]');
  const place = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent('pointermove', {
    clientX: place.left + place.width / 2, clientY: place.top + place.height / 2}));
  found.moment = [...svg.closest('section').querySelectorAll('output')].map((o) => o.textContent);
  found.overflow = document.documentElement.scrollWidth - innerWidth;
  found.pwned = window.pwned ?? null;
  found.ready = document.documentElement.dataset.ready ?? null;
  document.documentElement.dataset.found = JSON.stringify(found);
});
"""


def look(page: str, folder: Path, width: int = 1200) -> tuple[dict[str, Any], str]:
    """Open a page in Chromium; return what the probe found and what the console said."""
    assert CHROMIUM is not None
    checksum = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    # The page's policy stays in force; the probe is let in by its checksum.
    probed = page.replace(
        "script-src &#x27;", f"script-src &#x27;sha256-{checksum}&#x27; &#x27;", 1
    )
    probed = probed.replace("<style>", f"<script>{PROBE}</script><style>", 1)
    path = folder / "page.html"
    path.write_text(probed, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr",
            f"--window-size={width},900", "--dump-dom", path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    match = re.search(r'data-found="([^"]*)"', done.stdout)
    assert match is not None, done.stdout[:500] + done.stderr[-2000:]
    found = json.loads(html.unescape(match.group(1)))
    return found, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_chromium_draws_every_plot_without_an_error_or_a_request(
    page: str, tmp_path: Path
) -> None:
    found, console = look(page, tmp_path)
    assert (found["errors"], found["refused"], console) == ([], [], "")
    assert found["ready"] == "true"
    assert found["pwned"] is None
    assert [url for url in found["requests"] if not url.startswith("data:")] == []
    # Two views, three errors, three counts, six components; three figures of two curves; stages.
    assert len(found["plots"]) == (2 + 3 + 3 + 6) + 2 * 3 + 1 + (2 + 3 + 6) + 1
    for plot in found["plots"]:
        assert plot["width"] > 200, plot
        assert plot["height"] > 100, plot
        assert plot["words"] >= 5, plot
        wanted = 1 if "plain" in plot["title"] else 2  # kinds of features
        assert plot["lines"] + plot["marks"] >= wanted, plot
    assert len(found["pictures"]) >= 10
    assert set(found["pictures"]) == {80}
    # Pointing at one plot shows the moment in all plots of its recording.
    assert len(found["moment"]) == 14
    assert all(re.match(r"\d\.\d\d s: ", words) for words in found["moment"]), found["moment"]
    assert found["overflow"] <= 0


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_check_in_chromium_finds_a_broken_page(page: str, tmp_path: Path) -> None:
    broken = page.replace('data-axes="{', 'data-axes="{{', 1)
    broken = broken.replace(
        "</h1>", '</h1><img src="http://127.0.0.1:9/x.png"><i onclick="a"></i>', 1
    )
    found, console = look(broken, tmp_path, width=360)
    assert any("JSON" in error for error in found["errors"])
    assert any("127.0.0.1" in url for url in found["refused"])
    assert "Content Security Policy" in console
    assert found["ready"] is None
    assert 0 in found["pictures"]
    assert found["overflow"] <= 0  # a phone has no page to scroll sideways
