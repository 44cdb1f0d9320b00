"""The verbs of ``manage.py objects`` on one entry: get, put, delete_key."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError

from durable_objects.database import clock
from durable_objects.entries import serializer, typed
from durable_objects.entries import sql as entry_sql
from durable_objects.errors import InvalidValue
from durable_objects.formatting import HIDDEN, label, masked, value
from durable_objects.management.base import VerbCommand, add_object, errors_in_one_line, find_row, kind_of
from durable_objects.operations import entries
from durable_objects.tables import Object


class EntryVerbs(VerbCommand):
    """``get``, ``put`` and ``delete_key``."""

    def add_entry_verbs(self, verbs: Any) -> None:
        """Add a subcommand for each."""
        getting = verbs.add_parser("get", help="print the value of a key, as JSON")
        putting = verbs.add_parser("put", help="store a value under a key, in a turn of the object")
        deleting = verbs.add_parser("delete_key", help="delete a key, in a turn of the object")
        for each in (getting, putting, deleting):
            add_object(each)
            each.add_argument("key", metavar="KEY")
        putting.add_argument("value", metavar="VALUE", help="JSON, or as --type says")
        looks = "; ".join(f"{name}: {one.looks}" for name, one in typed.TYPES.items())
        putting.add_argument("--type", choices=list(typed.TYPES), default="json", help=looks)
        putting.add_argument("--if-missing", action="store_true", help="only if the key is not there")
        for each in (putting, deleting):
            each.add_argument("--if-value", metavar="JSON", help="only if this is the value that is there")

    def _get(self, options: dict[str, Any]) -> None:
        row, key = find_row(options), options["key"]
        text = _stored(row, key)
        if text is None:
            raise CommandError(f"{kind_of(row)} {label(row.name)} has no key {label(key)}")
        shown = HIDDEN if masked(row)(key) else json.loads(text)
        figures = {"key": key, "type": value(text, len(text)).kind, "value": shown}
        self.say(options, figures, json.dumps(shown, ensure_ascii=False, indent=2))

    def _put(self, options: dict[str, Any]) -> None:
        row = find_row(options)
        if options["if_missing"] and options["if_value"] is not None:
            raise CommandError("--if-missing and --if-value exclude each other")
        seen = entries.ABSENT if options["if_missing"] else _seen(options)
        with errors_in_one_line():
            done = entries.put(row, options["key"], typed.read(options["type"], options["value"]), seen=seen)
        self._say_change(options, done, "unchanged" if done.old == done.new else "stored")

    def _delete_key(self, options: dict[str, Any]) -> None:
        row = find_row(options)
        with errors_in_one_line():
            done = entries.delete(row, options["key"], seen=_seen(options))
        self._say_change(options, done, "not there" if done.old is None else "deleted")

    def _say_change(self, options: dict[str, Any], done: entries.Change, word: str) -> None:
        before = done.old and json.loads(done.old)
        was = f"; it was {done.old}" if done.old is not None and done.old != done.new else ""
        self.say(options, {"key": done.key, "done": word, "was": before}, f"{label(done.key)}: {word}{was}")


def _stored(row: Object, key: str) -> str | None:
    return entry_sql.get(clock.connection(), row.pk, [key]).get(key)


def _seen(options: dict[str, Any]) -> str | None:
    """Return the version of the value that is to be there; None where nothing was asked."""
    if options["if_value"] is None:
        return None
    try:
        return entries.version_of(serializer.encode(typed.read("json", options["if_value"])))
    except InvalidValue as error:
        raise CommandError(f"--if-value: {error}") from error
