"""What an error of the database means to the one who typed a command: one line that says what to do."""

from __future__ import annotations

from django.conf import settings
from django.db import Error, IntegrityError, InterfaceError, OperationalError

from durable_objects import escaping
from durable_objects.masking import scrub

#: Beginnings of SQLSTATEs, and pieces of what SQLite says: what it means, and what to do.
_TABLES = "It lacks tables or columns that this code needs: run `manage.py migrate`"
_MEANINGS = (
    ("42P01", "no such table", _TABLES),
    ("42703", "no such column", _TABLES),
    ("42703", "has no column named", _TABLES),
    ("3D000", "unable to open database file", "There is no such database: make it, or mend DATABASES (DATABASE_URL)"),
    ("42501", "attempt to write a readonly database", "This user may not do that: see to the rights in the database"),
    ("25006", "readonly", "It takes no writes: ask its primary, or see to the rights on the file"),
    ("55P03", "database is locked", "Another transaction holds it for longer than the time-out: try again later"),
    ("57014", "interrupted", "The statement took longer than the database allows: try again later"),
    ("53", "database or disk is full", "It has run out of space, memory or connections: see to the server"),
    ("XX001", "malformed", "The file is damaged: bring back a copy"),
    ("XX001", "not a database", "The file is something else: mend DATABASES (DATABASE_URL)"),
)
_AWAY = "Is the server running, and are host, port, name, user and password in DATABASES (DATABASE_URL) right?"


def in_words(error: Error) -> str:
    """One line: what is wrong with the database, what it says itself, and what to do. Without a password."""
    said = one_line(error)
    state = getattr(error.__cause__, "sqlstate", None) or ""
    for beginning, piece, meaning in _MEANINGS:
        if state.startswith(beginning) if state else piece in said:
            return f"The database refused. {meaning}. It says: {said}"
    if isinstance(error, OperationalError | InterfaceError) and (not state or state[:2] in {"08", "28", "57"}):
        return f"The database does not answer, or lets nobody in. {_AWAY} It says: {said}"
    kind = "" if isinstance(error, IntegrityError) else f"{type(error).__name__}: "
    return f"The database refused. It says: {kind}{said}"


def one_line(error: BaseException | str) -> str:
    """What the error (or a text about it) says, in one line, without the passwords that Django knows of."""
    said = escaping.one_line(" ".join(str(error).split()))
    return scrub(
        said, [str(entry["PASSWORD"]) for entry in settings.DATABASES.values() if entry.get("PASSWORD")], "***"
    )
