"""The engine's large tables in PostgreSQL's hash partitions, by the object: for many millions of objects.

``Object`` itself stays one table: its rows are the smallest, and both its keys, the number and class with name, have to
be unique in all of it.
"""

from __future__ import annotations

from collections.abc import Callable

from django.db import DatabaseError, transaction

from durable_objects.conf import engine
from durable_objects.database import clock, hash_partitions
from durable_objects.database.backends import backend_of, sqlstates
from durable_objects.database.errors import sqlstate
from durable_objects.errors import DurableObjectError
from durable_objects.tables import Alarm, AlarmRun, Entry, Schedule

TABLES = tuple(model._meta.db_table for model in (Alarm, Entry, Schedule, AlarmRun))
#: How often ``partition`` calls its ``step``.
STEPS = hash_partitions.STEPS * len(TABLES)
AT_MOST = 256
#: What one partition of each table needs of them, with its indexes, until the transaction ends.
LOCKS_OF_EACH = 100


def partitions() -> int:
    """Return into how many partitions the tables are cut; 1 where they are not, or cannot be."""
    conn = clock.connection()
    return hash_partitions.count(conn, TABLES[0]) if backend_of(conn).has_partitions else 1


def partition(into: int, *, step: Callable[[], object] = lambda: None) -> None:
    """Cut the tables into n hash partitions by object; 1 makes each one table again. As it is: nothing is done.

    In one transaction, which copies all rows: nobody else reads or writes them meanwhile, alarms run afterwards. It
    needs space on the disk for both copies. Migrations work on partitioned tables as on others. Raises
    ``DurableObjectError`` for another number than a power of two up to 256, another database than PostgreSQL, what
    would be lost with the old tables (views, triggers, publications …), and where the server cannot hold as many locks.
    """
    conn = clock.connection()
    if into == partitions():
        return
    if not backend_of(conn).has_partitions:
        raise DurableObjectError(f"{conn.display_name} has no hash partitions: they are for PostgreSQL")
    if not 1 <= into <= AT_MOST or into & (into - 1):
        raise DurableObjectError(
            f"{into} partitions cannot be. Allowed: a power of two up to {AT_MOST}; 1 makes one table again"
        )
    try:
        with transaction.atomic(using=engine.DATABASE):
            for table in TABLES:
                hash_partitions.make(conn, table, "object_id", into, step)
    except DatabaseError as error:
        if sqlstate(error) != sqlstates.OUT_OF_MEMORY:
            raise
        raise DurableObjectError(
            f"nothing was changed: the server cannot hold some {LOCKS_OF_EACH * into:,} locks, which {into} "
            "partitions need at once. Raise max_locks_per_transaction and restart it (it holds that times "
            "max_connections), or cut into fewer"
        ) from error
