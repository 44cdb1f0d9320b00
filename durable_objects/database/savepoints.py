"""Which savepoints are open on a connection while a turn is: whoever makes them, and however they end.

Django's own ``atomic()``, ``transaction.savepoint()`` and SQL of the user's all go through Django's cursor, so one
wrapper around it sees each ``SAVEPOINT``, ``ROLLBACK TO`` and ``RELEASE``. It is there only while a turn is open; the
engine's own statements on PostgreSQL pass it by, and none of them touches a savepoint. What is executed by the driver
past Django is not seen: the rollback of a savepoint made so undoes none of the turn's writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic, TransactionManagementError

from durable_objects.database.backends import backend_of
from durable_objects.database.backends.base import Backend, Statement
from durable_objects.database.errors import note_limits
from durable_objects.database.statement_text import BEFORE_FIRST_WORD, text_of

_KEY = "durable_objects_savepoints"

#: What matters begins so. Nearly all texts are judged by this alone, and by having no semicolon.
_MATTERS = re.compile(
    BEFORE_FIRST_WORD + r"(?:savepoint|rollback|release|commit|end|abort|begin|start|prepare|set)\b",
    re.IGNORECASE | re.DOTALL,
)

#: Limits that code may set for its own statements (PostgreSQL).
_LIMITS = re.compile(
    r"\b(?:statement|lock|transaction|idle_in_transaction_session)_timeout\b|\bset_config\s*\(", re.IGNORECASE
)

#: Comments, texts, names in quotes, words, and whatever else, one character each.
_TOKEN = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | \s+ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | E?'(?:[^'\\]|''|\\.)*'
    | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] | [^\W\d][\w$]* | .""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)

#: What follows the first word of a statement that ends or begins a whole transaction.
_NOISE = {"WORK", "TRANSACTION"}
_ENDS = {"ABORT", "COMMIT", "END", "BEGIN", "START"}


#: The savepoint of ``SentBlock``, and the statements that a message opens and releases it by.
_SENT = "durable_objects_run"
SENDING: Statement = f"SAVEPOINT {_SENT}", ()
RELEASING: Statement = f"RELEASE SAVEPOINT {_SENT}", ()


@dataclass(slots=True, eq=False)
class Savepoint:
    """One savepoint, from its statement to its end."""

    name: str
    is_open: bool = True
    #: Whether what was written since is gone; a savepoint that was released and then rolled back with one around it
    #: says no, and the one around it yes.
    undone: bool = False


@dataclass(slots=True, eq=False)
class Savepoints:
    """The savepoints of a connection since its outermost open turn began, the innermost last."""

    _backend: Backend
    open: list[Savepoint] = field(default_factory=list)
    #: How many savepoints were open when each of the open turns began: code in it must not end those.
    open_before: list[int] = field(default_factory=list)
    _watchers: int = 0

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """Refuse what would end the turn's transaction, execute, note what was done: Django's ``execute_wrapper``."""
        check_not_ended(context["connection"])  # psycopg would begin another transaction
        text = text_of(sql, context["cursor"])
        if _LIMITS.search(text):
            note_limits(context["connection"], are_changed=True)
        if _MATTERS.match(text) is None and (";" not in text or not self._backend.takes_several_statements):
            return execute(sql, params, many, context)
        steps = list(_steps(text, self._backend))
        before = max(self.open_before, default=0)
        depth = [savepoint.name for savepoint in self.open]
        for verb, name in steps:
            _refuse(verb, name, depth, before)
        result = execute(sql, params, many, context)
        for verb, name in steps:
            self._note(verb, name)
        return result

    def enter(self) -> int:
        """Begin another turn, whose code must not end what is open now. Returns how many that are, for ``leave``."""
        self.open_before.append(len(self.open))
        return len(self.open)

    def leave(self, before: int) -> None:
        """End that turn."""
        self.open_before.remove(before)

    def _note(self, verb: str, name: str) -> None:
        if verb == "SAVEPOINT":
            self.open.append(Savepoint(name))
            return
        place = max(at for at, savepoint in enumerate(self.open) if savepoint.name == name)
        for savepoint in self.open[place:]:
            savepoint.is_open, savepoint.undone = False, verb == "ROLLBACK"
        del self.open[place:]
        if verb == "ROLLBACK":  # it is still there, with nothing in it
            self.open.append(Savepoint(name))


class SentBlock(Atomic):
    """An ``atomic()`` block that takes no round trip if it ends well: ``SENDING`` was sent with a message before it,
    ``RELEASING`` is with the next one after it, before what that stores: a savepoint that writes takes a transaction id
    of its own. Undone it is like any other.
    """

    def __init__(self, conn: BaseDatabaseWrapper) -> None:
        super().__init__(conn.alias, True, False)
        self._conn = conn

    def __enter__(self) -> None:
        self._conn.savepoint_ids.append(_SENT)
        self._conn.atomic_blocks.append(self)
        of(self._conn)._note("SAVEPOINT", _SENT)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and not self._conn.needs_rollback:
            names: list[Any] = self._conn.savepoint_ids
            names[-1] = None  # Django has nothing to release then
            of(self._conn)._note("RELEASE", _SENT)
        super().__exit__(kind, error, traceback)


def check_not_ended(conn: BaseDatabaseWrapper) -> None:
    """Refuse a turn whose transaction was ended from inside, past Django: by the driver's own commit or rollback, or
    ``executescript()``. Asks nobody but the driver. Raises ``TransactionManagementError``.
    """
    driver = conn.connection
    if conn.closed_in_transaction:
        raise TransactionManagementError(
            "the connection to the engine's database was closed inside of this turn, by connection.close() or "
            "connections.close_all() in code that it ran. Nothing of it is stored: leave the connection open."
        )
    if driver is None or backend_of(conn).is_in_transaction():
        return
    raise TransactionManagementError(
        "the transaction of this turn was ended from inside of it, on the driver's connection. What was written by "
        "then is as that left it, the object was not locked any more, and nothing else is stored."
    )


def watch(conn: BaseDatabaseWrapper) -> Savepoints:
    """Watch the savepoints of this connection, until ``unwatch`` was called as often as this."""
    watched: Savepoints | None = conn.__dict__.get(_KEY)
    if watched is None:
        watched = conn.__dict__[_KEY] = Savepoints(backend_of(conn))
        conn.execute_wrappers.insert(0, watched)  # Django takes its own off the end
    watched._watchers += 1
    return watched


def of(conn: BaseDatabaseWrapper) -> Savepoints:
    """Return those that are watched already."""
    watched: Savepoints = conn.__dict__[_KEY]
    return watched


def unwatch(conn: BaseDatabaseWrapper) -> None:
    """End what one ``watch`` began; the last one ends watching."""
    watched: Savepoints = conn.__dict__[_KEY]
    watched._watchers -= 1
    if not watched._watchers:
        note_limits(conn, are_changed=False)
        del conn.__dict__[_KEY]
        conn.execute_wrappers.remove(watched)


def _refuse(verb: str, name: str, names: list[str], before: int) -> None:
    """Raise for what code in a turn must not do; ``names`` are those that are open then, and are kept so."""
    if verb == "SAVEPOINT":
        names.append(name)
        return
    if verb not in {"ROLLBACK", "RELEASE"}:
        raise TransactionManagementError(
            f"{verb} inside a turn: its transaction begins and ends with it. "
            "Raise to undo the turn; storage.transaction() or atomic() undo a part of it; unlocked() commits."
        )
    places = [at for at, each in enumerate(names) if each == name]
    if not places or places[-1] < before:
        raise TransactionManagementError(
            f"{verb} of savepoint {name!r}, which is not one of this turn's: end it before the turn or after it."
        )
    del names[places[-1] + (verb == "ROLLBACK") :]


def _steps(text: str, backend: Backend) -> Iterator[tuple[str, str]]:
    """Yield what the statements in the text do to savepoints and transactions: a verb, and the savepoint's name."""
    for words in _statements(text):
        verb = words[0].upper()
        if verb == "CREATE":  # of a function, whose body may hold statements and an END
            return
        rest = [word.upper() for word in words[1:3]]
        is_transaction = rest[:1] == ["TRANSACTION"]
        if rest[:1] and rest[0] in _NOISE:
            del rest[0], words[1]
        if verb == "SAVEPOINT":
            yield verb, _name(words[1:2], backend)
        elif verb == "RELEASE":
            yield verb, _name(words[2:3] if rest[:1] == ["SAVEPOINT"] else words[1:2], backend)
        elif verb == "ROLLBACK" and rest[:1] == ["TO"]:
            at = 3 if words[2:3] and words[2].upper() == "SAVEPOINT" else 2
            yield verb, _name(words[at : at + 1], backend)
        elif verb == "ROLLBACK":
            yield "ROLLBACK of the transaction", ""
        elif verb in _ENDS or (verb == "PREPARE" and is_transaction):
            yield verb, ""
        elif verb == "SET" and (is_transaction or "TRANSACTION_READ_ONLY" in rest):
            yield "SET TRANSACTION", ""


def _statements(text: str) -> Iterator[list[str]]:
    """Yield the first words of each statement."""
    words: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == ";":  # noqa: S105  no secret
            if words:
                yield words
            words = []
        elif not token.isspace() and not token.startswith(("--", "/*")) and len(words) < 5:
            words.append(token)
    if words:
        yield words


def _name(tokens: list[str], backend: Backend) -> str:
    token = tokens[0] if tokens else ""
    is_quoted = token[:1] in {'"', "`", "'", "["}
    if is_quoted:
        token = token[1:-1].replace(token[0] * 2, token[0])
    return backend.savepoint_name(token, is_quoted=is_quoted)
