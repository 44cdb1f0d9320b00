"""The body of an HTTP message as text or JSON: one rule for what comes in and what is answered."""

from __future__ import annotations

import json
from email.message import Message
from typing import Any, NoReturn


def is_json(content_type: str) -> bool:
    """Whether it says JSON: ``application/json`` or ``…+json``."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def text_in(body: bytes, content_type: str) -> str:
    """The text, in the charset that its Content-Type names, else UTF-8.

    Raises ``ValueError`` saying what is wrong: a charset that is none, or bytes that are not in it.
    """
    charset = charset_of(content_type) or "utf-8"
    try:
        return body.decode(charset)
    except LookupError:
        raise ValueError(f"the body is said to be in {charset!r}, which is no charset here") from None
    except UnicodeError as error:
        where = f": {error.reason} at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        raise ValueError(f"the body is not {charset.upper()} text{where}") from None


def readable(body: bytes, content_type: str) -> str:
    """The text of an answer, as well as it can be read: in the charset that is named, or that it shows by itself."""
    try:
        return body.decode(charset_of(content_type) or json.detect_encoding(body), errors="replace")
    except (LookupError, UnicodeError):
        return body.decode(errors="replace")


def json_in(body: bytes, content_type: str) -> Any:
    """The JSON value, of the text that it is. Raises ``ValueError`` saying what is wrong, for NaN and its like too."""
    text = text_in(body, content_type)
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from None


def charset_of(content_type: str) -> str | None:
    """The charset that a Content-Type names, in small letters."""
    header = Message()
    header["Content-Type"] = "".join(letter for letter in content_type if letter.isprintable())
    return header.get_content_charset()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
