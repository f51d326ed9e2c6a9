"""HTML and SVG that is safe by construction: whatever is not markup already is escaped when it is put into markup."""

import html
from collections.abc import Iterable
from typing import TypeAlias

from onesigma.report._words import clean

__all__ = ["Child", "Html", "join", "tag"]

VOID = frozenset({"link", "meta", "wbr"})


class Html(str):
    """Text that is markup. Only this module and constants make it; every other string is text."""

    __slots__ = ()


Child: TypeAlias = str | Iterable["Child"] | None
"""Markup, text to be escaped, or several of them."""


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Html:
    """One element: `class_` stands for `class`, `aria_label` for `aria-label`; None and False leave an attribute out.

    Example:
        >>> tag("p", "1 < 2", tag("b", "!"), class_="note", hidden=False)
        '<p class="note">1 &lt; 2<b>!</b></p>'
    """
    head = name + "".join(_attribute(key, value) for key, value in attributes.items())
    return Html(f"<{head}>" if name in VOID else f"<{head}>{join(children)}</{name}>")


def join(children: Child) -> Html:
    """The children as one piece of markup, each escaped unless it is markup."""
    if children is None:
        return Html()
    if isinstance(children, Html):
        return children
    if isinstance(children, str):
        return Html(_escape(children))
    return Html("".join(map(join, children)))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {key}"
    text = value if isinstance(value, str) else f"{round(value, 2):g}"
    return f' {key}="{_escape(text)}"'


def _escape(text: str) -> str:
    if "\n" in text:
        return "\n".join(map(_escape, text.split("\n")))
    return html.escape(clean(text))
