"""The dispatcher's entry in django-celery-beat, for projects that have it; the engine does not need it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.apps import apps as installed
from django.apps.registry import Apps
from django.db import connections, router

from durable_objects.conf import engine

#: Its name in admin, under "Periodic tasks". An entry by another name is not ours.
NAME = "durable_objects: dispatch alarms"
TASK = "durable_objects.dispatch_alarms"

#: Passes that no worker took expire after this. A worker judges it by its own clock: one that is this far ahead of
#: beat's discards all of them. What has piled up until then does nothing once the first pass was made.
EXPIRES_AFTER = timedelta(minutes=10)
#: Databases in which this process has seen beat's tables: nobody drops them while it runs.
_with_tables: set[str] = set()
#: What is shorter than this, a clock may well be off by.
SKEW_EXPECTED = timedelta(minutes=1)


def expires_after(every: timedelta) -> int:
    """Return the seconds after which a pass that no worker took expires, where one is sent ``every`` so often."""
    return round(max(EXPIRES_AFTER, 2 * every).total_seconds())


def expires_soon(entry: Any) -> bool:
    """Return whether a clock that is off by a minute would discard this entry's passes."""
    return entry.expire_seconds is not None and entry.expire_seconds < SKEW_EXPECTED.total_seconds()


def is_installed() -> bool:
    """Return whether django-celery-beat is among ``INSTALLED_APPS``."""
    return installed.is_installed("django_celery_beat")


def database() -> str:
    """Return the alias of the database that beat reads its entries from."""
    return router.db_for_read(installed.get_model("django_celery_beat", "PeriodicTask"))


def has_tables() -> bool:
    """Return whether beat's tables exist where its models are read. Raises what the database raises."""
    alias = database()
    if alias not in _with_tables:
        with connections[alias].cursor() as cursor:
            tables = connections[alias].introspection.table_names(cursor)
        if installed.get_model("django_celery_beat", "PeriodicTask")._meta.db_table not in tables:
            return False
        _with_tables.add(alias)
    return True


def entries() -> list[Any] | None:
    """Return the periodic tasks that call the dispatcher, read where beat reads them: a router may choose the database.

    None where beat is not installed, or its tables do not exist. Raises what the database raises.
    """
    if not is_installed() or not has_tables():
        return None
    return list(_model("PeriodicTask").using(database()).filter(task=TASK))


def periodic_tasks() -> list[Any]:
    """Return all periodic tasks by name, each with its schedule. Raises what the database raises."""
    with_schedule = ("interval", "crontab", "solar", "clocked")
    return list(_model("PeriodicTask").using(database()).select_related(*with_schedule).order_by("name"))


def is_switched_off() -> bool:
    """Return whether entries call the dispatcher and none is enabled. Raises what the database raises."""
    found = entries()
    return bool(found) and not any(entry.enabled for entry in found or [])


def mend_entry() -> None:
    """Make the entry where it is missing, and enable all. Raises what the database raises."""
    keep_entry(database())
    for entry in entries() or []:
        entry.enabled = True
        entry.save()  # notifies beat


def keep_entry(using: str, apps: Apps = installed, **kwargs: Any) -> None:
    """Make the entry if there is none by its name, every ``DISPATCH_EVERY``. A receiver of ``post_migrate``.

    An existing one is left as it is: an operator may have disabled it, or chosen another interval. A pass that no
    worker has taken for ``EXPIRES_AFTER`` expires, so that they do not pile up without bound.
    """
    if not is_installed() or engine.DISPATCHED_BY != "beat" or not _has_table(using, apps):
        return
    entries = _model("PeriodicTask").using(using)
    if not entries.filter(name=NAME).exists():
        seconds = expires_after(engine.DISPATCH_EVERY)
        made = {"task": TASK, "interval": _interval(using), "expire_seconds": seconds}
        entries.get_or_create(name=NAME, defaults=made)


def _interval(using: str) -> Any:
    every, period = engine.DISPATCH_EVERY // timedelta(microseconds=1), "microseconds"
    if every % 1_000_000 == 0:
        every, period = every // 1_000_000, "seconds"
    schedules = _model("IntervalSchedule").using(using)
    return schedules.filter(every=every, period=period).first() or schedules.create(every=every, period=period)


def _model(name: str) -> Any:
    return installed.get_model("django_celery_beat", name)._default_manager


def _has_table(using: str, apps: Apps) -> bool:
    """Return whether this run of ``migrate`` has made beat's tables, in the database that beat reads."""
    try:
        apps.get_model("django_celery_beat", "PeriodicTask")
    except LookupError:
        return False
    return using == database()
