"""What a rule's condition, found to hold or not, means for its alert: opened, grown, still standing, over. No message
is sent here: it is stored together with the change that it is about, so each change is reported once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice

from durable_objects.conditions import Found
from reminders.alerts import messages
from reminders.alerts.tables import Alert, AlertMessage, AlertRule

#: One that was not looked at for so long is waited for again: nobody knows what was in between, or the clock jumped.
UNSEEN_FOR = timedelta(minutes=5)
#: What comes in is reported after this at the earliest: the next thousand come in the same breath.
GROWS_AFTER = timedelta(minutes=5)
#: Subjects of an alert that are known not to be new, and those that are listed in a message.
SUBJECTS_KEPT, SUBJECTS_LISTED = 1_000, 5
#: Alerts of a rule that are kept once they are over, with their messages.
ALERTS_KEPT = 100

About = AlertMessage.About


def judge(rule: AlertRule, found: Found | None, now: datetime) -> Alert | None:
    """Store what this makes of the rule's alert; return it, None where there is none. Call it in a transaction that no
    other process can make at the same time.
    """
    if not rule.is_silenced(now):
        _tell_end(rule, now)
    alert = Alert.objects.filter(rule=rule).exclude(state=Alert.State.OVER).first()
    if found is None:
        return _without(rule, alert, now) if alert is not None else None
    if alert is None:
        alert = Alert(rule=rule, since=now, seen_at=now)
    elif alert.state == Alert.State.WAITING and _is_unseen(alert.seen_at, now):
        alert.since = now
    alert.seen_at, alert.clear_since = now, None
    alert.text = _text(found.text, found.subjects, list(found.subjects))
    if now - alert.since >= rule.hold_for:
        alert.state = Alert.State.FIRING
    alert.save()
    if alert.state == Alert.State.FIRING and not rule.is_silenced(now):
        _report(rule, alert, found, now)
    return alert


def end(rule: AlertRule, now: datetime) -> None:
    """End the alerts of a rule that was switched off, without a word."""
    alerts = Alert.objects.filter(rule=rule)
    alerts.exclude(state=Alert.State.OVER).update(state=Alert.State.OVER, ended_at=now, reported=False)
    alerts.filter(reported=True).update(reported=False)


def _without(rule: AlertRule, alert: Alert, now: datetime) -> Alert | None:
    """End an alert whose condition has not held for its time, and forget one that has not come to fire."""
    if alert.state == Alert.State.WAITING:
        alert.delete()
        return None
    if alert.clear_since is None or _is_unseen(alert.seen_at, now):
        alert.clear_since = now
    alert.seen_at = now
    if now - alert.clear_since >= rule.hold_for:
        alert.state, alert.ended_at = Alert.State.OVER, alert.clear_since
    alert.save()
    if alert.state == Alert.State.OVER:
        if not rule.is_silenced(now):
            _tell_end(rule, now)
        _forget(rule)
    return alert


def _tell_end(rule: AlertRule, now: datetime) -> None:
    """Make the message about the end of the alert that was reported last, unless one was made before."""
    ended = Alert.objects.filter(rule=rule, state=Alert.State.OVER, reported=True)
    alert = ended.order_by("-id").first()
    if alert is not None:
        messages.make(rule, alert, About.RESOLVED, alert.text, now)
        alert.save()
        ended.update(reported=False)


def _report(rule: AlertRule, alert: Alert, found: Found, now: datetime) -> None:
    """Make the message that is due, if one is."""
    known = set(alert.subjects)
    # No more than can be remembered: the others would be new each time.
    fresh = [key for key in islice(found.subjects, SUBJECTS_KEPT) if key not in known]
    quiet = None if alert.last_message_at is None else now - min(alert.last_message_at, now)
    if not alert.reported:
        about, text = About.OPENED, alert.text
    elif fresh and quiet is not None and quiet >= GROWS_AFTER:
        about, text = About.GREW, _text(found.text, found.subjects, fresh)
    elif rule.repeat_every is not None and quiet is not None and quiet >= rule.repeat_every:
        about, text = About.STANDS, alert.text
    else:
        return
    if about != About.OPENED and alert.messages.filter(status=AlertMessage.Status.PENDING).exists():
        return  # who has not got the last one yet needs no other
    messages.make(rule, alert, about, text, now)
    alert.subjects = [*fresh, *alert.subjects][:SUBJECTS_KEPT]
    alert.reported, alert.last_message_at = True, now
    alert.save()


def _text(text: str, subjects: Mapping[str, str], shown: list[str]) -> str:
    lines = [f"- {subjects[key]}" for key in shown[:SUBJECTS_LISTED]]
    if len(shown) > SUBJECTS_LISTED:
        lines.append(f"- and {len(shown) - SUBJECTS_LISTED:,} more")
    return "\n".join([text, *lines])


def _is_unseen(seen_at: datetime, now: datetime) -> bool:
    return not timedelta(0) <= now - seen_at <= UNSEEN_FOR


def _forget(rule: AlertRule) -> None:
    # Of one that was reported somebody waits for the end: that is reported once the silence is over.
    ended = Alert.objects.filter(rule=rule, state=Alert.State.OVER, reported=False)
    over = ended.order_by("-id").values_list("id", flat=True)
    Alert.objects.filter(id__in=list(over[ALERTS_KEPT : 2 * ALERTS_KEPT])).delete()
