"""An operation goes on only while the person for whom it runs may do it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType

from batcher.models import Batcher
from durable_objects.admin import DurableObjectAdmin, permissions
from durable_objects.operations import bulk, bulk_chunks, bulk_person, outage
from durable_objects.tables import Operation
from tests.architecture.sources import ROOT
from tests.models import Grouped, Script, Scripted
from tests.support.another_class import make_of
from tests.support.many_alarms import dead_alarms, late_alarms

pytestmark = pytest.mark.django_db(transaction=True)


def person(name: str, *models: str) -> User:
    """A user of the admin who may change objects of these classes."""
    user = User.objects.create_user(name, is_staff=True)
    codes = [f"change_{model}" for model in models]
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="tests", codename__in=codes))
    return user


def drive(operation: Operation, watch: Callable[[Operation], object] = lambda operation: None) -> Operation:
    """The operation after a worker has gone on with it; ``watch`` sees each chunk."""
    at = bulk.get(operation.pk)

    def see(chunk: Operation) -> None:
        watch(chunk)

    bulk_chunks.drive(at.pk, at.fence, seconds=60, watch=see)
    return bulk.get(operation.pk)


ENDS: dict[str, tuple[Callable[[], object], str]] = {
    "deactivated": (lambda: User.objects.update(is_active=False), "is no active user any more"),
    "deleted": (lambda: User.objects.all().delete(), "is no active user any more"),
    "no staff": (lambda: User.objects.update(is_staff=False), "may not do this to all of these objects any more"),
    "no permission": (
        lambda: User.objects.get().user_permissions.set([]),
        "may not do this to all of these objects any more",
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_it_stops_with_the_permission(how: str, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is no active user any more, or may not do it, has done the chunks so far and no other; it says why, and
    goes on for whoever may, in whose name the rest is in the log.
    """
    monkeypatch.setattr(bulk_chunks, "CHUNK", 2)
    dead_alarms(Scripted, 6)
    ada = person("ada", "scripted")
    end, says = ENDS[how]
    operation = bulk.start("revive", "class:tests.Scripted", by="ada", user=str(ada.pk))
    stopped = drive(operation, watch=lambda chunk: end())
    assert (stopped.state, stopped.done) == ("stopped", 2)
    assert stopped.error == f"ada, for whom it runs, {says}: somebody who may do it has to go on with it"
    assert bulk.go_on(operation)
    assert (drive(operation).state, bulk.get(operation.pk).done) == ("stopped", 2)
    bob = person("bob", "scripted")
    assert bulk.go_on(operation, by="bob", user=str(bob.pk))
    done = drive(operation)
    assert (done.state, done.done, done.by, done.error) == ("done", 6, "bob", "")
    assert LogEntry.objects.filter(user=bob, content_type=Scripted.kind_pk()).count() == 4


@pytest.mark.parametrize("verb", ["revive", "delete"])
def test_who_is_deleted_while_a_chunk_runs(verb: str, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunk that runs when its person is deleted is done, with nobody in the log; there it stops and says why."""
    monkeypatch.setattr(bulk_chunks, "CHUNK", 2)
    dead_alarms(Scripted, 6)
    ada = User.objects.create_superuser("ada")
    operation = bulk.start(verb, "class:tests.Scripted", by="ada", user=str(ada.pk))
    refusal, asked = bulk_person.refusal, []

    def refusal_before_it_happens(row: Operation) -> str:
        asked.append(said := refusal(row))
        if len(asked) == 2:
            User.objects.all().delete()
        return said

    monkeypatch.setattr(bulk_person, "refusal", refusal_before_it_happens)
    stopped = drive(operation)
    assert asked[:2] == ["", ""]
    assert (stopped.state, stopped.done, stopped.failed, stopped.failures) == ("stopped", 4, 0, [])
    assert stopped.error.startswith("ada, for whom it runs, is no active user any more: ")
    assert not LogEntry.objects.exists()


def test_who_goes_on_with_a_plan_answers_for_the_rest_of_it(script: Script) -> None:
    """The operations of a plan that are not done run for whoever goes on with one of them, those that are stay."""
    late_alarms(Scripted, 3, timedelta(hours=2))
    late_alarms(Grouped, 3, timedelta(hours=1))
    ada, bob = person("ada", "scripted", "grouped"), person("bob", "scripted", "grouped")
    kinds = [ContentType.objects.get_for_id(model.kind_pk()) for model in (Scripted, Grouped)]
    plan = outage.drain(kinds, 1_000, by="ada", user=str(ada.pk), mark=timedelta(minutes=1))
    assert drive(plan[0]).state == "done"
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert drive(plan[1]).state == "stopped"
    assert bulk.go_on(plan[1], by="bob", user=str(bob.pk))
    for each in plan[1:]:
        assert drive(each).state == "done"
    assert [bulk.get(each.pk).by for each in plan] == ["ada", "bob", "bob", "bob"]


def test_without_objects_a_class_asks_for_nothing(script: Script) -> None:
    """It ends as done where what it deletes was all that there was of a class that this code does not have."""
    gone = ContentType.objects.create(app_label="shop", model="gone")
    names = dead_alarms(Scripted, 3)
    make_of(gone, name__in=names)
    ada = User.objects.create_superuser("ada")
    operation = bulk.start("delete", "class:shop.gone", by="ada", user=str(ada.pk), kinds=[gone.pk])
    done = drive(operation)
    assert (done.state, done.done, done.error) == ("done", 3, "")


def test_a_class_that_is_gone_asks_for_nothing_of_those_that_are_left(script: Script) -> None:
    """It goes on with the other classes that it was started for once this code does not have one of them any more."""
    gone = ContentType.objects.create(app_label="shop", model="gone")
    dead_alarms(Scripted, 3)
    ada = person("ada", "scripted")
    kinds = [Scripted.kind_pk(), gone.pk]
    assert drive(bulk.start("revive", "", by="ada", user=str(ada.pk), kinds=kinds)).done == 3


def test_a_verb_of_one_class_asks_for_that_class(script: Script) -> None:
    """What can be done to batchers only goes on for who may change batchers, whatever else there is."""
    Batcher.objects.get_by_name("orders").add_item(1)
    Scripted.objects.get_by_name("one").save()
    ada = User.objects.create_user("ada", is_staff=True)
    ada.user_permissions.add(Permission.objects.get(codename="change_batcher"))
    assert drive(bulk.start("flush", "", by="ada", user=str(ada.pk))).done == 1


def test_objects_without_their_class_are_asked_for(script: Script) -> None:
    """What needs no class of an object goes on for those only who may do it to objects of classes that are gone too."""
    gone = ContentType.objects.create(app_label="shop", model="gone")
    names = dead_alarms(Scripted, 3)
    make_of(gone, name__in=names[:1])
    ada = User.objects.create_user("ada", is_staff=True)
    ada.user_permissions.set(Permission.objects.filter(codename__startswith="change_"))
    stopped = drive(bulk.start("discard", "state:dead", by="ada", user=str(ada.pk)))
    assert (stopped.state, stopped.done) == ("stopped", 0)
    ada.user_permissions.add(Permission.objects.create(content_type=gone, codename="change_gone", name="change"))
    assert bulk.go_on(stopped)
    assert drive(stopped).done == 3


def test_a_site_without_operations_lets_none_go_on(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may enter a site that has no page of operations, and none that has, may not go on with one."""

    class Portal(admin.AdminSite):
        def has_permission(self, request: Any) -> bool:
            return True

    monkeypatch.setattr(permissions, "all_sites", [admin.site, Portal()])
    dead_alarms(Scripted, 3)
    ada = person("ada", "scripted")
    User.objects.update(is_staff=False)
    stopped = drive(bulk.start("revive", "class:tests.Scripted", by="ada", user=str(ada.pk)))
    assert (stopped.state, stopped.done) == ("stopped", 0)


def test_a_site_that_asks_for_a_second_factor(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site whose ``has_permission`` needs what only a request has lets an operation go on for who is staff, and for
    nobody else.
    """

    def has_permission(request: Any) -> bool:
        return bool(request.user.is_active and request.user.is_verified() and request.session["token"])

    monkeypatch.setattr(admin.site, "has_permission", has_permission)
    monkeypatch.setattr(permissions, "all_sites", [admin.site])
    dead_alarms(Scripted, 3)
    ada = person("ada", "scripted")
    operation = bulk.start("revive", "class:tests.Scripted", by="ada", user=str(ada.pk))
    User.objects.update(is_staff=False)
    assert drive(operation).state == "stopped"
    User.objects.update(is_staff=True)
    bulk.go_on(operation)
    assert drive(operation).done == 3


def test_permissions_that_need_a_request_stop_it(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin class that asks its request for more than the user stops the operation, which says what to do."""

    class Asks(DurableObjectAdmin):
        def has_change_permission(self, request: Any, obj: Any = None) -> bool:
            return bool(request.session["may"])

    registry: dict[Any, Any] = admin.site._registry
    monkeypatch.setitem(registry, Scripted, Asks(Scripted, admin.site))
    monkeypatch.setattr(permissions, "all_sites", [admin.site])
    dead_alarms(Scripted, 3)
    ada = person("ada", "scripted")
    stopped = drive(bulk.start("revive", "class:tests.Scripted", by="ada", user=str(ada.pk)))
    assert (stopped.state, stopped.done) == ("stopped", 0)
    assert (
        "whether ada, for whom it runs, may still do it cannot be found out without a request: Attrib" in stopped.error
    )
    assert stopped.error.endswith("must do with request.user")


#: A process that has imported no page of the admin, and a superuser who is no staff: only the site in ``URLS`` lets
#: such a one in.
WORKER = """
import os, sys
from django.conf import settings
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "django.contrib.messages",
        "django.contrib.admin.apps.SimpleAdminConfig", "durable_objects",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
    ROOT_URLCONF=os.environ["URLS"],
)
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from durable_objects.operations import bulk_person
from durable_objects.tables import Operation
call_command("migrate", verbosity=0)
assert "durable_objects.admin" not in sys.modules
user = User.objects.create_user("ada", is_superuser=True)
print(bulk_person.refusal(Operation(verb="revive", by="ada", user=str(user.pk))))
"""
NO_URLS = "urlpatterns = []"
SITE_IN_URLS = """
from django.contrib import admin
from durable_objects.admin import OperationAdmin
from durable_objects.tables import Operation

class Portal(admin.AdminSite):
    def has_permission(self, request):
        return request.user.is_superuser

portal = Portal()
portal.register(Operation, OperationAdmin)
urlpatterns = []
"""


@pytest.mark.parametrize(
    ("urls", "said"), [(NO_URLS, "may not do this to all of these objects any more"), (SITE_IN_URLS, "")]
)
def test_a_worker_without_pages_asks_the_admin(urls: str, said: str, tmp_path: Path) -> None:
    """A process that has imported neither the admin's classes nor the URLs asks both, once an operation is a user's."""
    (tmp_path / "urls_of_the_test.py").write_text(urls)
    environment = os.environ | {"URLS": "urls_of_the_test", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    del environment["DJANGO_SETTINGS_MODULE"]
    command = [sys.executable, "-c", WORKER]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert said in answer.stdout
    assert bool(answer.stdout.strip()) == bool(said)
