"""``manage.py batcher list``, and ``add|show|flush|cancel|replay|split|drop|fail|receipt|configure NAME``."""

from __future__ import annotations

import itertools
import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandParser

from batcher.batch_lifecycle import BY_HAND
from batcher.management import bulk_add, output, setting_values
from batcher.models import Batch, Batcher
from durable_objects.formatting import number_of
from durable_objects.management.base import PlainCommand, lines_of
from durable_objects.management.reasons import add_reason, reason_of, tell

EXAMPLES = {
    "list": "manage.py batcher list --prefix ord --json",
    "add": "manage.py batcher add orders first second\n  manage.py batcher add orders - < shop.log\n"
    "  manage.py batcher add orders --json-items - < orders.jsonl",
    "show": "manage.py batcher show orders --json",
    "flush": "manage.py batcher flush orders",
    "cancel": "manage.py batcher cancel orders",
    "replay": "manage.py batcher replay orders\n  manage.py batcher replay orders --unknown\n"
    "  manage.py batcher replay orders 6f1c64c9-9b35-4f0e-9c0b-0f4d5a1de3a1",
    "split": "manage.py batcher split orders 6f1c64c9-9b35-4f0e-9c0b-0f4d5a1de3a1",
    "drop": "manage.py batcher drop orders 6f1c64c9-9b35-4f0e-9c0b-0f4d5a1de3a1 17 --reason 'no such sku'",
    "fail": "manage.py batcher fail orders 6f1c64c9-9b35-4f0e-9c0b-0f4d5a1de3a1 --reason 'sent by mail'",
    "receipt": "manage.py batcher receipt orders 17",
    "configure": "manage.py batcher configure orders upstream_url=https://example.com/in window=30 gzip=true\n"
    "  manage.py batcher configure orders window=            (back to the project's)\n"
    "  printenv SECRET | manage.py batcher configure orders secret=-",
}


class Command(PlainCommand):
    help = "Add items to a batcher, show it, send what waits, pause it, or send a batch again."

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """Build the parser, with examples below the options."""
        parser = super().create_parser(*args, **kwargs)
        parser.epilog = "examples:\n  " + "\n  ".join(EXAMPLES.values())
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="|".join(EXAMPLES))
        listing = self._verb(verbs, "list", "list batchers: how many items wait, and when each acts next", named=False)
        listing.add_argument("--prefix", default="", help="only names that begin with this")
        listing.add_argument("--limit", type=int, default=50)
        add = self._verb(verbs, "add", "add items, each argument one text; - reads them from standard input, by line")
        add.add_argument("items", nargs="+", metavar="ITEM", help="a text, or - for the lines of standard input")
        add.add_argument("--json-items", action="store_true", help="each item is JSON and not text")
        self._verb(verbs, "show", "show how many items wait, when it acts next, its settings and last batches")
        self._verb(verbs, "flush", "send now what waits, and try undelivered batches again now")
        self._verb(verbs, "cancel", "pause until the next item or flush")
        replay = self._verb(verbs, "replay", "send batches again, under the same keys")
        replay.add_argument(
            "batches", nargs="*", metavar="BATCH", help="ids; default: all failed ones that are proven undelivered"
        )
        replay.add_argument("--unknown", action="store_true", help="also failed ones that may have been delivered")
        add_reason(replay, "of --unknown; kept in the log")
        split = self._verb(verbs, "split", "split a batch in two, under keys of their own, and send both now")
        split.add_argument("batch", metavar="BATCH", help="its id; one that is proven undelivered")
        drop = self._verb(verbs, "drop", "take an item out of a batch, and send the others now, under another key")
        drop.add_argument("batch", metavar="BATCH", help="its id; one that is proven undelivered")
        drop.add_argument("place", metavar="PLACE", type=int, help="the item's place in it, from 0")
        drop.add_argument("--reason", required=True, help="kept with the item, which stays on record as failed")
        fail = self._verb(verbs, "fail", "give up on batches that are not delivered yet")
        fail.add_argument("batches", nargs="+", metavar="BATCH", help="ids")
        add_reason(fail, "kept with the batches and in the log")
        receipt = self._verb(verbs, "receipt", "show what became of an item")
        receipt.add_argument("item", type=int, help="its number")
        configure = self._verb(
            verbs, "configure", "change settings; times in seconds; an empty VALUE: the project's setting"
        )
        configure.add_argument(
            "changes", nargs="+", metavar="NAME=VALUE", help="a VALUE of - is read from standard input"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        verb: Callable[[dict[str, Any]], dict[str, Any]] = getattr(self, f"_{options['verb']}")
        result = verb(options)
        if options["json"]:
            self.stdout.write(json.dumps(result, default=str))
        elif options["verb"] == "list":
            self.write_table(("NEXT", "QUEUED", "NAME"), map(output.columns, result["batchers"]))
        else:
            self.stdout.write(output.as_text(result))

    def _verb(self, verbs: Any, name: str, text: str, *, named: bool = True) -> ArgumentParser:
        parser: ArgumentParser = verbs.add_parser(
            name, help=text, description=text, epilog=f"examples:\n  {EXAMPLES[name]}",
            formatter_class=RawDescriptionHelpFormatter,
        )  # fmt: skip
        if named:
            parser.add_argument("name", metavar="NAME", help="the batcher's name")
        parser.add_argument("--json", action="store_true", help="print one line of JSON")
        return parser

    def _list(self, options: dict[str, Any]) -> dict[str, Any]:
        named = Batcher.objects.filter(name__startswith=options["prefix"]).order_by("name")
        return {"batchers": [output.state(batcher) for batcher in named[: max(options["limit"], 1)]]}

    def _add(self, options: dict[str, Any]) -> dict[str, Any]:
        batcher, given = _of(options), options["items"]
        read = bulk_add.as_json if options["json_items"] else bulk_add.as_text
        if given == ["-"]:
            added = bulk_add.add(batcher, lines_of(sys.stdin), read, show_progress=not options["json"])
        else:
            added = bulk_add.add(batcher, given, read, show_progress=False)
        return {"added": added, **output.state(batcher)}

    def _show(self, options: dict[str, Any]) -> dict[str, Any]:
        batcher = _of(options)
        last = output.batches(batcher).order_by("-sealed_at").defer("items_json", "outcomes")[: output.SHOWN]
        upstream = batcher.upstream()
        return {
            **output.state(batcher),
            **output.use(batcher),
            "settings": batcher.settings(),
            "upstream": output.breaker(upstream) if upstream else None,
            "batches": [output.line(batch) for batch in last],
        }

    def _flush(self, options: dict[str, Any]) -> dict[str, Any]:
        batcher = _of(options)
        batcher.flush()
        return output.state(batcher)

    def _cancel(self, options: dict[str, Any]) -> dict[str, Any]:
        batcher = _of(options)
        return {"cancelled": batcher.cancel_alarm(), **output.state(batcher)}

    def _replay(self, options: dict[str, Any]) -> dict[str, Any]:
        batcher = _of(options)
        every, wanted, unknown = output.batches(batcher), options["batches"], options["unknown"]
        reason = reason_of(options) if unknown else ""
        if not wanted:
            failed = every.to_replay(unknown=unknown).order_by("sealed_at", "first_item")
            wanted = [str(pk) for pk in failed.values_list("pk", flat=True)]
        for batch_id in wanted:
            batcher.replay(batch_id, reason)
        if unknown and wanted:
            replayed = number_of(len(wanted), "batch", "batches")
            tell(f"Replayed {replayed}, also what may have been delivered,", batcher, reason)
        left = every.to_replay(unknown=True).filter(outcome_unknown=True).count()
        found = {"replayed": wanted, "left_unknown": left, **output.state(batcher)}
        aside = every.filter(status=Batch.Status.SET_ASIDE)
        return found if wanted else found | output.set_aside(batcher.name, aside)

    def _split(self, options: dict[str, Any]) -> dict[str, Any]:
        batcher = _of(options)
        parts = batcher.split(options["batch"])
        return {"parts": [str(part.pk) for part in parts], **output.state(batcher)}

    def _drop(self, options: dict[str, Any]) -> dict[str, Any]:
        batcher = _of(options)
        dropped = batcher.drop_item(options["batch"], options["place"], options["reason"])
        return {"dropped": str(dropped.pk), **output.state(batcher)}

    def _fail(self, options: dict[str, Any]) -> dict[str, Any]:
        batcher, reason = _of(options), reason_of(options)
        for batch_id in options["batches"]:
            batcher.fail(batch_id, reason or BY_HAND)
            tell(f"Batch {batch_id} given up", batcher, reason)
        return {"failed": options["batches"], **output.state(batcher)}

    def _receipt(self, options: dict[str, Any]) -> dict[str, Any]:
        batcher = _of(options)
        return {"batcher": batcher.name, **vars(batcher.receipt(options["item"]))}

    def _configure(self, options: dict[str, Any]) -> dict[str, Any]:
        batcher = _of(options)
        given = itertools.starmap(setting_values.change, (text.partition("=")[::2] for text in options["changes"]))
        batcher.configure(**dict(given))
        return {"batcher": batcher.name, "settings": batcher.settings()}


def _of(options: dict[str, Any]) -> Batcher:
    return Batcher.objects.get_by_name(options["name"])
