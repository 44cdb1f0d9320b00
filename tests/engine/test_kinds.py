"""Objects outlive what Django does to content types: stale ones take nothing along, renamed classes keep theirs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import ProtectedError
from pytest_django import Settings

from durable_objects import DurableObjectError, kinds
from durable_objects.operations.pauses import resume
from durable_objects.tables import Alarm, Entry, Object, Pause
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted
from tests.support.another_class import make_of

pytestmark = pytest.mark.django_db(transaction=True)

RENAME = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("tests", "0001_initial")]
    operations = [migrations.RenameModel("Diary", "Scripted")]
"""


@pytest.fixture
def migrate(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], object]]:
    """``migrate`` the tests' app, whose class ``Scripted`` was called ``Diary`` until its second migration."""
    recorder = MigrationRecorder(connection)
    if not recorder.has_table():  # the SQLite test database is made from the models
        for app, migration in MigrationLoader(connection).disk_migrations:
            recorder.record_applied(app, migration)
    folder = tmp_path / "tests_renaming"
    folder.mkdir()
    initial = Path(str(import_module("tests.migrations.0001_initial").__file__)).read_text()
    (folder / "__init__.py").touch()
    (folder / "0001_initial.py").write_text(initial.replace("'Scripted'", "'Diary'"))
    (folder / "0002_rename.py").write_text(RENAME)
    monkeypatch.syspath_prepend(tmp_path)
    invalidate_caches()
    settings.MIGRATION_MODULES = {"tests": "tests_renaming"}
    yield lambda to: call_command("migrate", "tests", to, verbosity=0)
    MigrationRecorder.Migration.objects.filter(app="tests", name="0002_rename").delete()
    for name in [name for name in sys.modules if name.startswith("tests_renaming")]:
        del sys.modules[name]


def diary(name: str, value: int) -> None:
    """An object from before the rename, with an entry and an alarm that is due."""
    ContentType.objects.get_or_create(app_label="tests", model="diary")
    obj = Scripted.objects.get_by_name(name)
    obj.storage.put("k", value)
    obj.storage.set_alarm(timedelta(0))
    kind = ContentType.objects.get(app_label="tests", model="diary")
    make_of(kind, pk=obj.pk)


def test_stale_content_types_take_no_objects_along(clock: FakeClock, script: Script) -> None:
    """``remove_stale_contenttypes`` is refused while objects of a class that is gone have rows."""
    diary("a", 1)
    with pytest.raises(ProtectedError):
        call_command("remove_stale_contenttypes", interactive=False, verbosity=0)
    assert [model.objects.count() for model in (Object, Entry, Alarm)] == [1, 1, 1]
    assert ContentType.objects.filter(model="diary").exists()
    Object.objects.all().delete()
    call_command("remove_stale_contenttypes", interactive=False, verbosity=0)
    assert not ContentType.objects.filter(model="diary").exists()


@pytest.mark.filterwarnings("ignore:Could not rename content type:RuntimeWarning")  # Django 6.1 says it
@pytest.mark.parametrize("both", [False, True], ids=["Django renames the type", "both types are there"])
def test_renamed_class_keeps_its_objects(
    clock: FakeClock, script: Script, migrate: Callable[[str], object], both: bool
) -> None:
    """After a ``RenameModel`` the objects are the new class's, also where its content type was there before."""
    diary("a", 1)
    if both:
        Scripted.objects.get_by_name("b").storage.put("k", 2)
    else:
        ContentType.objects.filter(model="scripted").delete()
    migrate("0002")
    ContentType.objects.clear_cache()
    assert {obj.name: obj.storage.get("k") for obj in Scripted.objects.all()} == (
        {"a": 1, "b": 2} if both else {"a": 1}
    )
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert not Object.objects.filter(kind__model="diary").exists()
    assert not Alarm.objects.filter(kind__model="diary").exists()


@pytest.mark.filterwarnings("ignore:Could not rename content type:RuntimeWarning")  # Django 6.1 says it
def test_paused_class_stays_paused_under_its_new_name(
    clock: FakeClock, script: Script, migrate: Callable[[str], object]
) -> None:
    """A class that is paused for a deploy, as deploying says, is still paused when the deploy has renamed it."""
    diary("a", 1)
    Scripted.objects.get_by_name("b").storage.put("k", 2)
    kind = ContentType.objects.get(app_label="tests", model="diary")
    Pause.objects.create(scope=Pause.Scope.CLASS, kind=kind, reason="new name", since=clock.now())
    migrate("0002")
    assert run_due_alarms() == []
    assert resume(Scripted)
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]


@pytest.mark.filterwarnings("ignore:Could not rename content type:RuntimeWarning")  # Django 6.1 says it
def test_names_that_clash_after_a_rename_are_named_and_nothing_is_moved(
    clock: FakeClock, script: Script, migrate: Callable[[str], object]
) -> None:
    """Where both classes have an object of one name the rename says so; once that is mended, ``migrate`` merges."""
    diary("same", 1)
    diary("other", 2)
    Scripted.objects.get_by_name("same").storage.put("k", 3)
    with pytest.raises(DurableObjectError, match=r"\['same'\]"):
        migrate("0002")
    assert Scripted.objects.get().storage.get("k") == 3
    assert Object.objects.filter(kind__model="diary").count() == 2
    Scripted.objects.get().delete()
    migrate("0002")
    assert {obj.name: obj.storage.get("k") for obj in Scripted.objects.all()} == {"same": 1, "other": 2}


def test_a_migration_before_the_tables_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that uses an object before the engine's last migration has run is refused with the dependency to add."""
    monkeypatch.setattr(MigrationRecorder, "applied_migrations", lambda self: {})
    with pytest.raises(DurableObjectError, match=r'add \("durable_objects", "\d{4}_\w+"\) to its dependencies'):
        kinds._check_tables()
