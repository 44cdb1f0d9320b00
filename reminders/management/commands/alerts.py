"""``manage.py alerts list|add|remove|check|silence|test``."""

from __future__ import annotations

import getpass
from contextlib import suppress
from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from durable_objects import now
from durable_objects.conditions import conditions, find
from durable_objects.durations import parse, write
from durable_objects.formatting import absolute, gist
from durable_objects.management.base import VerbCommand
from reminders.alerts import messages, silences, validation, watching
from reminders.conf import defaults
from reminders.models import Alert, AlertMessage, AlertRule


class Command(VerbCommand):
    requires_system_checks = "__all__"  # those of ``REMINDERS`` among them
    help = "List, add, check, silence and try out the rules of alerts. `check` is for cron as well."
    examples = """examples:
  manage.py alerts add late --channel email --person ops
  manage.py alerts add dead --class shop.Payment --at-least 10 --channel webhook
  manage.py alerts add --all --channel email
  manage.py alerts list
  manage.py alerts check && curl -fsS https://monitor.example/ping
  manage.py alerts silence 3 2h --reason "the bank is down, they know"
  manage.py alerts silence 3 off
  manage.py alerts test 3
  manage.py alerts remove 3"""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add a subcommand for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="the rules, and how each stands")
        add = verbs.add_parser("add", help="add a rule; with --all, one of each condition that has none yet")
        add.add_argument("condition", nargs="?", metavar="CONDITION", help=f"one of {', '.join(_names())}")
        add.add_argument("--all", action="store_true", help="all conditions, with their own limits")
        add.add_argument("--class", dest="object_class", default="", metavar="KIND", help="of this class alone")
        add.add_argument("--at-least", type=int, metavar="N", help="from how many on")
        add.add_argument("--time", dest="span", metavar="SPAN", help="how late, or within what time, such as 15m")
        add.add_argument("--hold-for", default="1m", metavar="SPAN", help="how long it must hold (default: 1m)")
        add.add_argument("--repeat", default="4h", metavar="SPAN", help="again while it goes on, or off (default: 4h)")
        add.add_argument(
            "--channel", dest="channels", action="append", metavar="NAME",
            help="as of reminders (default: CHANNELS of settings.REMINDERS); repeat for more",
        )  # fmt: skip
        add.add_argument("--person", default="", metavar="NAME", help="a recipient (default: the settings' addresses)")
        verbs.add_parser(
            "check", help="look at the rules now and send what is due; exits with 1 while one reports, for cron"
        )
        quiet = verbs.add_parser("silence", help="report nothing of a rule for a while, or again (off)")
        quiet.add_argument("rule", type=int, metavar="RULE", help="its number in the list")
        quiet.add_argument("span", metavar="SPAN", help="such as 30m, 2h, 1d; off ends the silence")
        quiet.add_argument("--reason", default="", metavar="TEXT")
        quiet.add_argument("--by", default=_user(), metavar="WHO", help="(default: the user of this machine)")
        verbs.add_parser("test", help="send a test message by each channel of a rule, and say what came of it")
        verbs.add_parser("remove", help="delete a rule, with its alerts and messages")
        for name, subparser in verbs.choices.items():
            if name in {"test", "remove"}:
                subparser.add_argument("rule", type=int, metavar="RULE", help="its number in the list")
            subparser.add_argument("--json", action="store_true", help="print JSON, one value per line")

    def _list(self, options: dict[str, Any]) -> None:
        moment = now()
        firing = {alert.rule_id: alert for alert in Alert.objects.exclude(state=Alert.State.OVER)}
        rows = [(rule, firing.get(rule.pk)) for rule in AlertRule.objects.order_by("pk")]
        header = ("RULE", "STATE", "SINCE", "TO", "WHAT")
        self.say_table(
            options,
            header,
            ((_figures(rule, alert, rule.state(alert, moment)), _columns(rule, alert, moment)) for rule, alert in rows),
        )

    def _add(self, options: dict[str, Any]) -> None:
        if options["all"] == bool(options["condition"]):
            raise CommandError("give a CONDITION, or --all")
        there = set(AlertRule.objects.values_list("condition", flat=True))
        names = (
            [each.name for each in conditions() if each.name not in there] if options["all"] else [options["condition"]]
        )
        given = {
            "object_class": options["object_class"],
            "at_least": options["at_least"],
            "span": parse(options["span"]) if options["span"] else None,
            "hold_for": parse(options["hold_for"]),
            "repeat_every": None if options["repeat"] == "off" else parse(options["repeat"]),
            "channels": options["channels"] or list(defaults.CHANNELS),
            "person": options["person"],
        }
        rules = [AlertRule(condition=find(name).name, **given) for name in names]
        for rule in rules:
            validation.check(rule)
        for rule in rules:
            rule.save()
            self.say(options, _figures(rule, None, "ok"), f"{rule.pk}: {rule}")
        if not rules:
            self.say(options, {"added": 0}, "Every condition has a rule already.")

    def _check(self, options: dict[str, Any]) -> None:
        if watching.check(at_once=True) is None:
            raise CommandError("another process looks at the rules just now; try again in a minute")
        sent = messages.send_due(watching.SENDS_FOR)
        firing, moment = watching.firing(), now()
        watching.beat(firing)
        for alert in firing:
            text = f"{alert.rule.state(alert, moment)} since {absolute(alert.since)}: {alert.rule}: {alert.text}"
            self.say(options, _figures(alert.rule, alert, alert.rule.state(alert, moment)), text)
        flaws = [f"{rule.pk}: {rule}: {rule.flaw}" for rule in AlertRule.objects.exclude(flaw="").order_by("pk")]
        if flaws:
            raise CommandError(f"rules that could not be judged: {'; '.join(flaws)}")
        if loud := [alert for alert in firing if not alert.rule.is_silenced(moment)]:
            raise CommandError(f"{len(loud)} of {AlertRule.objects.count()} rules report; messages sent: {sent}")
        if not firing:
            self.say(options, {"firing": 0, "sent": sent}, f"No rule reports. Messages sent: {sent}.")

    def _silence(self, options: dict[str, Any]) -> None:
        rule = _rule(options)
        if options["span"] == "off":
            if not silences.end_silence(rule):
                raise CommandError(f"rule {rule.pk} is not silenced")
            self.say(options, {"rule": rule.pk, "silenced_until": None}, f"{rule} is reported again.")
            return
        silences.silence(rule, parse(options["span"]), by=options["by"], reason=options["reason"])
        until = rule.silenced_until
        assert until is not None
        text = f"{rule}: nothing is reported until {absolute(until)}."
        self.say(options, {"rule": rule.pk, "silenced_until": until.isoformat()}, text)

    def _test(self, options: dict[str, Any]) -> None:
        rows = silences.test(_rule(options))
        for row in rows:
            figures = {"channel": row.channel, "address": row.address, "status": row.status}
            outcome = {"answer": row.answer, "error": row.error}
            self.say(options, figures | outcome, f"{row.way}: {row.status} {row.error or row.answer}".strip())
        if any(row.status != AlertMessage.Status.DELIVERED for row in rows):
            raise CommandError("not every test message was delivered")

    def _remove(self, options: dict[str, Any]) -> None:
        rule = _rule(options)
        pk, text = rule.pk, str(rule)
        rule.delete()
        self.say(options, {"rule": pk, "removed": True}, f"Removed: {text}.")


def _rule(options: dict[str, Any]) -> AlertRule:
    rule = AlertRule.objects.filter(pk=options["rule"]).first()
    if rule is None:
        raise CommandError(f"there is no rule {options['rule']}: `manage.py alerts list` shows those that there are")
    return rule


def _figures(rule: AlertRule, alert: Alert | None, state: str) -> dict[str, Any]:
    return {
        "rule": rule.pk,
        "condition": rule.condition,
        "class": rule.object_class,
        "at_least": rule.at_least,
        "time": None if rule.span is None else write(rule.span),
        "channels": rule.channels,
        "person": rule.person,
        "state": state,
        "since": alert and alert.since.isoformat(),
        "text": alert.text if alert else "",
        "flaw": rule.flaw,
        "silenced_until": rule.silenced_until and rule.silenced_until.isoformat(),
    }


def _columns(rule: AlertRule, alert: Alert | None, moment: Any) -> tuple[str, ...]:
    to = ", ".join(rule.channels) + (f" for {rule.person}" if rule.person else "")
    what = ": ".join(part for part in (str(rule), rule.flaw or (gist(alert.text) if alert else "")) if part)
    return str(rule.pk), rule.state(alert, moment), absolute(alert.since) if alert else "-", to, what


def _names() -> list[str]:
    return [each.name for each in conditions()]


def _user() -> str:
    with suppress(Exception):  # no such user in this container
        return getpass.getuser()
    return ""
