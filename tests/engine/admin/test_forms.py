"""What the admin's own fields and widgets write."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from django import forms

from durable_objects.admin import LongSelect

CHOICES: list[tuple[Any, str]] = [("", "none"), (1, "one"), ("<b>", 'said "b" & <i>'), ("Europe/Berlin", "Berlin")]


class Read(HTMLParser):
    """What a browser reads: elements with their attributes, and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[object] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(tag)

    def handle_data(self, data: str) -> None:
        if text := data.strip():
            self.found.append(text)


@pytest.mark.parametrize("value", ["", None, 1, "1", "<b>", "Europe/Berlin", "of no choice"])
def test_a_long_select_is_read_as_djangos(value: Any) -> None:
    """Elements, attributes and texts are those of Django's own widget, whatever is chosen; nothing in it is markup."""
    shown = []
    for kind in (forms.Select, LongSelect):
        widget = kind(attrs={"class": "a", "disabled": True, "title": '"quoted"'}, choices=CHOICES)
        shown.append(Read(widget.render("zone", value, {"id": "id_zone", "required": True})).found)
    assert shown[0] == shown[1]
    assert len(shown[1]) == 2 + 3 * len(CHOICES)
