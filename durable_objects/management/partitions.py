"""The verb of ``manage.py objects`` that cuts the engine's tables into hash partitions."""

from __future__ import annotations

from typing import Any

from durable_objects.management.base import VerbCommand, confirm
from durable_objects.operations import partitions


class PartitionVerb(VerbCommand):
    """``partition``."""

    def add_partition_verb(self, verbs: Any) -> None:
        """Add its subcommand."""
        cutting = verbs.add_parser(
            "partition", help="PostgreSQL: cut the engine's tables into hash partitions by object, or say how they are"
        )
        cutting.add_argument(
            "into", nargs="?", type=int, metavar="N", help="a power of two up to 256; 1 for one table each"
        )
        cutting.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def _partition(self, options: dict[str, Any]) -> None:
        into = options["into"]
        if into is not None and into != partitions.partitions():
            question = f"copy all rows into {into} partitions? Nothing reads or writes them until that is done."
            confirm(options, question, "all rows are copied, and nobody else reads or writes them meanwhile: add --yes")
            with self.progress(partitions.STEPS, "copy") as bar:
                partitions.partition(into, step=lambda: bar.update(1))
        found = partitions.partitions()
        text = f"{found} partitions each" if found > 1 else "one table each"
        self.say(options, {"partitions": found, "tables": partitions.TABLES}, f"{text}: {', '.join(partitions.TABLES)}")
