"""``manage.py reminders set|list|show|cancel|snooze|digest|recompute …``."""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management import CommandError

from durable_objects import InvalidAlarmTime, now
from durable_objects.escaping import one_line
from durable_objects.formatting import label, short
from durable_objects.management.base import PlainCommand
from durable_objects.management.reasons import add_reason, reason_of, tell
from durable_objects.models import as_handle
from durable_objects.validation import refusal
from reminders import digests, zone_changes
from reminders.models import Delivery, Plan, Reminder
from reminders.recurrence import Series, check_zone
from reminders.snooze_presets import PRESETS
from reminders.validation import checked, opening

EXAMPLES = """examples:
  manage.py reminders set tea "Drink tea" 2030-06-01T16:00 --zone Europe/Berlin --every FREQ=DAILY --person ada
  manage.py reminders set standup "Stand up" 2030-06-01T09:00+02:00 --channel log --channel email
  manage.py reminders set tea "Drink tea" 2030-03-30T02:30 --zone Europe/Berlin --every FREQ=DAILY --dry-run
  manage.py reminders list --person ada
  manage.py reminders show tea --json
  manage.py reminders snooze tea 20m
  manage.py reminders snooze tea tomorrow
  manage.py reminders cancel tea
  manage.py reminders digest ada 1h
  manage.py reminders digest ada off
  manage.py reminders recompute --dry-run
  manage.py reminders recompute --rename Europe/Kiev Europe/Kyiv
"""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
AHEAD, DELIVERIES = 5, 10


class Command(PlainCommand):
    help = (
        "Set, list, show, cancel or snooze reminders, send them as digests, recompute them after an update of tzdata."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Keep the examples below the options as they are written."""
        parser = super().create_parser(prog_name, subcommand, epilog=EXAMPLES, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(
            dest="verb", required=True, metavar="set|list|show|cancel|snooze|digest|recompute"
        )
        new = self._verb(verbs, "set", "set a reminder, in place of an earlier one")
        new.add_argument("message", metavar="MESSAGE")
        new.add_argument("when", metavar="WHEN", help="ISO 8601: with an offset, or on the wall clock of --zone")
        new.add_argument("--zone", metavar="ZONE", help="such as Europe/Berlin (default: the recipient's, else UTC)")
        new.add_argument("--every", metavar="RRULE", help="such as FREQ=DAILY;COUNT=5")
        new.add_argument("--except", dest="left_out", metavar="TIME", action="append", default=[],
                         help="leave out this time of the rule, such as 20300602T160000; repeat for more")  # fmt: skip
        new.add_argument(
            "--channel",
            dest="channels",
            metavar="NAME",
            action="append",
            help="where to deliver it (default: CHANNELS of settings.REMINDERS); repeat for more",
        )
        new.add_argument("--person", metavar="NAME")
        new.add_argument("--urgent", action="store_true", help="deliver in quiet hours too")
        new.add_argument(
            "--skip-if-late", metavar="SPAN", help="such as 30m: skip a delivery that would be later than that"
        )
        new.add_argument("--dry-run", action="store_true", help="only show the next times")
        listed = self._verb(verbs, "list", "what is set, what comes next first", named=False)
        listed.add_argument("--person", metavar="NAME", help="only this person's")
        listed.add_argument("--limit", type=int, default=100, metavar="N", help="(default: 100)")
        self._verb(verbs, "show", "what is set, its next times and last deliveries")
        add_reason(self._verb(verbs, "cancel", "cancel a reminder, the whole series"))
        snooze = self._verb(verbs, "snooze", "put off the next delivery; the rest of the series stays")
        snooze.add_argument("by", metavar="BY", help=f"90s, 20m, 1h, 2d, or {_menu()}")

        text = "send what comes due for a recipient within a window as one message; show what is chosen, and what waits"
        digest = self._verb(verbs, "digest", text, named=False)
        digest.add_argument("person", metavar="PERSON", help="the recipient's name, as entered in admin")
        digest.add_argument("window", metavar="WINDOW", nargs="?", help="such as 30m, 1h, 1d, or off for no digests")

        text = "compute all moments again from the wall times, after an update of tzdata; restart the workers first"
        recompute = self._verb(verbs, "recompute", text, named=False)
        recompute.add_argument("--dry-run", action="store_true", help="only show what would move")
        renamed = "first move all reminders and recipients in the zone OLD, which may be gone from tzdata, to NEW"
        recompute.add_argument("--rename", nargs=2, metavar=("OLD", "NEW"), help=renamed)

    def handle(self, *args: Any, **options: Any) -> None:
        result = getattr(self, f"_{options['verb']}")(options)
        if options["json"]:
            self.stdout.write(json.dumps(result, default=_plain, ensure_ascii=False))
        else:
            self._print(result)

    def _verb(self, verbs: Any, name: str, text: str, *, named: bool = True) -> ArgumentParser:
        parser: ArgumentParser = verbs.add_parser(name, help=text)
        if named:
            parser.add_argument("name", metavar="NAME", help="the reminder's name")
        parser.add_argument("--json", action="store_true", help="print one line of JSON")
        return parser

    def _set(self, options: dict[str, Any]) -> dict[str, Any]:
        rule = (
            "\n".join([options["every"], *(f"EXDATE:{time}" for time in options["left_out"])])
            if options["every"]
            else None
        )
        fire_at = _moment(options["when"], options["zone"])
        late = _span(options["skip_if_late"]) if options["skip_if_late"] else None
        given = {
            "message": options["message"], "fire_at": fire_at, "recurrence": rule, "time_zone": options["zone"],
            "channels": options["channels"], "person": options["person"], "urgent": options["urgent"],
            "skip_if_late": late,
        }  # fmt: skip
        if options["dry_run"]:
            fields = checked(given)
            opening(fields)
            ahead = Series(fire_at, rule, fields["time_zone"]).preview(AHEAD, fire_at - timedelta(microseconds=1))
            return {
                "reminder": options["name"],
                "set": False,
                "next": [_shown(each.local, each.note) for each in ahead],
            }
        _reminder(options).set_reminder(**given)
        return self._show(options)

    def _list(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        rows = Plan.objects.filter(state=Plan.State.SET).select_related("object").order_by("next_at", "pk")
        if options["person"] is not None:
            rows = Plan.objects.of_person(options["person"])
        return [{"reminder": row.object.name, **_line(row)} for row in rows[: max(options["limit"], 0)]]

    def _show(self, options: dict[str, Any]) -> dict[str, Any]:
        plan = _reminder(options).plan()
        if plan is None:
            return {"reminder": options["name"], "state": "never set"}
        ahead = plan.series.preview(AHEAD, max(now(), plan.occurrence)) if plan.state == Plan.State.SET else []
        deliveries = Delivery.objects.filter(reminder_id=plan.pk).order_by("-id")[:DELIVERIES]
        return {
            "reminder": options["name"],
            **_line(plan),
            "recurrence": plan.recurrence,
            "time_zone": plan.time_zone,
            "channels": plan.channels,
            "then": [_shown(each.local, each.note) for each in ahead],
            "deliveries": [
                {"key": row.key, "channel": row.channel, "address": row.address, "status": row.status,
                 "attempts": row.attempts, "planned_at": row.planned_at, "digest": row.digest,
                 "result": (row.error or row.answer)[:80]}
                for row in deliveries
            ],
        }  # fmt: skip

    def _cancel(self, options: dict[str, Any]) -> dict[str, Any]:
        reason, reminder = reason_of(options), _reminder(options)
        if cancelled := reminder.cancel():
            tell("Cancelled", reminder, reason)
        return {"reminder": options["name"], "cancelled": cancelled}

    def _snooze(self, options: dict[str, Any]) -> dict[str, Any]:
        reminder = _reminder(options)
        plan = reminder.plan()
        preset = next((preset for preset in PRESETS if preset.name == options["by"]), None)
        if preset is None:
            span = _span(options["by"])
        else:
            span = preset.span(plan.zone, max(plan.next_at, now())) if plan else preset.span(UTC)
        until = reminder.snooze(span)
        snoozed = plan.from_to(until) if plan else None
        return {"snoozed": snoozed, **self._show(options)}

    def _digest(self, options: dict[str, Any]) -> dict[str, Any]:
        if (window := options["window"]) is not None:
            digests.choose_window(options["person"], None if window == "off" else _span(window))
        found = digests.standing(options["person"])
        return {**found._asdict(), "window": "off" if found.window is None else str(found.window)}

    def _recompute(self, options: dict[str, Any]) -> dict[str, Any]:
        renamed: dict[str, Any] = {}
        if options["rename"]:
            if options["dry_run"]:
                raise CommandError("--rename changes what is set: it cannot be combined with --dry-run.")
            reminders, recipients = zone_changes.rename(*options["rename"])
            renamed = {"renamed_reminders": reminders, "renamed_recipients": recipients}
        looked_at, moved = 0, []
        for plan in zone_changes.astray(now()):
            looked_at += 1
            handle = as_handle(plan.object) if plan is not None else None
            if plan is not None and isinstance(handle, Reminder):
                until = plan.next_now(now()) if options["dry_run"] else handle.recompute()
                moved.append({"reminder": handle.name, "from": _at(plan, plan.next_at), "to": _at(plan, until)})
        return {**renamed, "looked_at": looked_at, "moved": moved}

    def _print(self, result: Any) -> None:
        if result == []:
            self.stdout.write("Nothing is set.")
        elif isinstance(result, list):
            self.write_table(("NEXT", "STATE", "PERSON", "NAME", "MESSAGE", "FLAWS"), map(_columns, result))
        for name, value in result.items() if isinstance(result, dict) else []:
            if isinstance(value, list) and name != "channels":
                self.stdout.write(f"{name}: {len(value)}")
                for each in value:
                    self.stdout.write("  " + (one_line(each) if isinstance(each, str) else _as_text(each)))
            else:
                self.stdout.write(f"{name}: {'-' if value in (None, '') else one_line(_plain(value))}")


def _menu() -> str:
    return ", ".join(preset.name + (f" ({preset.label})" if preset.days else "") for preset in PRESETS)


def _reminder(options: dict[str, Any]) -> Reminder:
    reminder: Reminder = Reminder.objects.get_by_name(options["name"])
    return reminder


def _moment(text: str, zone: str | None) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidAlarmTime(f"WHEN is {text!r}. Allowed: ISO 8601, such as 2030-01-31T09:00.") from None
    if moment.tzinfo is None:
        if zone is None:
            raise InvalidAlarmTime(f"WHEN is {text!r}: give it an offset, or give --zone.")
        moment = moment.replace(tzinfo=check_zone(zone))
    return moment


def _span(text: str) -> timedelta:
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise refusal(f"{text!r} is not a duration", "such as 90s, 20m, 1h, 2d")
    return timedelta(seconds=int(number) * UNITS[unit])


def _line(plan: Plan) -> dict[str, Any]:
    is_set = plan.state == Plan.State.SET
    local = plan.next_at.astimezone(plan.zone)
    return {
        "state": plan.put_off if is_set and plan.put_off else plan.state,
        "next_at": plan.next_at if is_set else None,
        "local": _shown(local) if is_set else None,
        "person": plan.person,
        "message": plan.message,
        **({"flaws": plan.flaws} if plan.flaws else {}),
    }


def _columns(line: dict[str, Any]) -> tuple[str, ...]:
    known = (line["local"] or "-", line["state"], line["person"] or "-", label(line["reminder"]))
    return *known, short(line["message"]), " ".join(line.get("flaws", []))


def _at(plan: Plan, moment: datetime | None) -> str | None:
    return _shown(moment.astimezone(plan.zone)) if moment else None


def _shown(local: datetime, note: str = "") -> str:
    return f"{local:%a %Y-%m-%d %H:%M %Z} {note}".strip()


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _as_text(line: dict[str, Any]) -> str:
    line = {name: " ".join(value) if isinstance(value, list) else value for name, value in line.items()}
    return "  ".join(f"{name}={one_line(_plain(value))}" for name, value in line.items() if value not in (None, ""))
