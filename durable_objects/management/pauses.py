"""The verbs of ``manage.py alarms`` that pause, wait until nothing runs, resume, and list what is paused."""

from __future__ import annotations

import getpass
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from durable_objects.alarms.pauses import Target, in_force
from durable_objects.database import clock
from durable_objects.database.monotonic import monotonic
from durable_objects.formatting import absolute, span
from durable_objects.management.base import VerbCommand, find_kind, find_row, moment, span_argument
from durable_objects.operations import metrics, pauses
from durable_objects.tables import Object, Pause

#: How long ``drain`` waits where nothing else is given, and how often it says what it waits for.
LONGEST_DRAIN = timedelta(minutes=5)
SECONDS_BETWEEN_LINES = 5.0


class PauseVerbs(VerbCommand):
    """``pause``, ``drain``, ``resume`` and ``pauses``."""

    def add_pause_verbs(self, verbs: Any) -> None:
        """Add a subcommand for each."""
        pausing = verbs.add_parser("pause", help="let no run start: of an object, of a class, or of anything")
        _add_what(pausing)
        pausing.add_argument("--reason", default="", help="shown to whoever asks why nothing runs")
        pausing.add_argument(
            "--until", metavar="WHEN", help="end by itself: ISO time with its offset, or from now: 15m, 1h30m"
        )
        pausing.add_argument("--by", help="who asks for it; default: the user of this process")
        draining = verbs.add_parser("drain", help="wait until nothing of what is paused runs any more")
        _add_what(draining)
        draining.add_argument(
            "--within",
            type=span_argument,
            default=LONGEST_DRAIN,
            metavar="SPAN",
            help="give up after so long: 30s, 10m; default: 5m",
        )
        _add_what(verbs.add_parser("resume", help="end a pause: what has come due runs from the next pass on"))
        verbs.add_parser("pauses", help="list what is paused, since when, until when, by whom and why")

    def _pause(self, options: dict[str, Any]) -> None:
        what = _what(options)
        until = moment(options["until"]) if options["until"] else None
        by = user() if options["by"] is None else options["by"]
        pauses.pause(what, reason=options["reason"], by=by, until=until)
        (row,) = in_force(clock.now()).filter(**pauses.target_of(what).row)
        text = f"{pauses.sentence(row, clock.now())} Runs that had started go on: `alarms drain` waits for them."
        self.say(options, _figures(row), text)

    def _drain(self, options: dict[str, Any]) -> None:
        what, shown = _what(options), float("-inf")

        def waiting(found: pauses.Running, left: timedelta) -> None:
            nonlocal shown
            if monotonic() - shown >= SECONDS_BETWEEN_LINES:
                shown = monotonic()
                self.stderr.write(f"{_still(found)}; waiting for {span(left)} more", self.style.NOTICE)

        drained = pauses.drain(what, options["within"], waiting)
        found = pauses.running(what)
        figures = {"drained": drained, "locked": found.locked, "unlocked": found.unlocked}
        name = pauses.name_of(pauses.target_of(what))
        if not drained:
            raise CommandError(f"not drained within {span(options['within'])}: {_still(found)} of {name}")
        behind = f" Left behind by workers that are gone: {found.left_behind}." if found.left_behind else ""
        self.say(options, figures, f"Nothing of {name} runs, and nothing starts until it is resumed.{behind}")

    def _resume(self, options: dict[str, Any]) -> None:
        what = _what(options)
        target = pauses.target_of(what)
        name = pauses.name_of(target)
        if not pauses.resume(what):
            raise CommandError(f"{name} was not paused: `alarms pauses` lists what is")
        wider = pauses.covering(target)
        still = f" It is still held: {pauses.sentence(wider[0], clock.now())}" if wider else ""
        self.say(options, {"resumed": True, "still_paused": bool(wider)}, f"{name} is resumed.{still}")

    def _pauses(self, options: dict[str, Any]) -> None:
        standing = in_force(clock.now()).order_by("since")
        rows = ((_figures(row), _columns(row)) for row in standing)
        self.say_table(options, ("WHAT", "SINCE", "UNTIL", "BY", "REASON"), rows)
        if not options["json"]:
            due = metrics.paused_due(clock.now())
            self.stdout.write(f"Alarms that wait for the end of a pause: {metrics.counted(due)} due.")


def _add_what(parser: Any) -> None:
    parser.add_argument("kind", nargs="?", metavar="KIND", help="app_label.ClassName: all objects of this class")
    parser.add_argument("name", nargs="?", metavar="NAME", help="only the object of this name")
    parser.add_argument("--all", action="store_true", help="everything, instead of KIND or KIND NAME")


def _what(options: dict[str, Any]) -> pauses.What:
    if options["all"] == (options["kind"] is not None):
        raise CommandError("name an object by KIND and NAME, a class by KIND, or everything by --all")
    if options["all"]:
        return None
    return find_kind(options["kind"]) if options["name"] is None else find_row(options)


def user() -> str:
    """Return the name of this process's user, who asks for it; empty where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return ""


def _still(found: pauses.Running) -> str:
    return f"{found.number} still {'runs' if found.number == 1 else 'run'} ({found.unlocked} in unlocked())"


def _figures(row: Pause) -> dict[str, Any]:
    name = Object.objects.filter(pk=row.object_id).values_list("name", flat=True).first() if row.object_id else None
    return {
        "scope": row.scope,
        "what": _named(row),
        "name": name,
        "since": row.since.isoformat(),
        "until": row.until and row.until.isoformat(),
        "by": row.by,
        "reason": row.reason,
    }


def _columns(row: Pause) -> tuple[str, ...]:
    until = absolute(row.until) if row.until else "resumed"
    return _named(row), absolute(row.since), until, row.by, row.reason


def _named(row: Pause) -> str:
    return pauses.name_of(Target(row.kind_id, row.object_id))
