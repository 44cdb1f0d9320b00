"""What a rule may say. The form in admin and the command ask here."""

from __future__ import annotations

from datetime import datetime, timedelta

from durable_objects import InvalidInput, now
from durable_objects.conditions import Found, ask
from durable_objects.formatting import span as span_of
from durable_objects.validation import show, text_flaw
from reminders import channels
from reminders.alerts.tables import AlertRule

LONGEST = timedelta(days=366)


def check(rule: AlertRule) -> None:
    """Raise ``InvalidInput`` for a rule that could not be judged or sent: its condition is asked once, to see."""
    for name in ("span", "hold_for", "repeat_every"):
        span = getattr(rule, name)
        if span is not None and not timedelta(0) <= span <= LONGEST:
            raise InvalidInput(f"{name} is {span_of(span)}. Allowed: 0 to {LONGEST.days} days.")
    if rule.repeat_every is not None and rule.repeat_every < timedelta(minutes=1):
        raise InvalidInput(f"repeat_every is {span_of(rule.repeat_every)}. Allowed: a minute or more, or nothing.")
    if rule.at_least is not None and rule.at_least < 1:
        raise InvalidInput(f"at_least is {rule.at_least}. Allowed: 1 or more, or nothing.")
    if flaw := text_flaw(rule.person):
        raise InvalidInput(f"person is {show(rule.person)}, {flaw}")
    rule.channels = channels.check(rule.channels)
    asked(rule, now())


def asked(rule: AlertRule, moment: datetime) -> Found | None:
    """Ask the rule's condition with its limits. Raises what ``conditions.ask`` does."""
    return ask(rule.condition, moment, at_least=rule.at_least, span=rule.span, object_class=rule.object_class)
