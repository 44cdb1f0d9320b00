"""A foreign project on a real broker: with ``celery_settings()`` plain commands are enough, and without, it is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from project.demo.processes import wait_for
from tests.brokers.conftest import own_broker
from tests.consumer.foreign import TEMPLATE, Foreign
from tests.support.site_processes import Process

SETTINGS = """
from datetime import timedelta
DURABLE_OBJECTS = {"HORIZON": timedelta(seconds=1), "DISPATCH_EVERY": timedelta(seconds=1)}
"""
BY_THE_ENGINE = """
from durable_objects import celery_settings
globals().update(celery_settings(CELERY_BROKER_URL, globals()))
"""
TASK = """
from celery import shared_task
from shop.models import Order
@shared_task
def mail():
    Order.objects.create(name="mailed")
"""
FAR_ALARM_AND_OWN_TASK = """
from shop.tasks import mail
mail.delay()
Timer.objects.get_by_name("far").storage.set_alarm(timedelta(seconds=4))
"""
DONE = "answer(sorted(Order.objects.values_list('name', flat=True)))"

EVERYTHING, SPLIT = [""], ["alarms", "dispatch,celery"]


@contextmanager
def project_on(name: str, folder: Path, make: Callable[..., Foreign], more: str = "") -> Iterator[Foreign]:
    """The foreign project with a broker and a task of its own."""
    with own_broker(name, folder) as broker:
        project = make(CELERY_BROKER_URL=broker.url).write("shop/tasks.py", TASK)
        template = (TEMPLATE / "mysite" / "settings.py-tpl").read_text("utf-8")
        yield project.write("mysite/settings.py", template + SETTINGS + more)


@contextmanager
def celery(project: Foreign, *options: str, name: str = "worker") -> Iterator[Process]:
    """A process of ``celery -A mysite``, ended with the block."""
    arguments = ["-m", "celery", "-A", "mysite", *options, "--loglevel", "INFO"]
    process = Process(name, arguments, project.folder, project.folder, project.environment())
    try:
        yield process
        assert not process.has_failed, process.text()[-3000:]
    finally:
        process.kill()


@contextmanager
def worker(project: Foreign, *options: str, name: str = "worker") -> Iterator[Process]:
    """A worker with these options, once it takes messages."""
    with celery(project, "worker", "-n", f"{name}@%h", "--pool", "threads", *options, name=name) as process:
        yield process.says(f"{name}@{os.uname().nodename} ready.")


@pytest.mark.parametrize(
    ("name", "queues"),
    [
        pytest.param("redis", EVERYTHING, marks=pytest.mark.services("redis")),
        pytest.param("rabbitmq", EVERYTHING, marks=[pytest.mark.services("rabbitmq"), pytest.mark.chaos]),
        pytest.param("rabbitmq", SPLIT, marks=pytest.mark.services("rabbitmq")),
    ],
    ids=["redis", "rabbitmq", "rabbitmq, two workers"],
)
def test_plain_commands_run_alarms_and_own_tasks(
    name: str, queues: list[str], tmp_path: Path, foreign: Callable[..., Foreign]
) -> None:
    """``celery worker`` and ``celery beat``, Celery's own, take alarms beyond the horizon and the project's own task.

    On an empty broker, and also where the workers share the queues: nothing is critical, or an error.
    """
    with project_on(name, tmp_path, foreign, BY_THE_ENGINE) as project, ExitStack() as stack:
        workers = [
            stack.enter_context(worker(project, *(["-Q", each] if each else []), name=f"worker{number}"))
            for number, each in enumerate(queues)
        ]
        beat = stack.enter_context(celery(project, "beat", name="beat"))
        project.manage("alarms", "doctor", "--fix")  # SQLite's journal
        project.run(FAR_ALARM_AND_OWN_TASK)
        wanted = ["far ran", "mailed"]
        wait_for("both", lambda: project.run(DONE), seconds=40, until=lambda seen: seen == wanted)
        for process in (*workers, beat):
            assert not {"CRITICAL", "ERROR"} & set(process.text().replace("/", " ").split()), process.text()
        doctor = project.manage("alarms", "doctor")
        assert "No trouble" in doctor.out, doctor.out


@pytest.mark.services("redis")
def test_a_worker_that_takes_no_alarms_is_named(tmp_path: Path, foreign: Callable[..., Foreign]) -> None:
    """Without ``celery_settings()`` a worker with ``-Q alarms`` consumes nothing: doctor and explain name the queue."""
    with project_on("redis", tmp_path, foreign) as project, worker(project, "-Q", "alarms"):
        project.run("Timer.objects.get_by_name('near').storage.set_alarm(timedelta(0))")
        doctor = project.manage("alarms", "doctor")
        assert doctor.code == 1
        assert "Wake-ups go to the queue 'celery', and no worker takes them there." in doctor.out
        assert "The only worker that answers does not consume from it for this project." in doctor.out
        assert "celery -A PROJECT worker -Q celery" in doctor.out
        explained = project.manage("alarms", "explain", "shop.timer", "near").well().out
        assert "It goes to the queue 'celery'" in explained
