"""A row for each class that the project's admin has, with a name and a secret of the test's own, and large keys."""

from __future__ import annotations

import base64
import uuid
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import Model
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from batcher.models import Batch, Batcher, Upstream
from cleaner.models import PeriodicCleaner
from cleaner.tables import CleanerRun
from durable_objects.http.models import ApiToken
from durable_objects.tables import Alarm, AlarmRun, Dispatcher, Entry, Object, Operation, Pause, Process, Schedule
from reminders import links
from reminders.models import Alert, AlertMessage, AlertRule, Delivery, Digest, Recipient, Reminder

#: Keys begin here: in most languages such a number is written with a separator.
FIRST_KEY = 1_234_567
CANARY = "c4n4ry"
#: A signing secret of the length that is asked for; the canary cannot be seen in its base64.
SIGNING_SECRET = "whsec_" + base64.b64encode(CANARY.encode() * 5).decode()


def row_of_each_model(name: str = "shop", text: str = "some text") -> dict[type[Model], Any]:
    """Create a row of each registered class, and its settings if any; ``name`` and ``text`` wherever people type."""
    for model in (Object, Entry, AlarmRun, Dispatcher, Operation, Pause, Process, Schedule, Recipient, Delivery,
                  AlertRule, AlertMessage, ApiToken, User,
                  Group, PeriodicTask, IntervalSchedule, CrontabSchedule, SolarSchedule, ClockedSchedule,
                  LogEntry):  # fmt: skip
        _keys_from(model, FIRST_KEY)
    now = timezone.now()
    batcher, cleaner = Batcher.objects.get_by_name(name), PeriodicCleaner.objects.get_by_name(name)
    reminder = Reminder.objects.get_by_name(name)
    batcher.configure(
        upstream_url=f"https://bob:{CANARY}-password@example.com/in",
        headers={"Authorization": f"Bearer {CANARY}-header"},
        secret=SIGNING_SECRET,
    )
    batcher.add_item({text: [text]})
    cleaner.start()
    CleanerRun.objects.create(
        object_id=cleaner.pk, target="storage", started_at=now, ended_at=now, older_than=now, error=text
    )
    recipient = Recipient.objects.create(
        name=name, email="a@example.com", webhook_url=f"https://bob:{CANARY}-webhook@example.com/", quiet_hours="",
        webhook_secret=SIGNING_SECRET,
    )  # fmt: skip
    reminder.set_reminder(text, now + timedelta(days=1), person=name, recurrence="FREQ=DAILY")
    digest = Digest.objects.create(name=name)
    Alarm.objects.filter(pk=batcher.pk).update(last_error=text, retry_count=1)
    entry = Entry.objects.create(object_id=batcher.pk, key=text[:300], value=f'"{CANARY}-stored"')
    run = AlarmRun.objects.create(
        object_id=batcher.pk, scheduled_at=now, due_at=now, picked_up_at=now, started_at=now, ended_at=now,
        retry_count=1, fence=FIRST_KEY, outcome="failed", error=f"{CANARY}-traceback {text}",
    )  # fmt: skip
    LogEntry.objects.create(
        user=User.objects.create_user(f"by {name}"[:150], password=CANARY), content_type_id=batcher.kind_pk(),
        object_id=str(batcher.pk), object_repr=name[:200], action_flag=CHANGE, change_message=text,
    )  # fmt: skip
    batch = Batch.objects.create(
        batcher_id=batcher.pk, items_json=f'["{CANARY}-item"]', item_count=2_000, status="failed", attempts=4,
        status_code=503, answer=text, sealed_at=now, give_up_at=now, finished_at=now,
        outcomes={"0": {"status": 422, "error": text}}, failed_items=1,
    )  # fmt: skip
    failure = {"object": batcher.pk, "class": "batcher.Batcher", "name": name, "error": text}
    operation = Operation.objects.create(
        verb="revive", selection="state:dead", words=text, reason=text, by=name[:150], asked_at=now, ended_at=now,
        state="done", total=1, failed=1, failures=[failure],
    )  # fmt: skip
    rule = AlertRule.objects.create(
        condition="dead", channels=["log"], person=name[:200], silenced_until=now + timedelta(days=1),
        silenced_by=name[:150], silence_reason=text[:500], flaw=text,
    )  # fmt: skip
    alert = Alert.objects.create(rule=rule, state="firing", since=now, seen_at=now, text=text)
    message = AlertMessage.objects.create(
        rule=rule, alert=alert, key=uuid.uuid4(), about="opened", text=text, channel="log", status="failed",
        made_at=now, try_at=now, error=text,
    )  # fmt: skip
    token = ApiToken(name=name[:100], scopes=["batcher:read"], name_prefix=name)
    token.issue()
    return {
        Batcher: batcher,
        PeriodicCleaner: cleaner,
        Reminder: reminder,
        Digest: digest,
        Object: Object.objects.get(pk=batcher.pk),
        Alarm: Alarm.objects.get(pk=batcher.pk),
        Entry: entry,
        AlarmRun: run,
        Schedule: Schedule.objects.create(
            object_id=batcher.pk, kind_id=batcher.kind_pk(), name=name, method="flush", arguments="[[],{}]",
            rule='{"every":"3600"}',
            misfire="one", scheduled_at=now, due_at=now, set_number=1, last_error=text, died_at=now,
        ),
        Dispatcher: Dispatcher.objects.create(process=name[:100], started_at=now, last_pass_at=now),
        Process: Process.objects.create(
            process=name[:100], code_version=text[:100], code_since=now, started_at=now, last_seen_at=now, threads=8,
        ),
        Pause: Pause.objects.create(  # of what is no object, so that nothing else changes
            scope="class", kind=ContentType.objects.get_for_model(Group), reason=text, by=name[:150], since=now
        ),
        Batch: batch,
        Upstream: Upstream.objects.create(
            origin="https://example.com:443", state="open", failures=7, last_error=text[:200], retry_at=now
        ),
        Recipient: recipient,
        Operation: operation,
        AlertRule: rule,
        AlertMessage: message,
        Delivery: Delivery.objects.create(
            reminder_id=reminder.pk, key=uuid.uuid4(), channel="webhook", status="failed", message=text, error=text,
            occurrence=now, planned_at=now,
        ),
        ApiToken: token,
        User: User.objects.get(username=f"by {name}"[:150]),
        Group: Group.objects.create(name=name[:150]),
        **_periodic_tasks(name, text),
    }  # fmt: skip


def secrets_of(rows: dict[type[Model], Any]) -> list[str]:
    """What of these rows nobody is to see who may only look."""
    return [
        SIGNING_SECRET,
        SIGNING_SECRET.removeprefix("whsec_"),
        *(f"{CANARY}-{what}" for what in ("password", "header", "webhook")),
        links.feed_url(rows[Recipient]),
        rows[ApiToken].digest,
        rows[User].password,
    ]


def _periodic_tasks(name: str, text: str) -> dict[type[Model], Any]:
    interval = IntervalSchedule.objects.create(every=7, period="days")
    task = PeriodicTask.objects.create(
        name=name[:200], task="durable_objects.delivery.dispatcher", interval=interval, description=text
    )
    return {
        IntervalSchedule: interval,
        CrontabSchedule: CrontabSchedule.objects.create(minute="7"),
        SolarSchedule: SolarSchedule.objects.create(event="sunrise", latitude=52, longitude=13),
        ClockedSchedule: ClockedSchedule.objects.create(clocked_time=timezone.now()),
        PeriodicTask: task,
    }


def _keys_from(model: type[Model], first: int) -> None:
    """The next key of the model's table is this one."""
    table, column = model._meta.db_table, model._meta.pk.column
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, %s), %s, false)", [table, column, first])
        else:
            cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
            cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, first - 1])
