"""Operations on everything that matches, done as a worker would."""

from __future__ import annotations

from durable_objects.operations import bulk, bulk_chunks
from durable_objects.tables import Operation


def do_to_all(verb: str, selection: str, **more: object) -> Operation:
    """The operation, started by ada, once a worker has gone on with it."""
    operation = bulk.start(verb, selection, by="ada", **more)  # type: ignore[arg-type]  # what a test gives is right
    bulk_chunks.drive(operation.pk, operation.fence, seconds=60)
    return bulk.get(operation.pk)


def figures(operation: Operation) -> tuple[str, int, int, int, int]:
    """State, total, done, skipped, failed."""
    return operation.state, operation.total, operation.done, operation.skipped, operation.failed
