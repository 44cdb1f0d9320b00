"""Which errors are the same: all that differ in nothing but numbers, ids, quoted values, addresses and times."""

from __future__ import annotations

import hashlib
import re

#: How a traceback ends names the error's class: kept as it is, also with digits in it.
_CLASS = re.compile(r"[^\W\d][\w.<>]*(?=:|$)")
_VALUE = "#"
_VALUES = re.compile(
    r"""
    (?<!\w)[brfu]{0,2}(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|`[^`]*+`)(?!\w)  # quoted, as by repr()
    | \b[a-z][a-z0-9+.-]*+://[^\s'"<>]+  # a URL
    | [\w.+-]++@[\w.-]+  # an e-mail address
    | \b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b  # a UUID
    | (?<![\w:])(?=[0-9a-f]*+:[0-9a-f]*+:)[0-9a-f:]*+(?:\.?\d++)*+(?!\w)  # an IPv6 address
    | \b\d{4}-\d\d-\d\d[T\ ]\d[\d:.+-]*+Z?  # a moment
    | \b\d++(?::\d++)++(?:\.\d++)?  # a time of the day
    | \b\d++\ days?,\ [\d:.]++  # a span of time
    | \b[a-f]{8,}\b  # hexadecimal without a digit below ten
    | \b[\w-]+(?:\.[\w-]+)*+:\d++\b  # a host and its port
    | (?<![\w+-])(?:[^\W\d]|[+-])*+\d[\w+-]*+(?:[.,:/](?:[^\W\d]|[+-])*+\d[\w+-]*+)*+  # whatever has a digit
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SEVERAL = re.compile(r"#(?:, ?#)+")


def headline(error_text: str) -> str:
    """Return the line that says most: of a traceback the one that names the error, of any other text the first."""
    lines = [line for line in error_text.splitlines() if line.strip()]
    lines = [line[4:] for line in lines if line.startswith("  | ")] or lines  # the outermost of a group of exceptions
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    after = [line for line in lines[frames[-1] :] if not line.startswith(" ")] if frames else lines
    return (after or lines or [""])[0]


def fingerprint(error_text: str) -> str:
    """Return the group of an error: 16 hexadecimal digits, the same for all that differ in values only; "" for none."""
    if not (line := error_text and headline(error_text)):
        return ""
    return hashlib.sha256(_without_values(line).encode()).hexdigest()[:16]


def _without_values(line: str) -> str:
    found = _CLASS.match(line)
    name = found[0] if found else ""
    return name + _SEVERAL.sub(_VALUE, _VALUES.sub(_VALUE, line[len(name) :]))
