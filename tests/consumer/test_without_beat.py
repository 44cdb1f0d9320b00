"""A project that never installed django-celery-beat: the extra `beat` is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.consumer.foreign import Foreign

#: As if it were not installed; what imports it at all fails.
AWAY = "import sys\nsys.modules['django_celery_beat'] = None\n"


@pytest.mark.slow
def test_the_engine_works_without_beat(foreign: Callable[..., Foreign]) -> None:
    """Every module but the scheduler for beat imports; checks, doctor and the dispatcher's own loop do their work."""
    project = foreign()
    modules, passes, doctor = project.run(
        AWAY
        + """
import importlib, io, pkgutil
import durable_objects
from django.core.management import CommandError, call_command
left_out = {"durable_objects.scheduler", "durable_objects.receiver", "durable_objects.outgoing"}
names = [module.name for module in pkgutil.walk_packages(durable_objects.__path__, "durable_objects.")]
mine = [name for name in names if not any(name == out or name.startswith(out + ".") for out in left_out)]
for name in mine:
    importlib.import_module(name)
Timer.objects.get_by_name("t").storage.set_alarm(timedelta(0))
call_command("check")
out, passes = io.StringIO(), io.StringIO()
call_command("alarms", "dispatch", stdout=passes)
try:
    call_command("alarms", "doctor", stdout=out)
except CommandError:
    pass  # it found trouble: no worker runs here
answer([len(mine), passes.getvalue(), out.getvalue()])
"""
    )
    assert modules > 80
    assert "published" in passes
    assert "django-celery-beat" not in doctor
