# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page: nothing is loaded from elsewhere, and text is always escaped.

Elements are built by `element`, which escapes every child that is no `Markup`, so a name of a file
or topic cannot become HTML. The page forbids itself every request and every script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib import resources

# Name -> colour on white and on black. Series: Okabe and Ito's, which colour-blind people tell
# apart, darkened or lightened until each has a contrast of 3 and more.
COLOURS = {
    "paper": ("#ffffff", "#11151a"),
    "panel": ("#f6f8fa", "#1a2027"),
    "ink": ("#1f2328", "#e6edf3"),
    "muted": ("#59636e", "#9aa4af"),
    "grid": ("#d5dbe1", "#343b44"),
    "truth": ("#8b929b", "#7d8590"),
    "lost": ("#b04a00", "#ff9d5c"),
    "series-1": ("#0072b2", "#5ab8f0"),
    "series-2": ("#c45500", "#ff8f4a"),
    "series-3": ("#00805d", "#2fd0a0"),
    "series-4": ("#a8487f", "#e79bc9"),
    "series-5": ("#7a6200", "#e8d44a"),
}
_VOID_TAGS = frozenset({"br", "img", "meta"})


class Markup(str):
    """HTML that goes into a page as it is."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float) -> Markup:
    """Build an element; children that are no `Markup` and all attributes are escaped.

    Args:
        tag: Name of the element.
        children: What it holds, in order.
        attributes: `class_` stands for class, `aria_label` for aria-label.
    """
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    words = "".join(f' {name}="{html.escape(str(value))}"' for name, value in names.items())
    if tag in _VOID_TAGS:
        return Markup(f"<{tag}{words}>")
    return Markup(f"<{tag}{words}>{join(children)}</{tag}>")


def join(parts: Sequence[str], separator: str = "") -> Markup:
    """Put parts behind each other; those that are no `Markup` are escaped."""
    return Markup(
        separator.join(part if isinstance(part, Markup) else html.escape(part) for part in parts)
    )


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Build a table whose first column names the rows; it scrolls on its own where it is too wide.

    Args:
        caption: What the numbers are.
        header: Names of the columns, units on a line of their own; empty: none are shown.
        rows: Cells, the name of the row first.
    """
    head = element("tr", *(element("th", name, scope="col") for name in header))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", c) for c in row[1:]))
        for row in rows
    ]
    content = element(
        "table",
        element("thead", head) if header else "",
        element("tbody", *body),
        aria_label=caption,
    )
    # Not a caption element: it would scroll away with a wide table.
    scrolled = element(
        "div", content, class_="scroll", tabindex=0, role="region", aria_label=caption
    )
    return element("div", element("p", caption, class_="caption"), scrolled)


def figure(content: Markup, caption: str, **attributes: str | float) -> Markup:
    """Put a plot or picture over its caption.

    Args:
        content: The svg or img.
        caption: One or two sentences.
        attributes: `data_time` of a picture: a click on it shows this moment in the plots.
    """
    return element("figure", content, element("figcaption", caption), **attributes)


def jpeg(data: bytes, description: str, size_wh: tuple[int, int]) -> Markup:
    """Build a picture from JPEG bytes.

    Args:
        data: The file.
        description: What is to be seen, for those who do not see it.
        size_wh: Width and height, pixels.
    """
    source = "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
    return element("img", src=source, alt=description, width=size_wh[0], height=size_wh[1])


def details(summary: str, *content: str) -> Markup:
    """Build a part that opens on a click."""
    return element("details", element("summary", summary), *content)


def render_page(title: str, *body: str) -> str:
    """Return the whole page.

    Args:
        title: For the window.
        body: Everything in it.
    """
    style = Markup(_colour_rules() + _read("page.css"))
    script = Markup(_read("page.js"))
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{checksum}'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    page = element("html", head, element("body", *body, element("script", script)), lang="en")
    return f"<!doctype html>\n{page}\n"


def _colour_rules() -> str:
    """Return the CSS variables of both schemes; paper is white."""
    light, dark = (
        "".join(f"--{name}:{pair[i]};" for name, pair in COLOURS.items()) for i in (0, 1)
    )
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _read(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
