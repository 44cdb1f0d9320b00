"""What an error of the database means to an operator: one line that says what to do."""

from __future__ import annotations

from django.conf import settings
from django.db import Error, IntegrityError, InterfaceError, OperationalError

from durable_objects import escaping
from durable_objects.masking import scrub

#: Beginnings of SQLSTATEs, and pieces of what SQLite says: what it means, and what to do.
_TABLES = "Tables or columns that this code needs are missing: run `manage.py migrate`"
_MEANINGS = (
    ("42P01", "no such table", _TABLES),
    ("42703", "no such column", _TABLES),
    ("42703", "has no column named", _TABLES),
    (
        "3D000",
        "unable to open database file",
        "There is no such database: create it, or correct DATABASES (DATABASE_URL)",
    ),
    ("42501", "attempt to write a readonly database", "This user may not do that: grant it the rights in the database"),
    ("25006", "readonly", "It is read-only: use the primary, or make the file writable"),
    ("55P03", "database is locked", "Another transaction kept a lock for longer than the timeout: try again later"),
    ("57014", "interrupted", "The statement took longer than the database allows: try again later"),
    ("53", "database or disk is full", "It has run out of space, memory or connections: look after the server"),
    ("XX001", "malformed", "The file is damaged: restore a backup"),
    ("XX001", "not a database", "The file is not a database: correct DATABASES (DATABASE_URL)"),
)
_AWAY = "Is the server running, and are host, port, name, user and password in DATABASES (DATABASE_URL) right?"


def message_for(error: Error) -> str:
    """Return one line on the error: what is wrong, what to do, and the database's own words. Shows no password."""
    text, state = one_line(error), _state(error)
    if meaning := _meaning(error):
        return f"The database refused. {meaning}. It says: {text}"
    if isinstance(error, OperationalError | InterfaceError) and (not state or state[:2] in {"08", "28", "57"}):
        return f"The database does not answer, or refuses the connection. {_AWAY} It says: {text}"
    kind = "" if isinstance(error, IntegrityError) else f"{type(error).__name__}: "
    return f"The database refused. It says: {kind}{text}"


def lacks_tables(error: Error) -> bool:
    """Return whether a table or column was not there: ``migrate`` makes it."""
    return _meaning(error) is _TABLES


def _state(error: Error) -> str:
    return getattr(error.__cause__, "sqlstate", None) or ""


def _meaning(error: Error) -> str | None:
    state, text = _state(error), str(error)
    found = (row for row in _MEANINGS if (state.startswith(row[0]) if state else row[1] in text))
    return next((meaning for _, _, meaning in found), None)


def one_line(error: BaseException | str) -> str:
    """Write the error (or a text about it) in one line, the passwords in DATABASES masked."""
    passwords = [str(entry["PASSWORD"]) for entry in settings.DATABASES.values() if entry.get("PASSWORD")]
    return scrub(escaping.one_line(" ".join(str(error).split())), passwords, "***")
