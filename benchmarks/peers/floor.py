"""The floor: what one add costs in plain psycopg, written by hand, prepared, on one connection."""

from __future__ import annotations

from itertools import count

import psycopg

_LOCK = "SELECT id FROM durable_objects_object WHERE id = %s FOR NO KEY UPDATE"
_ENTRY = "INSERT INTO durable_objects_entry (object_id, key, value) VALUES (%s, %s, %s)"
_ALARM = """
INSERT INTO durable_objects_alarm (object_id, kind_id, state, scheduled_at, due_at, retry_count, crashed_starts,
    generation, fence, wake_up_number, wake_ups_lost, last_error)
VALUES (%s, %s, 'armed', now() + interval '1 hour', now() + interval '1 hour', 0, 0, 1, 0, 0, 0, '')
ON CONFLICT (object_id) DO UPDATE SET due_at = least(durable_objects_alarm.due_at, excluded.due_at)
"""


class Floor:
    """BEGIN, lock, insert the entry, upsert the alarm, COMMIT: five round trips and nothing else."""

    def __init__(self, database_url: str, object_id: int) -> None:
        self._connection = psycopg.connect(database_url, autocommit=True, prepare_threshold=0)
        self._cursor = self._connection.cursor()
        self._object_id = object_id
        self._cursor.execute("SELECT kind_id FROM durable_objects_object WHERE id = %s", (object_id,))
        ((self._kind_id,),) = self._cursor.fetchall()
        self._numbers = count()

    def add(self, item: str) -> None:
        """One add."""
        execute = self._cursor.execute
        execute("BEGIN")
        execute(_LOCK, (self._object_id,))
        self._cursor.fetchone()
        execute(_ENTRY, (self._object_id, f"{next(self._numbers):020d}", item))
        execute(_ALARM, (self._object_id, self._kind_id))
        execute("COMMIT")
