"""PostgreSQL, by psycopg 3."""

from __future__ import annotations

import functools
import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import DatabaseError, Error, InterfaceError, OperationalError, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from durable_objects.conf import engine
from durable_objects.database.backends import prepared, simple_query, sqlstates
from durable_objects.database.backends.base import (
    Backend,
    Copier,
    Limits,
    Meaning,
    Reason,
    Row,
    Statement,
    milliseconds,
)
from durable_objects.database.statement_text import BEFORE_FIRST_WORD
from durable_objects.logs import get_logger

logger = get_logger(__name__)

_NAME_BYTES = 63

#: The first key of the advisory locks of runs, the second is their class; a project's own have others.
_RUNS = 1_685_155_378

#: Statements that leave something on the session when their transaction is over.
_OUTLASTS = re.compile(
    rf"(?:^|;){BEFORE_FIRST_WORD}(?:SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)|RESET\b|DISCARD\b|LISTEN\b|CREATE\s+TEMP)"
    r"|\bset_config\s*\([^)]*,\s*(?:false|%s)\s*\)|\bpg_(?:try_)?advisory_lock",
    re.IGNORECASE | re.DOTALL,
)

#: When the server gives up on a session whose other end does not answer: after 30 s.
#: Keepalives are for one that waits, the last (milliseconds) for one to which an answer is on its way.
_CUT_OFF = {
    "tcp_keepalives_idle": 15,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class PostgreSQL(Backend):
    """A server, asked over a session that may be lost. Rows are locked FOR NO KEY UPDATE."""

    collation = "C"
    clock = "clock_timestamp()"
    moment_parameter = "%s::timestamptz"
    has_server = True
    takes_several_statements = True
    returns_inserted = True
    deletes_in_with = True
    has_partitions = True
    row_address = "ctid"

    def unfit(self) -> str | None:
        """Refuse psycopg 2."""
        from django.db.backends.postgresql.psycopg_any import is_psycopg3

        if is_psycopg3:
            return None
        return (
            f"The database {self.conn.alias!r} is used through psycopg2. "
            "Durable objects need psycopg 3: install psycopg."
        )

    def waits_to_connect(self) -> bool:
        """Return whether there is no ``connect_timeout``: psycopg's own is over two minutes."""
        return not (self.conn.settings_dict["OPTIONS"].get("connect_timeout") or os.environ.get("PGCONNECT_TIMEOUT"))

    def unfit_encoding(self) -> str | None:
        """Return any but UTF8."""
        encoding = self._setting("server_encoding")
        return None if encoding == "UTF8" else encoding

    def own_name(self) -> str:
        """Return its name and its number in the cluster."""
        with self.conn.cursor() as cursor:
            cursor.execute("SELECT datname, oid FROM pg_database WHERE datname = current_database()")
            return "{} {}".format(*cursor.fetchone())

    def is_read_only(self) -> bool:
        """Return whether this transaction takes no writes, as on a standby."""
        with self.conn.cursor() as cursor:
            cursor.execute("SELECT current_setting('transaction_read_only')")
            return bool(cursor.fetchone()[0] == "on")

    def unfit_isolation(self) -> str | None:
        """Return any but READ COMMITTED."""
        level = self._setting("transaction_isolation")
        return None if level == "read committed" else level

    def write_moment(self, moment: datetime) -> datetime:
        """Return it as it is: psycopg writes moments."""
        return moment

    @staticmethod
    def select_moment(expression: str) -> str:
        """Return SQL for text in UTC: PostgreSQL's own goes by the session's TimeZone and DateStyle, to year 10000."""
        return f"to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"

    def read_column(self, value: datetime) -> datetime:
        """Return it in the connection's zone if naive: it was not selected as text, and USE_TZ is off."""
        return value if value.tzinfo else value.replace(tzinfo=ZoneInfo(self.conn.timezone_name))

    def begin(self, limits: Limits, *, outermost: bool) -> Sequence[Statement]:
        """Ask for READ COMMITTED by name, whatever the database's default: a turn must see what was committed while it
        waited for the lock. A run's wait has a limit of its own.
        """
        return _begin(limits, outermost)

    def after_lock(self, limits: Limits, *, outermost: bool) -> Sequence[Statement]:
        """Set ``lock_timeout`` as for calls, and ``statement_timeout`` to what the run may take."""
        if not limits.is_run:
            return ()
        limit = f"SET LOCAL statement_timeout = {milliseconds(limits.time_limit)}"
        return [*self.limit_lock_wait(engine.LOCK_TIMEOUT), *([(limit, ())] if outermost else [])]

    def restore_limits(self, limits: Limits, *, outermost: bool) -> Sequence[Statement]:
        """Set ``lock_timeout`` and ``statement_timeout`` again."""
        limit = str(milliseconds(limits.time_limit)) if limits.is_run and outermost else "DEFAULT"
        return [*self.limit_lock_wait(engine.LOCK_TIMEOUT), (f"SET LOCAL statement_timeout = {limit}", ())]

    def limit_lock_wait(self, limit: timedelta) -> Sequence[Statement]:
        """Set ``lock_timeout`` for this transaction."""
        return _limit_lock_wait(limit)

    def lock(self, select: Statement, *, skip_locked: bool = False) -> Sequence[Statement]:
        """Lock FOR NO KEY UPDATE."""
        sql, params = select
        return [(f"{sql} FOR NO KEY UPDATE{' SKIP LOCKED' if skip_locked else ''}", params)]

    def is_partitioned(self, table: str) -> str:
        """Look it up in ``pg_class``."""
        return f"(SELECT relkind = 'p' FROM pg_class WHERE oid = '{table}'::regclass)"

    def among(self, column: str, keys: Sequence[int]) -> Statement:
        """Take them as one array, whose rows lead the join: each of them then reads the one partition that it is in,
        where a list is planned against all. The text is the same for any number of keys, so that it is prepared.
        """
        return f"{column} IN (SELECT unnest(%s::bigint[]))", ["{" + ",".join(map(str, keys)) + "}"]

    def pairs(self, number: int, texts: Sequence[str]) -> Statement:
        """Take several texts as one value: reading that takes a fraction of what parsing and planning VALUES does."""
        if len(texts) == 1:
            return super().pairs(number, texts)
        return "SELECT %s, json_array_elements_text(%s)", [number, json.dumps(texts, ensure_ascii=False)]

    def rows(self, model: type[models.Model], columns: Mapping[str, Sequence[Any]]) -> Statement:
        """Take each column of many rows as one value, and a value that all of them have once: that is parsed in a
        fraction of the time, and is the same text for any number, so that it is prepared.
        """
        rows = len(next(iter(columns.values())))
        if rows * len(columns) <= prepared.MOST_VALUES:  # it is prepared as it is
            return super().rows(model, columns)
        types, selected, same, named, taken, arrays = _types_of(model), [], [], [], [], []
        for name, values in columns.items():
            kind = types[name]
            if values.count(values[0]) == rows:
                selected.append(f"%s::{kind}")
                same.append(values[0])
            else:
                selected.append(name)
                named.append(name)
                taken.append("json_array_elements_text(%s)" if kind == "text" else f"unnest(%s::{kind}[])")
                arrays.append(_as_one(values, kind))
        if not arrays:
            return super().rows(model, columns)
        given = f"ROWS FROM ({', '.join(taken)}) AS given ({', '.join(named)})"
        return f"SELECT {', '.join(selected)} FROM {given}", [*same, *arrays]

    def note_run(self, kind_id: int) -> Sequence[Statement]:
        """Take an advisory lock that all runs of a class share, and which ends with the transaction."""
        return [("SELECT pg_advisory_xact_lock_shared(%s, %s)", (_RUNS, kind_id))]

    def runs(self, kind_id: int | None) -> int:
        """Count who holds it, in ``pg_locks``."""
        of_kind = "" if kind_id is None else " AND objid = %s"
        with self.conn.cursor() as cursor:
            cursor.execute(
                "SELECT COUNT(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
                f"AND classid = %s{of_kind}",
                [_RUNS] if kind_id is None else [_RUNS, kind_id],
            )
            return int(cursor.fetchone()[0])

    def snapshot(self) -> Sequence[Statement]:
        """Ask for REPEATABLE READ."""
        return [("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", ())]

    def epoch(self, column: str) -> str:
        """Return SQL for a column of moments as whole seconds since 1970."""
        return f"CAST(floor(extract(epoch FROM {column})) AS bigint)"

    def estimated_rows(self, index: str) -> int | None:
        """Read ``pg_class``."""
        with self.conn.cursor() as cursor:
            cursor.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", [index])
            return int(cursor.fetchone()[0])

    def locked_rows(self, table: str, keys: Sequence[int]) -> set[int]:
        """Ask for a lock on each with SKIP LOCKED."""
        with self.conn.cursor() as cursor:
            cursor.execute(f"SELECT id FROM {table} WHERE id = ANY(%s) FOR SHARE SKIP LOCKED", [list(keys)])
            return {*keys} - {key for (key,) in cursor.fetchall()}

    def locked_by(self, table: str, key: int) -> tuple[int, str, str | None, timedelta] | None:
        """Look the row's ``xmax`` up in ``pg_stat_activity``."""
        with self.conn.cursor() as cursor:
            cursor.execute(
                "SELECT a.pid, a.application_name, host(a.client_addr), clock_timestamp() - a.xact_start "
                f"FROM {table} o JOIN pg_stat_activity a ON a.backend_xid = o.xmax WHERE o.id = %s",
                [key],
            )
            found: tuple[int, str, str | None, timedelta] | None = cursor.fetchone()
        return found

    def execute(self, statements: Sequence[Statement], typed: int) -> list[list[Row]]:
        """Send one message; values of rows that are not typed are text."""
        return self._rows(simple_query.exchange(self.conn, statements), typed)

    def _rows(self, results: Sequence[Any], typed: int) -> list[list[Row]]:
        if not typed:
            return [simple_query.text_rows(result) for result in results]
        plain = len(results) - typed
        typed_rows = [simple_query.typed_rows(self.conn, result) for result in results[plain:]]
        return [*map(simple_query.text_rows, results[:plain]), *typed_rows]

    def copier(self, table: str) -> Copier | None:
        """Return COPY: a third of what the server does for INSERT, since it neither parses nor looks for each row. None
        where row-level security holds for this session's user: there the server refuses it.
        """
        questions = [(f"SELECT row_security_active('{table}')", ()), (f"SELECT * FROM {table} WHERE FALSE", ())]
        has_row_security, described = simple_query.exchange(self.conn, questions)
        if has_row_security.get_value(0, 0) == b"t":
            return None
        return functools.partial(simple_query.copy, self.conn, table, simple_query.types_of(described))

    def commit(
        self, statements: Sequence[Statement], then: Sequence[Statement] = (), typed: int = 0
    ) -> list[list[Row]]:
        """Send COMMIT with the message."""
        results = simple_query.exchange(self.conn, [*statements, simple_query.COMMIT, *then])
        if results[len(statements)].command_status != b"COMMIT":
            raise TransactionManagementError(
                "the database has rolled this transaction back: an error of an earlier query was swallowed"
            )
        return self._rows(results[len(statements) + 1 :], typed)

    def savepoint_name(self, name: str, *, is_quoted: bool) -> str:
        """Return it in lower case unless it is quoted, cut off after 63 bytes."""
        return (name if is_quoted else name.lower()).encode()[:_NAME_BYTES].decode(errors="ignore")

    def is_in_transaction(self) -> bool:
        """Return what libpq knows."""
        return bool(self.conn.connection.pgconn.transaction_status)

    def answers(self) -> bool:
        """Return whether the server answers, be it that the transaction has failed."""
        session = self.conn.connection
        if session is None or getattr(session, "closed", False):
            return False
        try:
            with self.conn.wrap_database_errors:
                session.execute("SELECT 1")
        except Error as error:
            return sqlstates.of(error) == sqlstates.IN_FAILED_TRANSACTION
        return True

    def hang_up(self) -> None:
        """Shut the socket down."""
        with suppress(Exception), socket.socket(fileno=os.dup(self.conn.connection.pgconn.socket)) as session:
            session.shutdown(socket.SHUT_RDWR)

    def set_up_session(self) -> None:
        """Let the server give up after 30 s on a session whose other end does not answer: it would keep the object of a
        worker that is cut off, in the middle of a turn, for as long as a run may take. A server or project that gives
        up sooner is left alone.
        """
        host = str(self.conn.settings_dict.get("HOST") or "")
        driver: Any = self.conn.connection
        if host.startswith("/") or hasattr(driver, "durable_objects_noticed"):  # no network; taken from a pool
            return
        driver.durable_objects_noticed = True
        wanted = " UNION ALL ".join(
            f"SELECT set_config('{name}', '{most}', false) "
            f"WHERE current_setting('{name}')::bigint NOT BETWEEN 1 AND {most}"
            for name, most in _CUT_OFF.items()
        )
        try:  # by the driver's own cursor: whoever watches Django's looks for what others do to the session
            with self.conn.wrap_database_errors, driver.cursor() as cursor:
                cursor.execute(wanted)
        except DatabaseError as error:  # not PostgreSQL's own server: it may know no such settings
            logger.info("the server does not report when it gives up on sessions that are cut off: %s", error)

    def outlasts_transaction(self, sql: str) -> bool:
        """Return whether it is a SET, RESET, LISTEN, advisory lock or the like."""
        return _OUTLASTS.search(sql) is not None

    @staticmethod
    def meaning(conn: BaseDatabaseWrapper, error: Error) -> Meaning | None:
        """Return it by the SQLSTATE. Without one the server could not answer any more; but what the driver refuses by
        itself, wrong parameters or a closed cursor, is the code's affair as long as the session is there.
        """
        state: str | None = getattr(error.__cause__, "sqlstate", "")
        if state == "":
            return None
        if state is None and any(words in str(error) for words in sqlstates.NO_CAPACITY):
            return Meaning.TROUBLE
        # By the error: Django may have connected again since, and the driver learns late that a server has hung up.
        if conn.connection is None or (state is None and isinstance(error, OperationalError)):
            return Meaning.LOST
        if state is None or isinstance(error, InterfaceError):
            return Meaning.LOST if getattr(conn.connection, "closed", False) else Meaning.CODE
        return sqlstates.meaning_of(state)

    @staticmethod
    def reason(error: BaseException) -> Reason | None:
        """Return it by the SQLSTATE."""
        return sqlstates.reason_of(sqlstates.of(error))

    def _setting(self, name: str) -> str:
        with self.conn.cursor() as cursor:
            cursor.execute("SELECT current_setting(%s)", [name])
            return str(cursor.fetchone()[0])


@functools.lru_cache
def _limit_lock_wait(limit: timedelta) -> tuple[Statement, ...]:
    return ((f"SET LOCAL lock_timeout = {milliseconds(limit)}", ()),)


@functools.lru_cache
def _begin(limits: Limits, outermost: bool) -> tuple[Statement, ...]:
    if not outermost:
        return _limit_lock_wait(limits.lock_timeout)
    texts = [
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds(limits.time_limit)}",
    ]
    if limits.is_run:
        texts.append("SET LOCAL statement_timeout = 0")
    return (*((text, ()) for text in texts), *_limit_lock_wait(limits.lock_timeout))


@functools.cache
def _types_of(model: type[models.Model]) -> Mapping[str, str]:
    """Return the types of a model's columns, by their names; text of any length for all texts."""
    conn = connections[engine.DATABASE]
    types = {str(field.column): str(field.db_type(conn)) for field in model._meta.concrete_fields}
    return {name: "text" if kind.startswith("varchar") else kind for name, kind in types.items()}


def _as_one(values: Sequence[Any], kind: str) -> str:
    """Return many values of this type as one: texts as JSON, others, in which nothing has to be quoted, as an array."""
    if kind == "text":
        return json.dumps(values, ensure_ascii=False)
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"
