"""The body of an HTTP message as text or JSON: one rule for what comes in and what is answered."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, NoReturn

from django.utils.http import parse_header_parameters

#: A Content-Type is no longer than this: Python takes time for its square to parse one.
MAX_CONTENT_TYPE = 256
#: The charsets of text, by Python's names. All of them are decoded in time for their length, unlike punycode or idna.
_CHARSETS = re.compile(
    r"utf-8(-sig)?|utf-(16|32)(-[bl]e)?|ascii|iso8859-\d+|cp125\d|koi8-[ru]|mac-roman|tis-620"
    r"|shift_jis|cp932|euc_(jp|kr)|gb2312|gbk|gb18030|big5"
)


def is_json(content_type: str) -> bool:
    """Return whether the type is JSON: ``application/json`` or ``…+json``."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def text_in(body: bytes, content_type: str) -> str:
    """Decode the text, in the charset that its Content-Type names, else UTF-8.

    Raises ``ValueError`` with what is wrong: an unknown charset, or bytes that are not in it.
    """
    charset = charset_of(content_type) or "utf-8"
    try:
        return body.decode(charset)
    except UnicodeError as error:
        where = f": {error.reason} at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        raise ValueError(f"the body is not {charset.upper()} text{where}") from None


def readable(body: bytes, content_type: str) -> str:
    """Decode an answer as well as possible: in the charset that is named, or that JSON shows by itself."""
    try:
        charset = charset_of(content_type)
    except ValueError:
        charset = "utf-8"
    return body.decode(charset or json.detect_encoding(body), errors="replace")


def json_in(body: bytes, content_type: str) -> Any:
    """Return the JSON value of the text. Raises ``ValueError`` with what is wrong, for NaN and its like too."""
    text = text_in(body, content_type)
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from None


def charset_of(content_type: str) -> str | None:
    """Return the charset that a Content-Type names, as Python calls it. Raises ``ValueError`` with what is wrong: it is
    too long, has a parameter in parts or in a charset of its own (RFC 2231), or names what is no charset of text.
    """
    if len(content_type) > MAX_CONTENT_TYPE:
        raise ValueError(f"the Content-Type has {len(content_type)} characters, {MAX_CONTENT_TYPE} are allowed")
    if "*" in content_type:
        raise ValueError(f"the Content-Type has a '*', as no plain parameter: {content_type!r}")
    named = parse_header_parameters(content_type)[1].get(
        "charset"
    )  # as Django reads it, so that we judge what it takes
    if named is None:
        return None
    try:
        charset = codecs.lookup(named).name
    except (LookupError, ValueError):
        charset = ""
    if not _CHARSETS.fullmatch(charset):
        raise ValueError(f"the charset {named!r} of the body is not supported")
    return charset


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
