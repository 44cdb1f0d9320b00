"""Text of others for terminals and log lines: nothing in it moves the cursor, or looks like a line of our own."""

from __future__ import annotations

import re

#: What steers a terminal, ends a line, or turns the direction of what follows.
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSEEN = re.compile(f"[{_CONTROL}]")
_UNSEEN_OR_BREAK = re.compile(f"[\n{_CONTROL}]")
_SHORT = {"\n": "\\n", "\r": "\\r"}


def visible(text: str) -> str:
    """Escape what steers terminals as JSON does, so that JSON stays the same. Line breaks stay."""
    return _UNSEEN.sub(_escaped, text)


def one_line(text: str) -> str:
    """Escape the same, and line breaks too: the text is one line then."""
    return _UNSEEN_OR_BREAK.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return _SHORT.get(found[0], f"\\u{ord(found[0]):04x}")
