"""Which installation is this: the same for every process on one database, another one for any other database."""

from __future__ import annotations

import hashlib

from django.db.migrations.recorder import MigrationRecorder

from durable_objects.conf import engine
from durable_objects.database import supported
from durable_objects.database.backends import backend_of


def fingerprint() -> str | None:
    """Return 16 hexadecimal digits that tell this installation from others; None where no migration is on record.

    They are made of when the engine's first migration was applied, and of what the server calls the database: not of
    ``DATABASES``, by which two hosts may know one database under two names. Raises what the database raises.
    """
    conn = supported.connect(engine.DATABASE)
    recorder = MigrationRecorder(conn)
    if not recorder.has_table():
        return None
    ours = recorder.migration_qs.filter(app="durable_objects").order_by("id")
    applied = ours.values_list("applied", flat=True).first()
    if applied is None:
        return None
    return hashlib.sha256(f"{applied.isoformat()} {backend_of(conn).own_name()}".encode()).hexdigest()[:16]
