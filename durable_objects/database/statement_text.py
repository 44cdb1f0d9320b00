"""The text of a statement as Django's cursors are given it: a ``str``, bytes, or what the driver composes."""

from __future__ import annotations

from typing import Any

#: A regular expression for what may stand before the first word of a statement.
BEFORE_FIRST_WORD = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"


def text_of(sql: Any, cursor: Any) -> str:
    """Return the text of a statement that is to be executed by this cursor of Django's."""
    if isinstance(sql, str):
        return sql
    if isinstance(sql, bytes):
        return sql.decode(errors="replace")
    as_string = getattr(sql, "as_string", None)
    return str(as_string(cursor.cursor) if as_string is not None else sql)
