"""Server-side prepared statements (PREPARE, EXECUTE), one cache per connection to PostgreSQL.

Only where Django's own switch for that is on, ``OPTIONS["prepare_threshold"]``: the number of times that a connection
sends a statement before it is prepared. It is off by default, since behind a pooler that lends out its sessions by the
transaction the next one may know nothing of what was prepared.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Sequence

from durable_objects.logs import get_logger

logger = get_logger(__name__)

#: One with more values was made for its number of rows, and planning is a small part of what it costs.
MOST_VALUES = 64

#: Statements that are prepared at a time, at most.
MOST_STATEMENTS = 100

#: Seconds after which all are prepared again: the best plan for a small table is not that for the large one it became.
LIFETIME = 60.0

#: SQLSTATE of a statement that the server does not have, and of one whose table has changed since.
_UNKNOWN, _CHANGED = "26000", "0A000"


class Prepared:
    """What one connection has prepared. A prepared statement takes its values as SQL, like any other."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._last_number = 0
        # By a name of this connection's own: where a pooler is in between, nothing else may be run by it.
        self._prefix = f"durable_objects_{secrets.token_hex(6)}_".encode()
        self._kept: dict[str, bytes] = {}
        self._sent: dict[str, bytes] = {}
        self._asked: Counter[str] = Counter()
        self._until = time.monotonic() + LIFETIME

    def begin(self) -> None:
        """Begin a message: what the last one was to prepare is not there if it was never sent."""
        self._sent = {}

    def parts(self, sql: str, values: Sequence[bytes]) -> list[bytes]:
        """Return what to send for a statement: itself, or EXECUTE, after PREPARE at first; its answer comes last."""
        before = []
        if time.monotonic() > self._until:
            before = [b"DEALLOCATE " + name for name in self._kept.values()]
            self._forget()
        name = self._kept.get(sql) or self._sent.get(sql)
        if name is None and self._is_worth_it(sql, len(values)):
            self._last_number += 1
            name = self._sent[sql] = b"%s%d" % (self._prefix, self._last_number)
            marks = tuple(f"${number}" for number in range(1, len(values) + 1))
            before.append(b"PREPARE %s AS %s" % (name, (sql % marks).encode()))
        if name is None:
            return [*before, sql.encode() % tuple(values)]
        return [*before, b"EXECUTE %s (%s)" % (name, b", ".join(values))]

    def succeeded(self) -> None:
        """Note that all that was sent was executed: what it was to prepare is there."""
        if self._sent:
            self._kept |= self._sent
            self._sent = {}

    def failed(self, sqlstate: str | None) -> None:
        """Note that something that was sent was not executed: what it was to prepare gets another name next time."""
        self._sent = {}
        if sqlstate in {_UNKNOWN, _CHANGED}:
            self._forget()
        if sqlstate == _UNKNOWN:
            logger.warning(
                "the server has lost what this connection had prepared: behind a pooler that lends out its sessions "
                "by the transaction, prepare_threshold must be None in OPTIONS of DATABASES (BEHIND_PGBOUNCER=1)"
            )

    def _forget(self) -> None:
        self._kept, self._sent, self._asked = {}, {}, Counter()
        self._until = time.monotonic() + LIFETIME

    def _is_worth_it(self, sql: str, values: int) -> bool:
        self._asked[sql] += 1
        few = len(self._kept) + len(self._sent) < MOST_STATEMENTS
        return few and values <= MOST_VALUES and self._asked[sql] > self._threshold
