"""Which brokers this process publishes to, to which queues, and what is in the way: for checks, doctor and explain."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, unquote, urlsplit

from celery import current_app
from celery.app.routes import MapRoute
from celery.exceptions import QueueNotFound
from django.conf import settings
from kombu import Connection
from kombu.utils.imports import symbol_by_name

from durable_objects.delivery import beat, celery_config
from durable_objects.escaping import one_line
from durable_objects.handler_errors import named
from durable_objects.masking import scrub

#: Kinds of brokers that the engine was tested with.
TRIED = {"redis", "amqp", "memory"}
#: What Celery's option ``-S`` knows by a short name, as its setting does.
_SHORT_NAMES = {"django": "django_celery_beat.schedulers:DatabaseScheduler"}
_UNREADABLE = (
    "its address cannot be read: user and password have to be percent-encoded "
    "(urllib.parse.quote(password, safe='')), and a port is a number up to 65535"
)


class Flaw(NamedTuple):
    """What keeps this process from sending wake-ups, and what to write or run against it."""

    text: str
    advice: str


@dataclass(frozen=True)
class Broker:
    """One of the addresses that messages are sent to; of a list, each is tried in turn."""

    url: str

    @property
    def scheme(self) -> str:
        """``redis+socket``, ``amqps``."""
        return celery_config.scheme_of(self.url)

    @property
    def kind(self) -> str:
        """``redis``, ``amqp``, ``memory``, or the scheme of what we know nothing about."""
        return celery_config.kind_of(self.url)

    def __str__(self) -> str:
        """Return its address without user, password and options."""
        parts = self._parts()
        if parts is None:
            return f"{self.scheme}://…"
        port = f":{parts.port}" if parts.port else ""
        return f"{self.scheme}://{parts.hostname or ''}{port}" + (parts.path if "socket" in self.scheme else "")

    def flaw(self) -> Flaw | None:
        """Return why this process can never send to it: no such transport, or its package is missing. None: it can."""
        no = f"No wake-up can be sent to {self}: "
        try:
            _ = Connection(self.url).transport
        except KeyError as error:
            known = "redis://HOST:6379/0, or amqp://USER:PASSWORD@HOST//"
            return Flaw(f"{no}{self.scrubbed(error.args[0])}.", f"Correct CELERY_BROKER_URL: for example {known}.")
        except Exception as error:  # noqa: BLE001  each transport reports in its own way what it lacks
            if self._parts() is None:
                return Flaw(f"{no}{_UNREADABLE}.", "Correct CELERY_BROKER_URL.")
            missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
            more = f" {missing}" if missing and missing != self.kind else ""
            why = f"its transport cannot be loaded ({self.scrubbed(error)})"
            return Flaw(f"{no}{why}.", f'Run `pip install "celery[{self.kind}]"{more}`, or correct CELERY_BROKER_URL.')
        return None

    def untried(self) -> Flaw | None:
        """Return that it is of a kind that the engine was never tested with; None for the others."""
        if self.kind in TRIED:
            return None
        text = f"The broker is {self.scheme}: whether it delays messages, or blocks callers, was never tested."
        return Flaw(text, "Use Redis or RabbitMQ, which were.")

    def reach(self, app: Any, seconds: float) -> None:
        """Connect, by the app's settings, and hang up. Raises what the transport raises, within about ``seconds``."""
        names = {"redis": ("socket_connect_timeout", "socket_timeout"), "amqp": ("read_timeout", "write_timeout")}
        options = dict.fromkeys(names.get(self.kind, ()), seconds)
        with app.connection_for_write(url=self.url, connect_timeout=seconds, transport_options=options) as connection:
            transport = connection.transport
            transport.close_connection(transport.establish_connection())

    def scrubbed(self, error: BaseException | str) -> str:
        """Return the error's text in one line, without what stands before the host in the address."""
        text = " ".join(str(error).split()) or type(error).__name__
        parts = self._parts()
        if parts is None:  # the text may name a piece of the password, taken for a host or port
            return _UNREADABLE
        user = parts.username or ""  # an access key with some; a short one is a word like any other
        secrets = {parts.password, unquote(parts.password or ""), parts.query, user if len(user) > 5 else ""}
        return scrub(text, sorted(filter(None, secrets), key=len, reverse=True), "***")

    def _parts(self) -> SplitResult | None:
        """Return the parts of its address; None where a sign in the password ends the host before it begins."""
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError:
            return None
        return None if "@" in f"{parts.path}{parts.query}{parts.fragment}" else parts


def wrong_types() -> list[str]:
    """Return which settings in force are of another type than Celery's, so that nothing else can be asked of them."""
    conf: Any = current_app.conf
    given = {name: conf[name.removeprefix("CELERY_").lower()] for name in celery_config.JUDGED}
    found = celery_config.wrong_types(given)
    schedule = getattr(settings, "CELERY_BEAT_SCHEDULE", None)
    if not found and schedule and not isinstance(schedule, Mapping):
        found = celery_config.wrong_types({"CELERY_BEAT_SCHEDULE": schedule})
    address = conf.broker_write_url or conf.broker_url
    wrong = celery_config.flaw_of_address(address) if address else None
    return found + ([f"CELERY_BROKER_URL {wrong}"] if wrong else [])


def mixed_kinds() -> Flaw | None:
    """Return that the list of brokers has several kinds in it, which share one set of options; None: it has one."""
    kinds = list(dict.fromkeys(broker.kind for broker in brokers()))
    if len(kinds) < 2:
        return None
    return Flaw(
        f"CELERY_BROKER_URL has brokers of several kinds ({', '.join(kinds)}): they share "
        "CELERY_BROKER_TRANSPORT_OPTIONS and queues, which celery_settings() makes for the first, so that the others "
        "hold up whoever sets an alarm, or lose wake-ups.",
        "Name brokers of one kind.",
    )


def brokers() -> list[Broker]:
    """Return the addresses in the order in which they are tried. Celery's own default where none is given."""
    conf: Any = current_app.conf
    given = conf.broker_write_url or conf.broker_url or "amqp://"
    parts = given.split(";") if isinstance(given, str) else [part for each in given for part in str(each).split(";")]
    return [Broker(part.strip()) for part in parts if part.strip()]


def app_flaw() -> Flaw | None:
    """Return that this process uses the default app that Celery makes where there is none, or an app that does not read
    the project's settings; None: an app that does.
    """
    app: Any = current_app
    if app.main != "default" or app.set_as_current:
        return _unread(app)
    return Flaw(
        f"This process does not use your Celery app: wake-ups go to Celery's default, {brokers()[0]}.",
        "Import the app in your project's __init__.py: `from .celery import app as celery_app`.",
    )


def _unread(app: Any) -> Flaw | None:
    names = {"CELERY_BROKER_URL": app.conf.broker_url, "CELERY_TASK_QUEUES": app.conf.task_queues}
    unread = [name for name, read in names.items() if getattr(settings, name, None) and not read]
    if not unread:
        return None
    return Flaw(
        f"Your Celery app {app.main!r} does not read {' and '.join(unread)} of your settings: wake-ups go to "
        f"{brokers()[0]}.",
        'Say app.config_from_object("django.conf:settings", namespace="CELERY"): other namespaces do not have them.',
    )


def obstacle() -> Flaw | None:
    """Return why this process cannot send a wake-up, as far as that is known without asking a broker."""
    if current_app.conf.task_always_eager:
        text = "CELERY_TASK_ALWAYS_EAGER is on in this process, which therefore sends no wake-ups."
        return Flaw(text, "Turn it off; in tests use durable_objects.testing.")
    flaws = [app_flaw(), *(broker.flaw() for broker in brokers())]
    return next((flaw for flaw in flaws if flaw is not None), None)


def tried_each_second(connection: Connection) -> Connection:
    """Return the connection; one that cannot be made is tried each second, not after 2, 4, 6 … 30 s: alarms are due."""
    steady = partial(connection.ensure_connection, interval_start=1, interval_step=0, interval_max=1)
    setattr(connection, "ensure_connection", steady)
    return connection


def threads() -> int | None:
    """Return how many tasks run at once in a worker process by the app's settings; None where unset, or only one."""
    pool, most = str(current_app.conf.worker_pool), current_app.conf.worker_concurrency
    return int(most) if str(most).isdecimal() and int(most) and pool not in {"prefork", "processes", "solo"} else None


class RouteFailed(Exception):
    """The project's own queues or routes of tasks raise for a wake-up, so that none can be sent."""

    advice = "Let the function accept what Celery passes to it: see routes in docs/guides/production.md."


class QueueMissing(RouteFailed):
    """A queue is not in ``task_queues``, and Celery may not make it."""

    advice = (
        "Name the queue in CELERY_TASK_QUEUES, as celery_settings() does, for workers too; or remove "
        "CELERY_TASK_CREATE_MISSING_QUEUES = False."
    )


def queue(object_id: int = 1, wake_up_number: int = 1) -> str | None:
    """Return the queue that this wake-up is sent to; None where it is routed to an exchange. Raises ``RouteFailed``."""
    return _routed("durable_objects.fire_alarm", (object_id, wake_up_number, False))


def takes_several() -> bool:
    """Return whether one message may carry several wake-ups: it goes where each would go alone. A function among the
    routes may go by the object.
    """
    try:
        if all(isinstance(route, MapRoute) for route in current_app.amqp.routes):
            return _routed("durable_objects.fire_alarms", ()) == queue()
    except RouteFailed:
        pass
    return False


def pass_queue() -> str | None:
    """Return the queue that beat sends passes of the dispatcher to, as ``queue`` does for wake-ups."""
    return _routed(beat.TASK, ())


def queue_missing() -> QueueMissing | None:
    """Return that Celery may not make a queue that wake-ups or passes need; None: all that are needed are there."""
    try:
        queue(), pass_queue()
    except QueueMissing as error:
        return error
    except RouteFailed:  # the doctor reports it
        pass
    return None


def unlisted_queues() -> list[str]:
    """Return those of both queues that ``task_queues`` leaves out, where it is set: only ``-Q`` makes a worker consume
    from them.
    """
    listed: Any = current_app.conf.task_queues
    if not listed:
        return []
    names = set(listed) if isinstance(listed, Mapping) else {each.name for each in listed}
    with contextlib.suppress(RouteFailed):  # the doctor reports it
        return sorted({name for name in (queue(), pass_queue()) if name is not None} - names)
    return []


def _routed(name: str, args: tuple[Any, ...]) -> str | None:
    task = cast(Any, current_app.tasks.get(name))
    try:
        queues: Any = current_app.amqp.queues
        known = set(queues)
    except Exception as error:
        raise RouteFailed(f"CELERY_TASK_QUEUES raised {one_line(named(error))}") from error
    try:
        routed = current_app.amqp.router.route({}, name, args, {}, task_type=task).get("queue")
    except QueueNotFound as error:
        raise QueueMissing(f"CELERY_TASK_CREATE_MISSING_QUEUES is False, and {one_line(str(error))}") from error
    except Exception as error:
        raise RouteFailed(f"CELERY_TASK_ROUTES raised {one_line(named(error))}") from error
    finally:
        for made in set(queues) - known:  # by the router, which takes every queue that is asked for as wanted
            del queues[made]
    return None if routed is None else str(getattr(routed, "name", routed))


def scheduled_tasks() -> set[str]:
    """Return the names of the tasks in beat's schedule: the app's, whatever set it, and that of Django's settings."""
    _ = current_app.tasks  # finalizes the app, which may add to its schedule then
    schedules = (current_app.conf.beat_schedule, getattr(settings, "CELERY_BEAT_SCHEDULE", None))
    entries = [entry for schedule in schedules for entry in (schedule or {}).values()]
    return {str(entry.get("task") if isinstance(entry, dict) else getattr(entry, "task", "")) for entry in entries}


def beat_scheduler() -> str:
    """Return the scheduler that beat uses unless its command line names another."""
    given = current_app.conf.beat_scheduler
    return given if isinstance(given, str) else f"{given.__module__}:{given.__qualname__}"


def reads_entries() -> bool:
    """Return whether that scheduler reads django-celery-beat's entries; True for one that beat itself cannot import."""
    given = current_app.conf.beat_scheduler
    try:
        from django_celery_beat.schedulers import DatabaseScheduler

        found = symbol_by_name(given, _SHORT_NAMES)
    except Exception:  # noqa: BLE001  whatever its import raises
        return True
    return not isinstance(found, type) or issubclass(found, DatabaseScheduler)


def unreachable(asked: list[Broker], seconds: float) -> dict[Broker, str]:
    """Return the brokers that do not answer within ``seconds``, asked at the same time, and why.

    A broker may block its thread for longer.
    """
    answers: dict[Broker, str | None] = {}
    app: Any = current_app._get_current_object()  # type: ignore[attr-defined]  # of this thread, not of those

    def ask(broker: Broker) -> None:
        try:
            broker.reach(app, seconds)
            answers[broker] = None
        except BaseException as error:  # noqa: BLE001  each transport has errors of its own
            answers[broker] = broker.scrubbed(error)

    wait_for([threading.Thread(target=ask, args=[broker], daemon=True) for broker in asked], seconds)
    reasons = {broker: answers.get(broker, f"no answer within {seconds:g} s") for broker in asked}
    return {broker: why for broker, why in reasons.items() if why is not None}


def wait_for(threads: list[threading.Thread], seconds: float) -> None:
    """Start the threads, and wait until all have ended, at most ``seconds`` and a half."""
    end = time.monotonic() + seconds + 0.5
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
