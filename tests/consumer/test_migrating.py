"""What Django does to whole databases: data migrations, dumps and loads, and its test cases that empty them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.consumer.conftest import ON_EACH
from tests.consumer.foreign import REPOSITORY, Foreign
from tests.support import services

OURS = sorted((REPOSITORY / "durable_objects" / "migrations").glob("0*.py"))
DATA_MIGRATION = """
from datetime import timedelta
from django.db import migrations

def fill(apps, schema_editor):
    from shop.models import Account, Cart, Timer
    Cart.objects.get_by_name("first").add("tea")
    Account.objects.get_by_name("first").deposit(3)
    Timer.objects.get_by_name("first").storage.set_alarm(timedelta(0))

class Migration(migrations.Migration):
    dependencies = {dependencies}
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
"""
CASES = """
from django.test import TestCase, TransactionTestCase
from durable_objects.testing import FakeClock, run_due_alarms
from datetime import timedelta
from shop.models import Account, Cart, Timer

class Uses:
    def use(self):
        with FakeClock() as clock:
            self.assertEqual(Cart.objects.get_by_name("a").add("tea"), 1)
            self.assertEqual(Account.objects.get_by_name("a").deposit(3), 3)
            clock.advance(timedelta(hours=1))
            self.assertEqual([run.outcome for run in run_due_alarms()], ["succeeded"])
    def test_once(self):
        self.use()
    def test_again(self):
        self.use()

class InTransaction(Uses, TestCase):
    pass

class Emptying(Uses, TransactionTestCase):
    pass

class WithSomeApps(Uses, TransactionTestCase):
    available_apps = ["django.contrib.contenttypes", "django.contrib.auth", "durable_objects", "shop"]

class RolledBack(Uses, TransactionTestCase):
    serialized_rollback = True
"""


@pytest.fixture(params=ON_EACH)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Foreign]:
    """The project on an empty database."""
    if request.param == "sqlite":
        yield Foreign(tmp_path / "foreign")
        return
    with services.fresh_postgresql() as url:
        yield Foreign(tmp_path / "foreign", {"default": url})


def data_migration(*dependencies: tuple[str, str]) -> str:
    """A migration that uses objects, after the app's first and these."""
    return DATA_MIGRATION.format(dependencies=[("shop", "0001_initial"), *dependencies])


@pytest.mark.slow
def test_data_migration_on_a_fresh_database(fresh: Foreign) -> None:
    """A data migration may use objects of classes that the same ``migrate`` makes; each is of its class afterwards."""
    fresh.write(
        "shop/migrations/0002_data.py", data_migration(("shop", "0001_initial"), ("durable_objects", OURS[-1].stem))
    )
    fresh.manage("migrate", "-v0").well()
    found: Any = fresh.run("""
from durable_objects.testing import run_due_alarms
runs = [run.outcome for run in run_due_alarms()]
answer([Cart.objects.get_by_name("first").storage.get("tea"), Account.objects.get(name="first").balance, runs,
        [model.objects.count() for model in (Cart, Account, Timer)]])
""")
    assert found == [1, 3, ["succeeded"], [1, 1, 1]]


@pytest.mark.slow
def test_dump_and_load(on_each: Callable[..., Foreign]) -> None:
    """``dumpdata``, ``flush`` and ``loaddata`` bring objects back with storage, alarms and fields of their own.

    Django's JSON keeps milliseconds of a time.
    """
    project = on_each()
    project.run("""
Cart.objects.get_by_name("a").add("tea")
Account.objects.get_by_name("a").deposit(3)
""")
    look = """
answer([Cart.objects.get_by_name("a").storage.list(), str(Cart.objects.get_by_name("a").storage.get_alarm())[:23],
        Account.objects.get(name="a").balance, Cart.objects.count()])
"""
    before = project.run(look)
    assert before[::2] == [{"tea": 1}, 3]
    dump = ["dumpdata", "durable_objects", "shop", "--natural-foreign", "-o", "all.json"]
    project.manage(*dump).well()
    project.manage("flush", "--no-input").well()
    assert project.run("answer(Cart.objects.count())") == 0
    project.manage("loaddata", "all.json").well()
    assert project.run(look) == before


@pytest.mark.slow
def test_django_test_cases(fresh: Foreign) -> None:
    """``manage.py test``: TestCase, TransactionTestCase, with ``available_apps`` and with ``serialized_rollback``."""
    fresh.write("shop/tests.py", CASES)
    if "sqlite" in fresh.databases["default"]["ENGINE"]:
        databases = fresh.databases
        databases["default"]["TEST"] = {"NAME": str(fresh.folder / "test.sqlite3")}
        fresh.set(DATABASES=databases)
    # Django itself cannot load what it has serialized after it has made content types anew: a run of its own.
    for cases in (["InTransaction", "Emptying", "WithSomeApps"], ["RolledBack"]):
        done = fresh.manage("test", "--no-input", *[f"shop.tests.{case}" for case in cases]).well()
        assert f"Ran {2 * len(cases)} tests" in done.err
