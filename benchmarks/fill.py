"""Fill an empty PostgreSQL database as a large site's: eight classes of very unequal size, and all that is theirs.

    python -m benchmarks.fill --database postgresql://… [--objects 100000]

By default 1,000,000 objects, 5,000,000 runs of the last 30 days, 2,000,000 entries, 200,000 batches (a quarter of them
one batcher's), 100,000 reminders with 300,000 deliveries, 96,000 schedules and 100,000 cleanups: with fewer objects as
many fewer of each. Alarms are armed over 30 days, some overdue, some retried, some dead of a few kinds of errors; one
class is none that the code has.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from django.db.models import Model

#: Of a million objects, in the order of their keys.
PER_MILLION = {
    "tests.counter": 700_000,
    "tests.scripted": 100_000,
    "tests.account": 96_000,
    "reminders.reminder": 100_000,
    "batcher.batcher": 2_000,
    "cleaner.periodiccleaner": 1_000,
    "reminders.digest": 500,
    "gone.basket": 500,
}
#: Of a hundred alarms of a class: that many are dead. Of the others 15 are idle, one is retried.
DEAD = {"tests.counter": 5, "tests.scripted": 60, "tests.account": 17, "batcher.batcher": 2, "gone.basket": 10}
ERRORS = [
    "shop.errors.CardDeclined: the card of customer {n} was declined",
    "shop.errors.GatewayGone: https://pay.example.com/charge/{n} answered 503",
    "TimeoutError: no answer from 10.0.0.7:8443 within 30 s, try {n}",
    "ValueError: 'sku-{n}' is no article",
    "KeyError: 'customer-{n}'",
]
TRACEBACK = "Traceback (most recent call last):\n" + '  File "/srv/shop/models.py", line 41, in alarm\n    pay()\n' * 6
#: When the schedule of an account is due.
SCHEDULED = "now() + (n * 104729) %% 604800 * interval '1 second'"
DAYS = "interval '30 days'"


class Part(NamedTuple):
    """The objects of one class: how many there are, and the key before the first."""

    label: str
    kind_id: int
    size: int
    before: int


def fill(objects: int = 1_000_000) -> dict[str, int]:
    """Fill the tables, and analyse them; return how many rows each has got."""
    from django.apps import apps
    from django.db import connection

    parts = _objects(objects)
    total, made = sum(part.size for part in parts.values()), {"object": objects}
    for part in parts.values():
        _alarms(part)
    made["alarm"] = total
    made |= _engine(total, parts) | _apps(total, parts)
    with connection.cursor() as cursor:
        for model in apps.get_models():
            if made.get(str(model._meta.model_name)):
                cursor.execute(f"VACUUM ANALYZE {model._meta.db_table}")
    return made


def insert(label: str, count: int, **columns: str) -> dict[str, int]:
    """Insert rows into a model's table: each column an expression of ``n``, from 1 to ``count``; others as by default.

    Literal percent signs are doubled.
    """
    from django.apps import apps
    from django.db import connection
    from django.db.models import AutoField

    model: type[Model] = apps.get_model(label)
    names, values, params = [], [], []
    for field in model._meta.local_concrete_fields:
        if field.column in columns:
            names.append(connection.ops.quote_name(str(field.column)))
            values.append(columns.pop(field.column))
        elif not (field.generated or isinstance(field, AutoField) or field.has_db_default()):
            names.append(connection.ops.quote_name(str(field.column)))
            values.append("%s")
            params.append(field.get_db_prep_save(field.get_default(), connection))
    assert not columns, f"{label} has no {', '.join(columns)}"
    table, series = model._meta.db_table, f"generate_series(1::bigint, {count}) n"
    with connection.cursor() as cursor, _unchecked(cursor, table):
        cursor.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM {series}", params)
    return {str(model._meta.model_name): count}


@contextmanager
def _unchecked(cursor: Any, table: str) -> Iterator[None]:
    """Check foreign keys once at the end, not row by row."""
    cursor.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'f'",
        [table],
    )
    keys = cursor.fetchall()
    for name, _ in keys:
        cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
    yield
    for name, definition in keys:
        cursor.execute(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}')


def _objects(objects: int) -> dict[str, Part]:
    from django.contrib.contenttypes.models import ContentType

    parts, before = {}, 0
    for label, share in PER_MILLION.items():
        kind, _ = ContentType.objects.get_or_create(app_label=label.partition(".")[0], model=label.partition(".")[2])
        part = parts[label] = Part(label, kind.pk, max(objects * share // 1_000_000, 1), before)
        name = f"'{kind.model}-' || lpad((n + {before})::text, 9, '0')"
        insert("durable_objects.object", part.size, id=f"n + {before}", kind_id=str(part.kind_id), name=name)
        before += part.size
    _reset("durable_objects.object", before)
    return parts


def _alarms(part: Part) -> None:
    from durable_objects.alarms.error_groups import fingerprint

    dead = DEAD.get(part.label, 0)
    which, place = f"n %% {len(ERRORS)}", "(n * 7919) %% 100"
    state = f"CASE WHEN {place} < {dead} THEN 'dead' WHEN {place} < {dead + 15} THEN 'idle' ELSE 'armed' END"
    is_dead, is_armed = f"{state} = 'dead'", f"{state} = 'armed'"
    retried = f"({is_armed} AND (n * 31) %% 100 = 99)"
    failed = f"({is_dead} OR {retried})"
    at = "date_trunc('second', now()) - interval '3 hours' + (n * 104729) %% 2592000 * interval '1 second'"
    texts = " ".join(f"WHEN {n} THEN {_text(error)}" for n, error in enumerate(ERRORS))
    groups = " ".join(f"WHEN {n} THEN '{fingerprint(error.format(n=1))}'" for n, error in enumerate(ERRORS))
    insert(
        "durable_objects.alarm", part.size,
        object_id=f"n + {part.before}", kind_id=str(part.kind_id), state=state, generation="1", sets="1",
        scheduled_at=f"CASE WHEN {state} <> 'idle' THEN {at} END", due_at=f"CASE WHEN {is_armed} THEN {at} END",
        schedule_due_at=SCHEDULED if part.label == "tests.account" else "NULL::timestamptz",
        retry_count=f"CASE WHEN {is_dead} THEN 6 WHEN {retried} THEN 1 + n %% 5 ELSE 0 END",
        leased_until=f"CASE WHEN {is_armed} AND n %% 10007 = 1 THEN now() + interval '1 hour' END",
        last_error=f"CASE WHEN {failed} THEN CASE {which} {texts} END ELSE '' END",
        error_group=f"CASE WHEN {failed} THEN CASE {which} {groups} END ELSE '' END",
    )  # fmt: skip


def _engine(total: int, parts: dict[str, Part]) -> dict[str, int]:
    """Entries, runs, schedules, what people did, and the processes at work."""
    made = insert(
        "durable_objects.entry", 2 * total,
        object_id=f"1 + (n - 1) %% {total}", key=f"CASE WHEN n <= {total} THEN 'customer' ELSE 'items' END",
        value=f"CASE WHEN n <= {total} THEN '\"customer-' || n || '\"' ELSE '[\"tea\",' || n || ']' END",
    )  # fmt: skip
    at = f"now() - ({5 * total} - n) * ({DAYS} / {5 * total})"
    bad, dead = "n %% 50 = 3", "n %% 500 = 3"
    made |= insert(
        "durable_objects.alarmrun", 5 * total, object_id=f"1 + n %% {total}", scheduled_at=at, due_at=at,
        picked_up_at=at, started_at=f"{at} + n %% 500 * interval '1 ms'", ended_at=f"{at} + interval '1 s'",
        retry_count="n %% 3", fence="1",
        outcome=f"CASE WHEN {dead} THEN 'dead' WHEN {bad} THEN 'failed' ELSE 'succeeded' END",
        error=f"CASE WHEN {bad} THEN {_text(ERRORS[0])} ELSE '' END",
    )  # fmt: skip
    accounts = parts["tests.account"]
    died = "n %% 50 = 7"
    made |= insert(
        "durable_objects.schedule", accounts.size, object_id=f"n + {accounts.before}", kind_id=str(accounts.kind_id),
        name="'renewal'",
        method="'deposit'", arguments="'[[1],{}]'", rule="""'{"every": "604800"}'""", misfire="'one'", set_number="1",
        scheduled_at=SCHEDULED, due_at=SCHEDULED, died_at=f"CASE WHEN {died} THEN now() - interval '1 day' END",
        last_error=f"CASE WHEN {died} THEN {_text(ERRORS[4])} ELSE '' END",
    )  # fmt: skip
    made |= insert("tests.account", accounts.size, object_ptr_id=f"n + {accounts.before}", owner="'owner-' || n %% 999")
    return made | _people(total, parts)


def _people(total: int, parts: dict[str, Part]) -> dict[str, int]:
    from django.contrib.auth.models import User

    user = User.objects.get_or_create(username="ann")[0]
    kinds = " ".join(f"WHEN {number} THEN {part.kind_id}" for number, part in enumerate(parts.values()))
    return insert(
        "admin.logentry", max(total // 100, 1), user_id=str(user.pk), action_time="now() - n * interval '1 minute'",
        content_type_id=f"CASE n %% {len(parts)} {kinds} END", object_id="n::text", object_repr="'object ' || n",
        action_flag="2", change_message="'Fired now.'",
    )  # fmt: skip


def _apps(total: int, parts: dict[str, Part]) -> dict[str, int]:
    batchers, cleaners, reminders = (
        parts[label] for label in ("batcher.batcher", "cleaner.periodiccleaner", "reminders.reminder")
    )
    batches, at = max(total // 5, 1), f"now() - n * ({DAYS} / {max(total // 5, 1)})"
    status = (
        "CASE WHEN n %% 200 = 1 THEN 'failed' WHEN n %% 500 = 2 THEN 'set_aside' WHEN n %% 2000 = 3 THEN 'open' "
        "ELSE 'delivered' END"
    )
    finished = f"{status} IN ('failed', 'delivered')"
    made = insert(
        "batcher.batch", batches, id="md5('batch' || n)::uuid", status=status, item_count="3", sealed_at=at,
        batcher_id=f"{batchers.before} + CASE WHEN n %% 4 = 0 THEN 1 ELSE 1 + n %% {batchers.size} END",
        items_json="'[' || n || ',\"tea\",{\"sku\":\"' || md5(n::text) || '\"}]'", attempts="1 + n %% 4",
        first_item="1 + 3 * n", status_code=f"CASE WHEN {status} = 'delivered' THEN 200 ELSE 503 END",
        outcome_unknown=f"{status} <> 'delivered' AND n %% 3 = 0", give_up_at=f"{at} + interval '1 day'",
        next_try_at=f"CASE WHEN NOT {finished} THEN now() + n %% 600 * interval '1 s' END",
        finished_at=f"CASE WHEN {finished} THEN {at} END",
    )  # fmt: skip
    made |= insert("batcher.batchersettings", batchers.size, object_id=f"n + {batchers.before}", max_items="50")
    made |= insert("batcher.upstream", 20, origin="'https://' || n || '.example.com:443'", failures="n")
    people = max(reminders.size // 50, 1)
    made |= insert("reminders.recipient", people, name="'person-' || n", feed_version="n")
    state = "CASE WHEN n %% 33 = 0 THEN 'over' WHEN n %% 100 = 1 THEN 'cancelled' ELSE 'set' END"
    when = "now() + (n * 104729) %% 2592000 * interval '1 second'"
    made |= insert(
        "reminders.plan", reminders.size, object_id=f"n + {reminders.before}", state=state, fire_at=when,
        person=f"'person-' || 1 + n %% {people}", message="'Bring tea for ' || n", time_zone="'Europe/Berlin'",
        start_wall_time="'2026-01-01T09:00:00'", wall_time="'2026-01-01T09:00:00'", occurrence=when, next_at=when,
        channels="'[\"log\"]'", recurrence="CASE WHEN n %% 4 = 0 THEN 'FREQ=WEEKLY' END",
        series_id="md5('series' || n)::uuid", put_off="CASE WHEN n %% 100 = 5 THEN 'snoozed' ELSE '' END",
    )  # fmt: skip
    made |= insert(
        "reminders.delivery", 3 * reminders.size, reminder_id=f"{reminders.before} + 1 + n %% {reminders.size}",
        key="md5('delivery' || n)::uuid", channel="'log'", message="'Bring tea for ' || n", attempts="1",
        status="CASE WHEN n %% 100 = 1 THEN 'failed' WHEN n %% 500 = 2 THEN 'refused' ELSE 'delivered' END",
        occurrence=f"now() - n * ({DAYS} / {3 * reminders.size})", delivered_at="now()",
        planned_at=f"now() - n * ({DAYS} / {3 * reminders.size})",
    )  # fmt: skip
    runs = max(total // 10, 1)
    ran = f"now() - ({runs} - n) * ({DAYS} / {runs})"
    made |= insert(
        "cleaner.cleanerrun", runs, object_id=f"{cleaners.before} + 1 + n %% {cleaners.size}", target="'storage'",
        planned_at=ran, started_at=ran, ended_at=ran, older_than="now() - interval '31 days'", removed="n %% 977",
        examined="1000",
    )  # fmt: skip
    for label in ("cleaner.cleanersettings", "cleaner.cleanerprogress"):
        made |= insert(label, cleaners.size, object_id=f"n + {cleaners.before}")
    return made


def _text(error: str) -> str:
    """The error with the row's number in it, behind its traceback, as an expression."""
    before, number, behind = error.replace("'", "''").partition("{n}")
    return f"E'{TRACEBACK.replace(chr(10), chr(92) + 'n')}{before}' || " + (f"n || '{behind}'" if number else "''")


def _reset(label: str, last: int) -> None:
    """Let the next key of the table be the one behind the last."""
    from django.apps import apps
    from django.db import connection

    with connection.cursor() as cursor:
        table = apps.get_model(label)._meta.db_table
        cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [table, last])


def main() -> None:
    """Fill the database that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fill", description=__doc__)
    parser.add_argument("--database", required=True, help="an empty PostgreSQL database")
    parser.add_argument("--objects", type=int, default=1_000_000)
    options = parser.parse_args()
    os.environ |= {"DATABASE_URL": options.database, "DJANGO_SETTINGS_MODULE": "tests.site_settings"}
    os.environ.setdefault("CELERY_BROKER_URL", "memory://")
    import django

    django.setup()
    from django.core.management import call_command

    begun = time.monotonic()
    call_command("migrate", verbosity=0)
    print(json.dumps(fill(options.objects) | {"seconds": round(time.monotonic() - begun)}))


if __name__ == "__main__":
    main()
