"""System checks: misconfiguration that can be seen before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from django.apps import AppConfig, apps
from django.contrib.contenttypes.models import ContentType
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution
from django.db import DatabaseError, connections, models, router
from django.db import Error as DatabaseException
from django.db.models.fields.related_descriptors import ReverseManyToOneDescriptor, ReverseOneToOneDescriptor

from durable_objects import class_attributes, routers, tasks
from durable_objects.conf import AppSettings, engine
from durable_objects.database import supported
from durable_objects.database.backends import backend_of, is_supported
from durable_objects.database.messages import message_for
from durable_objects.delivery import beat, brokers
from durable_objects.errors import InvalidKey
from durable_objects.models import DurableObject
from durable_objects.plain_functions import flaw_of
from durable_objects.tables import Object
from durable_objects.turns import subclass_fields
from durable_objects.validation import check_key

#: Names that a subclass may override; every other name of ``DurableObject`` must stay the engine's.
OVERRIDABLE = {
    "initialize",
    "alarm",
    "alarm_died",
    "alarm_max_retries",
    "alarm_backoff",
    "alarm_jitter",
    "alarm_concurrency",
    "alarm_rate",
    "alarm_time_limit",
    "alarm_groups",
    "read_ahead",
    "masked_keys",
    "objects",
    "Meta",
}

#: Names that Python and Django give every class.
MADE = {"DoesNotExist", "MultipleObjectsReturned", "NotUpdated", "_meta"}


@register(Tags.models)
def check_classes(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that every subclass of ``DurableObject`` can do what the engine asks of it."""
    found: list[CheckMessage] = []
    for model in apps.get_models():
        if issubclass(model, DurableObject) and not model.is_base():
            found += [*_check_form(model), *_check_names(model), *_check_alarm(model), *_check_ahead(model)]
    return found


@register("durable_objects")
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that with these settings turns lock and wake-ups are sent. Asks no database: each command may run it."""
    if refused := _check_dicts():
        return refused
    if why := supported.unfit(engine.DATABASE):
        return [Error(why, id="durable_objects.E012")]
    found = [*_check_database(), *_check_routers()]
    if wrong := _check_types():
        return [*found, *wrong]  # nothing else can be asked of Celery's settings
    return [*found, *_check_dispatch(), *_check_celery(), *_check_pool()]


@register(deploy=True)
def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check what is good enough on one's own machine only."""
    return [*_check_wait(), *_check_untried()]


@register(Tags.database)
def check_database(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check what only the database knows: asked where a command needs it (``migrate``), or by ``check --database``."""
    if engine.flaw():
        return []  # reported by E010
    try:
        return [*_check_entry(databases or []), *_check_encoding(databases or [])]
    except DatabaseException as error:
        return [Error(message_for(error), hint="Then check again.", id="durable_objects.E024")]


def _check_dicts() -> list[CheckMessage]:
    """Find dicts of settings with an unknown key, or with a value of another type or out of bounds."""
    flaws = [flaw for each in AppSettings.made.values() if (flaw := each.flaw())]
    return [Error(flaw, id="durable_objects.E010") for flaw in flaws]


def _check_types() -> list[CheckMessage]:
    """Find settings of Celery of another type than Celery takes, which end ``check`` and workers in a traceback."""
    hint = "Correct it where it is set after celery_settings(), which refuses it as well."
    return [Error(wrong, hint=hint, id="durable_objects.E025") for wrong in brokers.wrong_types()]


def _check_wait() -> Iterator[CheckMessage]:
    """Find a database that connecting may wait for without end."""
    can_tell = not engine.flaw() and supported.unfit(engine.DATABASE) is None
    if can_tell and (why := supported.endless_wait(engine.DATABASE)):
        yield Caution(why, hint=supported.LIMIT_OF_WAIT, id="durable_objects.W027")


def _check_untried() -> Iterator[CheckMessage]:
    """Find brokers of a kind that the engine was never tested with."""
    for broker in [] if brokers.wrong_types() else brokers.brokers():
        if flaw := broker.untried():
            yield Caution(flaw.text, hint=flaw.advice, id="durable_objects.W023")


def _check_form(model: type[DurableObject]) -> Iterator[CheckMessage]:
    if not model._meta.proxy and not subclass_fields.own_fields(model):
        yield Error(
            f"{model.__name__} has a table of its own without a field in it.",
            hint="Write `class Meta: proxy = True`.",
            obj=model,
            id="durable_objects.E001",
        )
    if not isinstance(model._meta.pk, models.OneToOneField) and not model._meta.proxy:
        yield Error(
            f"{model.__name__} has a primary key of its own, {model._meta.pk.name!r}: the engine sets an object's key.",
            hint="Drop primary_key=True; unique=True may stay.",
            obj=model,
            id="durable_objects.E020",
        )


def _check_names(model: type[DurableObject]) -> Iterator[CheckMessage]:
    engine_names = {name for name in dir(DurableObject) if not _is_free(name)}
    subclasses = [base for base in model.__mro__ if issubclass(base, DurableObject) and not base.is_base()]
    taken = {name for base in subclasses for name in vars(base) if not _is_django_made(model, name)}
    taken |= {field.name for field in subclass_fields.columns(model)}
    taken |= {str(related.get_accessor_name()) for related in model._meta.related_objects} - {"alarm_row"}
    if not model._meta.proxy:
        taken.add(str(model._meta.model_name))  # the accessor that Django puts on the base for it
    for name in sorted(taken & engine_names):
        yield Error(
            f"{model.__name__} hides {name!r} of DurableObject (by a field, a method, its own name or a related_name).",
            hint="Give it another name.",
            obj=model,
            id="durable_objects.E002",
        )


def _is_free(name: str) -> bool:
    """Return whether a subclass may have this name: meant for it, every class's own, or a row's accessor."""
    if name in OVERRIDABLE | MADE or name.startswith("__"):
        return True
    value = inspect.getattr_static(DurableObject, name, None)
    return name != "alarm_row" and isinstance(value, ReverseOneToOneDescriptor | ReverseManyToOneDescriptor)


def _is_django_made(model: type[DurableObject], name: str) -> bool:
    """Return whether Django puts it on each class: descriptors of the primary key, parent link and inherited fields."""
    own = {field.name for field in subclass_fields.columns(model)}
    value = inspect.getattr_static(model, name, None)
    made = isinstance(value, models.Manager) or "django.db.models" in type(value).__module__
    return made and name not in own


def _check_alarm(model: type[DurableObject]) -> Iterator[CheckMessage]:
    if not model.has_alarm_handler():
        return
    flaw = flaw_of(model)
    if flaw is not None:  # assigned since the class was made
        yield Error(flaw, hint="Write `def`, without `async` and `yield`.", obj=model, id="durable_objects.E021")
    try:
        inspect.signature(model.alarm).bind(None, None)
    except TypeError:
        yield Error(
            f"{model.__name__}.alarm cannot be called with an AlarmInfo.",
            hint="Write `def alarm(self, info: AlarmInfo) -> None`.",
            obj=model,
            id="durable_objects.E003",
        )


def _check_ahead(model: type[DurableObject]) -> Iterator[CheckMessage]:
    flaw = class_attributes.flaw_of(model)
    if flaw is not None:  # assigned since the class was made
        yield Error(flaw, hint="No object of this class can be used until then.", obj=model, id="durable_objects.E018")
        return
    for each in model.read_ahead:
        if isinstance(each, str):
            with suppress(InvalidKey):
                check_key(each)
                continue
        elif isinstance(each._meta.pk, models.OneToOneField) and each._meta.pk.related_model is Object:
            continue
        yield Error(
            f"{model.__name__}.read_ahead names {each!r}.",
            hint="Name keys of its storage, and models whose primary key is a OneToOneField to durable_objects.Object.",
            obj=model,
            id="durable_objects.E011",
        )


def _check_database() -> Iterator[CheckMessage]:
    conn = connections[engine.DATABASE]
    database = conn.settings_dict
    if mode := backend_of(conn).late_mode():
        yield Error(
            f"The SQLite database {engine.DATABASE!r} begins its transactions as {mode!r}: two calls on "
            "one object could both read before either writes.",
            hint='Set DATABASES[…]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}.',
            id="durable_objects.E004",
        )
    if database["ATOMIC_REQUESTS"]:
        yield Caution(
            f"The database {engine.DATABASE!r} has ATOMIC_REQUESTS: a view keeps every object it calls locked until "
            "the response is made, and unlocked() is refused.",
            hint="Turn it off, or mark the views with transaction.non_atomic_requests.",
            id="durable_objects.W005",
        )


def _check_routers() -> Iterator[CheckMessage]:
    ours = [model for model in apps.get_models() if routers.belongs(model)]
    away = [model._meta.label for model in ours if router.db_for_write(model) != engine.DATABASE]
    if away or not all(router.allow_migrate_model(engine.DATABASE, model) for model in (Object, ContentType)):
        yield Error(
            f'DURABLE_OBJECTS["DATABASE"] is {engine.DATABASE!r}, but DATABASE_ROUTERS write or migrate elsewhere: '
            f"{', '.join(away) or 'durable_objects or contenttypes'}.",
            hint='Begin DATABASE_ROUTERS with "durable_objects.routers.Router", or name the database that is meant.',
            id="durable_objects.E013",
        )
    homes = {model._meta.app_label for model in ours} - {"durable_objects"}
    beside = [model for model in apps.get_models() if model._meta.app_label in homes and model not in ours]
    if apart := [model._meta.label for model in beside if router.db_for_write(model) != engine.DATABASE]:
        yield Caution(
            f"Durable objects are in the database {engine.DATABASE!r}, these models of the same apps are not: "
            f"{', '.join(apart)}. What a turn writes to them is not part of its transaction.",
            hint="Keep them in one database, or write so that half of it may be missing; then silence this.",
            id="durable_objects.W014",
        )


_NEVER = "an alarm due later than the horizon, or whose message gets lost, never runs."
_COMMAND = '`manage.py alarms dispatch --loop` and say DURABLE_OBJECTS = {"DISPATCHED_BY": "command"}.'


def _check_dispatch() -> Iterator[CheckMessage]:
    if _is_scheduled():
        return
    if not beat.is_installed():
        entry = f'{{"dispatch": {{"task": "{beat.TASK}", "schedule": 5.0}}}}'
        hint = f"Start beat with CELERY_BEAT_SCHEDULE = {entry} or with django_celery_beat installed, or run {_COMMAND}"
        yield Caution(f"Nobody dispatches: {_NEVER}", hint=hint, id="durable_objects.W006")
    elif not brokers.reads_entries():
        hint = (
            'Say CELERY_BEAT_SCHEDULER = "durable_objects.scheduler:DatabaseScheduler" (where beat is always started '
            f"with -S, this check may be silenced), or run {_COMMAND}"
        )
        yield Caution(
            f"CELERY_BEAT_SCHEDULER is {brokers.beat_scheduler()}, which never reads beat's entry in the database, so "
            f"nobody dispatches: {_NEVER}",
            hint=hint,
            id="durable_objects.W006",
        )


def _is_scheduled() -> bool:
    return engine.DISPATCHED_BY == "command" or beat.TASK in brokers.scheduled_tasks()


def _check_entry(databases: Sequence[str]) -> Iterator[CheckMessage]:
    if brokers.wrong_types() or _is_scheduled() or not beat.is_installed() or not brokers.reads_entries():
        return  # reported by E025, or nothing to say
    if beat.database() not in databases:
        return
    with suppress(DatabaseError):  # before the first migrate, which makes the entry
        if beat.is_switched_off():
            hint = f"Enable {beat.NAME!r} among admin's periodic tasks, or run {_COMMAND}"
            yield Caution(
                f"Beat's entry is disabled, so nobody dispatches: {_NEVER}", hint=hint, id="durable_objects.W006"
            )


def _check_celery() -> Iterator[CheckMessage]:
    if flaw := brokers.app_flaw():
        yield Caution(flaw.text, hint=flaw.advice, id="durable_objects.W018")
    yield from _check_brokers()
    yield from _check_mixed()
    if missing := brokers.queue_missing():
        yield Caution(f"No wake-up or no pass can be sent: {missing}.", hint=missing.advice, id="durable_objects.W022")
    for queue in brokers.unlisted_queues():
        yield Caution(
            f"Wake-ups or passes go to the queue {queue!r}, which is not in CELERY_TASK_QUEUES: a worker without -Q "
            "does not consume from it.",
            hint=f"Name it there, as celery_settings() does; or start a worker with `-Q {queue}`, and silence this.",
            id="durable_objects.W022",
        )
    if tasks.settings_in_force()["task_always_eager"]:
        yield Caution(
            "CELERY_TASK_ALWAYS_EAGER is on: no alarm is sent, since it would run inside whoever sets it; all wait.",
            hint="In tests run them by durable_objects.testing.run_due_alarms; else turn it off and start a worker.",
            id="durable_objects.W016",
        )


def _check_mixed() -> Iterator[CheckMessage]:
    """Find a list with brokers of several kinds, which share one set of options: it has to have one kind."""
    if flaw := brokers.mixed_kinds():
        yield Caution(flaw.text, hint=flaw.advice, id="durable_objects.W026")


def _check_brokers() -> Iterator[CheckMessage]:
    """Find brokers that no wake-up can be sent to: there is no such transport, or its package is missing."""
    for broker in brokers.brokers():
        if flaw := broker.flaw():
            yield Error(flaw.text, hint=flaw.advice, id="durable_objects.E017")


def _check_pool() -> Iterator[CheckMessage]:
    why = supported.small_pool(engine.DATABASE, brokers.threads())
    if why is not None:
        yield Caution(why, hint="Set its max_size to more than worker_concurrency.", id="durable_objects.W019")


def _check_encoding(databases: Sequence[str]) -> Iterator[CheckMessage]:
    if engine.DATABASE not in databases or not is_supported(connections[engine.DATABASE]):
        return
    encoding = backend_of(connections[engine.DATABASE]).unfit_encoding()
    if encoding is not None:
        yield Error(
            f"The database {engine.DATABASE!r} keeps its text as {encoding}, which cannot hold every name and key.",
            hint="Create it again with ENCODING 'UTF8'.",
            id="durable_objects.E015",
        )
