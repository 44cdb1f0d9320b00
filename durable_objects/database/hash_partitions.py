"""PostgreSQL's hash partitions: cut a table into n by one of its columns, or make it one table again.

The table is made again and its rows are copied, so that columns, constraints, indexes, owner and privileges stay what
they are, by their names. A primary key that lacks the column gets it, which a partitioned table needs; whoever looks
for rows by that key alone finds them as before, by an index of each partition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from durable_objects.errors import DurableObjectError

#: Copies of rows that one step makes, about: what the progress goes by.
STEPS = 20

_COLUMNS = """
    SELECT attname, attgenerated <> '', attidentity <> '' FROM pg_attribute
    WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_CONSTRAINTS = """
    SELECT conname, contype, pg_get_constraintdef(oid),
           ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY(conkey))
    FROM pg_constraint WHERE conrelid = %s AND contype IN ('p', 'u', 'f', 'x') ORDER BY contype DESC, conname
"""
_INDEXES = """
    SELECT pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid = %s AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
    ORDER BY indexrelid
"""
_PRIVILEGES = """
    SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
           string_agg(privilege_type, ', '), is_grantable
    FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = %s GROUP BY grantee, is_grantable
"""
_IN_THE_WAY = """
    SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid = %(table)s AND NOT tgisinternal
    UNION ALL SELECT 'policy ' || polname FROM pg_policy WHERE polrelid = %(table)s
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication_rel JOIN pg_publication p ON p.oid = prpubid
              WHERE prrelid = %(table)s
    UNION ALL SELECT 'view ' || ev_class::regclass FROM pg_depend JOIN pg_rewrite r ON r.oid = objid
              WHERE refobjid = %(table)s AND deptype = 'n' AND classid = 'pg_rewrite'::regclass
    UNION ALL SELECT 'foreign key ' || conname || ' of ' || conrelid::regclass FROM pg_constraint
              WHERE confrelid = %(table)s AND conparentid = 0 AND contype = 'f'
"""


@dataclass(frozen=True)
class _Table:
    """What a table is, read before it is made again."""

    oid: int
    owner: str
    columns: list[tuple[str, bool, bool]]
    constraints: list[tuple[str, str, str, list[str]]]
    indexes: list[tuple[str]]
    privileges: list[tuple[str, str, bool]]

    @property
    def written(self) -> list[str]:
        """The columns that have to be copied: the database computes the others."""
        return [name for name, is_generated, _ in self.columns if not is_generated]

    @property
    def numbered(self) -> list[str]:
        """The columns that a sequence of their own numbers."""
        return [name for name, _, is_identity in self.columns if is_identity]


def count(conn: BaseDatabaseWrapper, table: str) -> int:
    """Return into how many partitions the table is cut; 1 for a table that is not partitioned."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM pg_inherits WHERE inhparent = to_regclass(%s)", [_quoted(conn, table)])
        return int(cursor.fetchone()[0]) or 1


def make(conn: BaseDatabaseWrapper, table: str, by: str, into: int, step: Callable[[], object]) -> None:
    """Make the table again, of n partitions (``into``) by the hash of this column; 1 for a table as any other.

    Needs a transaction, and keeps everybody else out of the table until its end. ``step`` is called ``STEPS`` times.
    Raises ``DurableObjectError`` for what would be lost with the old table: triggers, policies, views, publications,
    and foreign keys to it.
    """
    quote = conn.ops.quote_name
    name, old = quote(table), quote(f"{table}_old")
    with conn.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
        found = _read(cursor, name)
        _refuse_what_would_be_lost(cursor, table, found.oid)
        cursor.execute(f"ALTER TABLE {name} RENAME TO {old}")
        kept = "INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING IDENTITY INCLUDING COMMENTS"
        partitioned = f" PARTITION BY HASH ({quote(by)})" if into > 1 else ""
        cursor.execute(f"CREATE TABLE {name} (LIKE {old} {kept}){partitioned}")
        for number in range(into if into > 1 else 0):
            part, place = quote(f"{table}_{number}_of_{into}"), f"MODULUS {into}, REMAINDER {number}"
            cursor.execute(f"CREATE TABLE {part} PARTITION OF {name} FOR VALUES WITH ({place})")
        columns = ", ".join(map(quote, found.written))
        copy = f"INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {old}"
        for low, high in _ranges(cursor, old, quote(by)):
            cursor.execute(f"{copy} WHERE {quote(by)} >= %s AND {quote(by)} < %s", [low, high])
            step()
        for column in found.numbered:
            _go_on_counting(cursor, name, old, column)
        cursor.execute(f"DROP TABLE {old}")
        for column in found.numbered:
            _rename_sequence(cursor, name, column, f"{table}_{column}_seq")
        _complete(cursor, name, by, into, found)


def _quoted(conn: BaseDatabaseWrapper, table: str) -> str:
    quoted: str = conn.ops.quote_name(table)
    return quoted


def _rows(cursor: CursorWrapper, sql: str, params: Any) -> list[Any]:
    cursor.execute(sql, params)
    return list(cursor.fetchall())


def _read(cursor: CursorWrapper, name: str) -> _Table:
    sql = "SELECT oid::bigint, quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = to_regclass(%s)"
    [(oid, owner)] = _rows(cursor, sql, [name])
    queries = (_COLUMNS, _CONSTRAINTS, _INDEXES, _PRIVILEGES)
    return _Table(oid, owner, *(_rows(cursor, query, [oid]) for query in queries))


def _refuse_what_would_be_lost(cursor: CursorWrapper, table: str, oid: int) -> None:
    found = sorted({text for (text,) in _rows(cursor, _IN_THE_WAY, {"table": oid})})
    if found:
        raise DurableObjectError(
            f"{table} has what would not come along: {', '.join(found)}. Drop it first, and create it again afterwards"
        )


def _ranges(cursor: CursorWrapper, table: str, by: str) -> list[tuple[int, int]]:
    """Cut the values of the column into ranges, from the first to before the last number."""
    [(first, last)] = _rows(cursor, f"SELECT COALESCE(MIN({by}), 0), COALESCE(MAX({by}), 0) FROM {table}", [])
    width = (last - first) // STEPS + 1
    return [(first + number * width, first + (number + 1) * width) for number in range(STEPS)]


def _go_on_counting(cursor: CursorWrapper, name: str, old: str, column: str) -> None:
    [(before,)] = _rows(cursor, "SELECT pg_get_serial_sequence(%s, %s)", [old, column])
    [(value, is_called)] = _rows(cursor, f"SELECT last_value, is_called FROM {before}", [])
    cursor.execute("SELECT setval(pg_get_serial_sequence(%s, %s), %s, %s)", [name, column, value, is_called])


def _rename_sequence(cursor: CursorWrapper, name: str, column: str, wanted: str) -> None:
    """Give a sequence the name that it would have had, now that the old one is gone."""
    [(sequence,)] = _rows(cursor, "SELECT pg_get_serial_sequence(%s, %s)", [name, column])
    if sequence.rpartition(".")[2].strip('"') != wanted:
        cursor.execute(f'ALTER SEQUENCE {sequence} RENAME TO "{wanted}"')


def _complete(cursor: CursorWrapper, name: str, by: str, into: int, found: _Table) -> None:
    for constraint, kind, definition, columns in found.constraints:
        own = [column for column in columns if column != by] or [by]
        key = f"PRIMARY KEY ({', '.join([*own, by] if into > 1 and own != [by] else own)})"
        cursor.execute(f'ALTER TABLE {name} ADD CONSTRAINT "{constraint}" {key if kind == "p" else definition}')
    for (definition,) in found.indexes:
        cursor.execute(definition.replace(" ON ONLY ", " ON ", 1))
    cursor.execute(f"ALTER TABLE {name} OWNER TO {found.owner}")
    for grantee, privileges, is_grantable in found.privileges:
        option = " WITH GRANT OPTION" if is_grantable else ""
        cursor.execute(f"GRANT {privileges} ON {name} TO {grantee}{option}")
    cursor.execute(f"ANALYZE {name}")
