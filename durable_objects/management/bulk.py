"""What commands do to everything that matches: an operation, with a bar; done here, or by a worker that is first."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandError

from durable_objects.management.base import ManyLines, VerbCommand, confirm
from durable_objects.management.pauses import user
from durable_objects.management.reasons import add_reason
from durable_objects.operations import bulk, bulk_chunks
from durable_objects.operations.selection import Selection
from durable_objects.tables import Operation

#: How often it looks at an operation that a worker does.
SECONDS_BETWEEN_LOOKS = 0.2


class BulkCommand(VerbCommand):
    """A command with verbs that take all that match."""

    def do_to_all(self, options: dict[str, Any], verb: str, selection: Selection, **arguments: Any) -> None:
        """Ask, start the operation, go on with it to its end. Raises ``ManyLines`` for failures; Ctrl-C stops it."""
        asked = bulk.prepare(verb, str(selection))
        number = bulk.counted(asked)
        if asked.total:
            confirm(options, f"{verb} {number}?", f"{number} found: add --yes to {verb}")
        operation = bulk.start(
            verb,
            str(selection),
            by=user(),
            reason=options.get("reason") or "",
            rate=options.get("rate"),
            arguments=arguments,
        )
        self.follow(options, operation)

    def follow(self, options: dict[str, Any], operation: Operation) -> None:
        """Show a bar until it is done, and do it where no worker does."""
        seen = bulk.seen(operation)
        with self.progress(max(operation.total, 1), operation.verb) as bar:
            bar.update(seen)

            def watch(at: Operation) -> None:
                nonlocal seen
                bar.update(bulk.seen(at) - seen)
                seen = bulk.seen(at)

            try:
                while operation.state in {bulk.RUNNING, bulk.WAITING}:
                    if bulk_chunks.drive(operation.pk, operation.fence, watch=watch) is None:
                        time.sleep(SECONDS_BETWEEN_LOOKS)
                    operation = bulk.get(operation.pk)
                    watch(operation)
            except KeyboardInterrupt:
                bulk.stop(operation)
                after = bulk.get(operation.pk)
                raise CommandError(
                    f"stopped after {bulk.seen(after):,} of {after.total:,}: "
                    f"`manage.py operations resume {after.pk}` goes on"
                ) from None
        self._say_end(options, operation)

    def _say_end(self, options: dict[str, Any], operation: Operation) -> None:
        failures = [f"{each['name']}: {each['error']}" for each in operation.failures]
        figures = {
            "operation": operation.pk,
            "state": operation.state,
            "done": operation.done,
            "skipped": operation.skipped,
            "failed": operation.failed,
            "failures": failures,
        }
        skipped = f", {operation.skipped:,} skipped" if operation.skipped else ""
        self.say(options, figures, f"{operation.done:,} done{skipped}")
        if operation.error:
            raise CommandError(f"it stopped: {operation.error}")
        if operation.failed:
            raise ManyLines(f"{operation.failed:,} failed:", *failures)


def add_how(parser: Any) -> None:
    """Add the options of everything that matches: a reason, a rate, no question."""
    add_reason(parser, "kept with it")
    parser.add_argument("--rate", type=float, metavar="NUMBER", help="at most this many objects a second")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
