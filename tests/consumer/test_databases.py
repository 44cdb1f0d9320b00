"""Projects with several databases: the engine's tables, and the content types they point to, are in one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.consumer.conftest import ON_EACH
from tests.consumer.foreign import REPOSITORY, Foreign
from tests.support import services

pytestmark = pytest.mark.slow

OTHER = {"DATABASE": "other", "DISPATCHED_BY": "command"}
ROUTER = ["durable_objects.routers.Router"]
AWAY = "class Away:\n    def db_for_read(self, model, **hints):\n        return {read!r}\n    db_for_write = {write}\n"

#: Uses all that there is, and says where the rows went and what was not as it should be.
EVERYTHING = """
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import transaction
from durable_objects import DurableObjectError
from durable_objects.delivery import dispatcher
from durable_objects.models import Alarm, AlarmRun, Object
from durable_objects.testing import FakeClock, run_due_alarms
with FakeClock() as clock:
    Cart.objects.get_by_name("ada").add("tea")
    Timer.objects.get_by_name("t").storage.set_alarm(timedelta(minutes=1))
    Account.objects.get_by_name("a").deposit(3)
    clock.advance(timedelta(minutes=1))
    [run] = run_due_alarms()
    for verb in (["alarms", "explain", "shop.cart", "ada"], ["alarms", "list"], ["objects", "list"]):
        call_command(*verb)
    call_command("objects", "show", "shop.cart", "ada")
    call_command("objects", "export", "shop.cart")
    dispatcher.run_pass()
kinds = {kind.pk: kind.model for kind in ContentType.objects.using(DATABASE)}
found = {
    "run": run.outcome,
    "names": sorted(f"{kinds[row.kind_id]} {row.name}" for row in Object.objects.using(DATABASE)),
    "counts": [model.objects.count() for model in (Cart, Timer, Account, Alarm)],
    "balance": Account.objects.get(name="a").balance,
    "deleted": [Cart.objects.get_by_name("ada").delete()[0] > 0, Timer.objects.all().delete()[0] > 0],
}
found["left"] = [Object.objects.using(DATABASE).count(), Cart.objects.count()]
answer(found)
"""
WANTED = {
    "run": "succeeded",
    "names": ["account a", "cart ada", "timer t"],
    "counts": [1, 1, 1, 2],
    "balance": 3,
    "deleted": [True, True],
    "left": [1, 0],
}


@pytest.fixture(params=ON_EACH)
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Foreign]]:
    """The project on two empty databases of one kind, ``default`` and ``other``."""
    if request.param == "sqlite":
        urls = [f"sqlite:///{tmp_path / name}.sqlite3" for name in ("default", "other")]
        yield lambda **settings: Foreign(
            tmp_path / "foreign", dict(zip(("default", "other"), urls, strict=True)), **settings
        )
        return
    with services.fresh_postgresql() as first, services.fresh_postgresql() as second:
        yield lambda **settings: Foreign(tmp_path / "foreign", {"default": first, "other": second}, **settings)


def everything(database: str) -> str:
    """The snippet above, for the engine's tables in this database."""
    return f"DATABASE = {database!r}\n" + EVERYTHING


@pytest.mark.slow
def test_migrating_another_database_first(two: Callable[..., Foreign]) -> None:
    """``migrate --database other`` without a router makes tables there and nothing more: the engine has its own."""
    project = two()
    project.set(INSTALLED_APPS=[*installed(project), "django_celery_beat"], DURABLE_OBJECTS={})
    project.manage("migrate", "-v0", "--database", "other").well()
    project.manage("migrate", "-v0").well()
    assert project.run(everything("default")) == WANTED
    count = "from django_celery_beat.models import PeriodicTask as Task\n"
    count += (
        "answer([Task.objects.using(each).filter(name__startswith='durable').count() for each in ('default', 'other')])"
    )
    assert project.run(count) == [1, 0]


def installed(project: Foreign) -> list[str]:
    """Its apps."""
    apps: list[str] = project.run("from django.conf import settings\nanswer(settings.INSTALLED_APPS)")
    return apps


@pytest.mark.slow
@pytest.mark.parametrize(
    "router", [pytest.param(True, id="router"), pytest.param(False, id="no router", marks=pytest.mark.chaos)]
)
def test_tables_in_another_database(two: Callable[..., Foreign], router: bool) -> None:
    """With ``DATABASE`` other than default all works in that one, by our router; without, by the engine's own hands."""
    project = two(DURABLE_OBJECTS=OTHER, DATABASE_ROUTERS=ROUTER if router else [])
    # Content types of the other database have keys of their own: each class must be told by those.
    project.manage("migrate", "-v0", "--database", "other", "--skip-checks").well()
    project.run(
        "from django.contrib.contenttypes.models import ContentType\n"
        "ContentType.objects.using('other').filter(app_label='shop').delete()"
    )
    project.manage("migrate", "-v0", "--database", "other", "--skip-checks").well()
    project.manage("migrate", "-v0", "--skip-checks").well()
    assert project.run(everything("other")) == WANTED
    if router:
        tables = "from django.db import connections\nanswer([t for t in connections[%r].introspection.table_names()])"
        assert not [
            t for t in project.run(tables % "default") if t.startswith("durable_objects") or t == "shop_account"
        ]
        found = project.manage("check", "--database", "other", "--database", "default").well()
        assert "durable_objects.W014" in found.err  # shop.Order is written elsewhere
    else:
        found = project.manage("check")
        assert found.code
        assert "durable_objects.E013" in found.err
        assert "durable_objects.routers.Router" in found.err


@pytest.mark.slow
def test_router_that_sends_objects_away(two: Callable[..., Foreign]) -> None:
    """A router that names another database is refused by check; what runs all the same runs in the engine's."""
    project = two(DATABASE_ROUTERS=["mysite.routers.Away"])
    project.write("mysite/routers.py", AWAY.format(read="other", write="db_for_read"))
    project.manage("migrate", "-v0", "--skip-checks").well()
    project.manage("migrate", "-v0", "--skip-checks", "--database", "other").well()  # where shop.Order is written
    assert "durable_objects.E013" in project.manage("check").err
    assert project.run(everything("default")) == WANTED


@pytest.mark.slow
def test_reads_from_a_replica(two: Callable[..., Foreign]) -> None:
    """A router that reads elsewhere, from a replica that lags for ever, changes nothing: the engine asks its own."""
    project = two(DATABASE_ROUTERS=["mysite.routers.Away"])
    project.write("mysite/routers.py", AWAY.format(read="other", write="lambda self, model, **hints: 'default'"))
    project.manage("migrate", "-v0").well()
    project.manage("migrate", "-v0", "--database", "other").well()
    assert project.run(everything("default")) == WANTED


def test_using_another_database_is_refused(foreign: Callable[..., Foreign]) -> None:
    """``using`` and ``db_manager`` of an alias that is not the engine's say so; none waits for itself."""
    project = foreign()
    project.set(DATABASES=project.databases | {"other": project.databases["default"]})
    assert project.run("""
from durable_objects import DurableObjectError
refused = []
for ask in (lambda: Cart.objects.using("other"), lambda: Cart.objects.db_manager("other").count(),
            lambda: Cart.objects.all().using("other").delete()):
    try:
        ask()
    except DurableObjectError as error:
        refused.append("other" in str(error) and "default" in str(error))
answer([refused, Cart.objects.using("default").count(), Cart.objects.using(None).count()])
""") == [[True, True, True], 0, 0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"DURABLE_OBJECTS": {"DATABASE": "nope", "DISPATCHED_BY": "command"}}, ["'nope'", "'default'"]),
        pytest.param({"ENGINE": "mysite.mysql"}, ["MySQL", "PostgreSQL or SQLite"], marks=pytest.mark.slow),
        pytest.param(
            {"PSYCOPG2": True, "ENGINE": "django.db.backends.postgresql"},
            ["psycopg2", "psycopg 3"],
            marks=pytest.mark.slow,
        ),
        ({"AUTOCOMMIT": False}, ["AUTOCOMMIT", "'default'", "nothing would ever be committed"]),
    ],
    ids=["no such database", "MySQL", "psycopg2", "no autocommit"],
)
def test_database_that_cannot_work(foreign: Callable[..., Foreign], settings: dict[str, Any], words: list[str]) -> None:
    """A plain ``check`` refuses it in words, and so does the first use, where no check ran: web, worker, dispatcher."""
    project = foreign()
    project.write(
        "mysite/mysql/base.py",
        "from django.db.backends.sqlite3 import base\n"
        "class DatabaseWrapper(base.DatabaseWrapper):\n    vendor, display_name = 'mysql', 'MySQL'\n",
    )
    if settings.pop("PSYCOPG2", False):
        # As Django has it where psycopg 3 is not installed; its own driver is loaded by then.
        psycopg2 = "from django.db.backends.postgresql import base, psycopg_any\npsycopg_any.is_psycopg3 = False\n"
        project.write("shop/__init__.py", psycopg2)
    databases = project.databases
    if backend := settings.pop("ENGINE", None):
        databases["default"] |= {"ENGINE": backend, "OPTIONS": {}}
    databases["default"]["AUTOCOMMIT"] = settings.pop("AUTOCOMMIT", True)
    project.set(DATABASES=databases, **settings)
    checked = project.manage("check")
    assert checked.code
    assert "durable_objects.E012" in checked.err
    first = project.attempt("Cart.objects.get_by_name('a').add('tea')")
    passed = project.attempt("from durable_objects.delivery import dispatcher\ndispatcher.run_pass()")
    for err in (checked.err, first.err.splitlines()[-1], passed.err.splitlines()[-1]):
        assert all(word in err for word in words), err
    assert all("ImproperlyConfigured" in done.err.splitlines()[-1] for done in (first, passed))


FORBIDDEN = """
from django.test import TestCase
from shop.models import Cart

class Forbidden(TestCase):
    def test_is_told(self):
        with self.assertRaisesRegex(AssertionError, "other"):
            Cart.objects.get_by_name("a").add("tea")

class Allowed(TestCase):
    databases = {"default", "other"}
    def test_works(self):
        self.assertEqual(Cart.objects.get_by_name("a").add("tea"), 1)
"""


@pytest.mark.slow
def test_test_case_that_may_not_use_the_database(two: Callable[..., Foreign]) -> None:
    """A TestCase whose ``databases`` leave the engine's out is refused by Django, as for any other model."""
    project = two(DURABLE_OBJECTS=OTHER, DATABASE_ROUTERS=ROUTER)
    databases = project.databases
    if "sqlite" in databases["other"]["ENGINE"]:
        for alias, each in databases.items():
            each["TEST"] = {"NAME": str(project.folder / f"test-{alias}.sqlite3")}
    project.set(DATABASES=databases)
    project.write("shop/tests.py", FORBIDDEN)
    done = project.manage("test", "--no-input", "shop").well()
    assert "Ran 2 tests" in done.err


FAST = """
import asyncio
from django.core.asgi import get_asgi_application
from django.db.backends.signals import connection_created
from batcher import fast_path
from mysite.urls import api
made = []
connection_created.connect(lambda connection, **_: made.append(connection.alias), weak=False)
fast_path.THREADS = 1
application = fast_path.FastPath(get_asgi_application(), api, prefix="/api/batcher/")
headers = [(b"host", b"testserver"), (b"authorization", b"Bearer a-token"), (b"content-length", b"1")]
scope = {"type": "http", "method": "POST", "path": "/api/batcher/a", "raw_path": b"/api/batcher/a", "query_string": b"",
         "headers": headers}
statuses = []

async def receive():
    return {"type": "http.request", "body": b"x"}

async def send(message):
    statuses.append(message.get("status"))

async def posts():
    for _ in range(3):
        await application(scope, receive, send)

asyncio.run(posts())
answer([statuses[::2], made])
"""
URLS = """
from django.urls import path
from durable_objects.http.api import GuardedAPI
api = GuardedAPI()
api.add_router("/batcher", "batcher.api.router")
urlpatterns = [path("api/", api.urls)]
"""


def test_the_fast_path_keeps_its_connection_to_the_engines_database(two: Callable[..., Foreign]) -> None:
    """Its thread connects once, to the database that the engine is in, however long connections of requests last."""
    project = two(DURABLE_OBJECTS=OTHER, DATABASE_ROUTERS=ROUTER, DURABLE_OBJECTS_HTTP={"TOKENS": ["a-token"]})
    (project.folder / "batcher").symlink_to(REPOSITORY / "batcher")
    project.set(INSTALLED_APPS=[*installed(project), "durable_objects.http", "batcher"])
    project.write("mysite/urls.py", URLS)
    project.manage("migrate", "-v0", "--database", "other", "--skip-checks").well()
    assert project.run(FAST) == [[200, 200, 200], ["other"]]
