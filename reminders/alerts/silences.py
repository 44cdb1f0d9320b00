"""Silences: for a while a rule's alert is reported to nobody; and messages that try out whom it would reach."""

from __future__ import annotations

from datetime import timedelta

from durable_objects import InvalidInput, now
from durable_objects.validation import show, text_flaw
from reminders.alerts import messages
from reminders.alerts.tables import AlertMessage, AlertRule

LONGEST = timedelta(days=366)
LONGEST_BY, LONGEST_REASON = 150, 500


def silence(rule: AlertRule, span: timedelta, *, by: str, reason: str) -> None:
    """Report this rule's alert to nobody from now on for that time. One that still stands then is reported, and the end
    of one that had been reported before. Raises ``InvalidInput``.
    """
    if not timedelta(0) < span <= LONGEST:
        raise InvalidInput(f"a silence of {span}: give a time of more than 0 and at most {LONGEST.days} days")
    for name, text, longest in (("by", by, LONGEST_BY), ("reason", reason, LONGEST_REASON)):
        if (flaw := text_flaw(text)) or len(text) > longest:
            raise InvalidInput(f"the {name} of a silence, {show(text)}, {flaw or f'is longer than {longest}'}")
    rule.silenced_until, rule.silenced_by, rule.silence_reason = now() + span, by.strip(), reason.strip()
    rule.save(update_fields=["silenced_until", "silenced_by", "silence_reason"])


def end_silence(rule: AlertRule) -> bool:
    """Report its alert again from now on; return whether it was silenced."""
    was = rule.is_silenced(now())
    rule.silenced_until, rule.silenced_by, rule.silence_reason = None, "", ""
    rule.save(update_fields=["silenced_until", "silenced_by", "silence_reason"])
    return was


def test(rule: AlertRule) -> list[AlertMessage]:
    """Send a test message by each channel of the rule, each tried once at once; return them with what came of it."""
    made = messages.make(rule, None, AlertMessage.About.TEST, "This is only a test: nothing is wrong.", now())
    messages.send_due(timedelta(minutes=1), made)
    rows = list(AlertMessage.objects.filter(pk__in=[row.pk for row in made]).order_by("pk"))
    # Who tried it out is looking; one that arrives hours later would only startle.
    pending = AlertMessage.objects.filter(pk__in=[row.pk for row in rows], status=AlertMessage.Status.PENDING)
    pending.update(status=AlertMessage.Status.FAILED)
    for row in rows:
        row.refresh_from_db()
    return rows
