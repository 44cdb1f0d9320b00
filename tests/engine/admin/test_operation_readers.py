"""What an operation and a plan say of objects is for those only who may see these objects."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client, RequestFactory
from django.urls import reverse

from batcher.models import Batcher
from durable_objects.admin import DurableObjectAdmin
from durable_objects.admin.permissions import for_reader
from durable_objects.models import DurableObject
from durable_objects.operations import bulk
from durable_objects.tables import Alarm, Object, Operation
from tests.admin_urls import site
from tests.models import Grouped, Scripted
from tests.support.admin_pages import list_url, page_url, park, staff, text_of, words_of
from tests.support.many_alarms import dead_alarms, late_alarms

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.admin_urls")]

ERROR = "ValueError: the secret card was declined"
START = reverse("admin:durable_objects_operation_start", urlconf="tests.admin_urls")


@pytest.fixture
def operation(admin_user: User) -> Operation:
    """A plan's operation that somebody else has started, whose words and failures tell of one object."""
    dead_alarms(Scripted, 1, error=ERROR)
    Object.objects.update(name="secret")
    group = Alarm.objects.get().error_group
    selection = f"class:tests.Scripted name:secret error:{group}"
    row = bulk.start("revive", selection, by="ada", user=str(admin_user.pk))
    failure = {"object": Object.objects.get().pk, "class": "tests.Scripted", "name": "secret", "error": "no secret"}
    Operation.objects.filter(pk=row.pk).update(failed=1, failures=[failure], plan=row.pk)
    bulk.start("revive", "value:secret", by="ada", user=str(admin_user.pk), after=row)
    return row


@pytest.fixture
def hides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The admin of the class shows its users none of its objects."""
    page: Any = site.get_model_admin(Scripted)
    rows = DurableObjectAdmin.get_queryset
    monkeypatch.setattr(page, "get_queryset", lambda request: rows(page, request).filter(name__startswith="own"))


def pages(operation: Operation) -> Iterator[str]:
    """All that says something of an operation."""
    panels = reverse("admin:durable_objects_overview_panels")
    yield from (list_url(Operation), page_url(Operation, operation.pk), page_url(Operation, operation.pk, "history"))
    yield from (reverse("admin:durable_objects_operation_figures", args=[operation.pk]), f"{panels}?panel=people")


def told_on(client: Client, operation: Operation) -> list[str]:
    """The pages that tell of the object."""
    return [url for url in pages(operation) if "secret" in client.get(url).content.decode()]


def test_it_quotes_nothing_to_who_may_see_operations_only(operation: Operation) -> None:
    """Who holds the permission to view operations, and to view no object, reads no name, error or value in their words,
    failures and history; who may view entries and the class, or all alarms, does.
    """
    eve = staff(["durable_objects.view_operation"], "eve")
    assert told_on(eve, operation) == []
    page = text_of(eve, page_url(Operation, operation.pk))
    assert "Revive 1 alarm (of tests.Scripted, by name, with an error), by ada" in page
    assert "Selection" not in page
    assert "And 1 more." in page
    assert "with a text in a value" in text_of(eve, list_url(Operation))
    for name, permission in (("ann", "tests.view_scripted"), ("bob", "durable_objects.view_alarm")):
        page = text_of(staff(["durable_objects.view_operation", permission], name), page_url(Operation, operation.pk))
        assert "secret card" in page
        assert "no secret" in page


def test_it_quotes_nothing_that_the_admin_of_a_class_hides(operation: Operation, hides: None) -> None:
    """The same holds for who may view all alarms where the admin of the class shows them some objects only."""
    seen = ["view_operation", "change_operation", "view_alarm", "view_object", "view_entry"]
    vic = staff([f"durable_objects.{each}" for each in seen] + ["tests.view_scripted"])
    assert told_on(vic, operation) == []


@pytest.mark.parametrize(
    ("verb", "selection", "kinds", "is_told"),
    [
        ("revive", "class:tests.Scripted name:secret", None, True),
        ("revive", "class:tests.Grouped name:secret", None, False),
        ("flush", "name:secret", None, True),
        ("revive", "name:secret", [Scripted], True),
        ("revive", "name:secret", [Scripted, Grouped], False),
        ("revive", "name:secret", None, False),
    ],
)
def test_it_is_quoted_to_who_sees_all_objects_of_its_classes(
    verb: str, selection: str, kinds: list[type[DurableObject]] | None, is_told: bool
) -> None:
    """What is hidden of one class keeps no operation from a reader that is of others only: of the class selected, of
    the one that the verb is of, or of those that it was started for.
    """
    for model in (Scripted, Grouped, Batcher):
        model.objects.get_by_name("one").save()
    pks = None if kinds is None else [model.kind_pk() for model in kinds]
    row = bulk.start(verb, selection, by="ada", kinds=pks)
    vic = staff(["durable_objects.view_operation", "tests.view_scripted", "batcher.view_batcher"])
    assert (told_on(vic, row) != []) is is_told


def test_objects_without_their_class_are_seen_by_permission() -> None:
    """Of a class that this code does not have the permission to view it, which is still in the database, counts."""
    park()
    kind = ContentType.objects.get(app_label="ghost", model="phantom")
    Permission.objects.create(content_type=kind, codename="view_phantom", name="view")
    row = bulk.start("delete", "name:secret", by="ada")
    view = ["durable_objects.view_operation"]
    assert told_on(staff(view, "eve"), row) == []
    assert told_on(staff([*view, "ghost.view_phantom"], "ann"), row) != []


def test_what_cannot_be_read_any_more_is_for_who_may_view_entries(admin_client: Client) -> None:
    """An operation of a class that is gone, whose selection means nothing any more, may have been a search in storage:
    its words are quoted to nobody who may not view entries.
    """
    row = bulk.start("revive", "", by="ada")
    Operation.objects.update(selection="class:gone.Thing value:secret", words="with secret in a value")
    vic = staff(["durable_objects.view_operation", "durable_objects.view_alarm"])
    assert told_on(vic, row) == []
    assert "what is not shown" in text_of(vic, page_url(Operation, row.pk))
    assert "secret" in text_of(admin_client, page_url(Operation, row.pk))


def test_a_copy_for_a_reader_has_no_selection(operation: Operation, rf: RequestFactory) -> None:
    """Whatever shows the copy that a reader gets of an operation cannot show him its selection in passing."""
    request = rf.get("/")
    request.user = User.objects.create_user("eve", is_staff=True)
    assert for_reader(site, request, operation).selection == ""
    assert operation.selection != ""


def test_storage_that_was_searched_is_for_who_may_view_entries(operation: Operation) -> None:
    """An operation on what has a text in a value says the text to nobody who may not view entries."""
    row = Operation.objects.get(selection__startswith="value:")
    view = ["durable_objects.view_operation", "durable_objects.view_alarm"]
    assert "secret" not in staff(view).get(page_url(Operation, row.pk)).content.decode()
    ann = staff([*view, "durable_objects.view_entry"], "ann")
    assert "value:secret" in text_of(ann, page_url(Operation, row.pk))


def test_a_plan_shows_no_sample_of_what_may_not_be_seen(hides: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question before a plan names those objects only that the admin of their class shows, also where it lets its
    users act on all.
    """
    monkeypatch.setattr(site.get_model_admin(Scripted), "may_do_to_all", lambda request, permission: True)
    for prefix in ("secret", "own"):
        late_alarms(Scripted, 1, timedelta(hours=1), prefix=prefix)
    given = {f"place_{Scripted.kind_pk()}": "1", "rate": "10"}
    url = reverse("admin:durable_objects_operation_outage")
    page = words_of(staff(["tests.change_scripted"]).post(url, given).content.decode())
    assert "Drain 2 alarms" in page
    assert "own000000" in page
    assert "secret" not in page


def test_a_question_shows_no_sample_of_what_may_not_be_seen() -> None:
    """Who may delete objects of a class, and not view them, is told how many match, and no name or error, also not by
    the words of what he searched by.
    """
    dead_alarms(Grouped, 3, error=ERROR)
    vic, group = staff(["tests.delete_grouped"]), Alarm.objects.values_list("error_group", flat=True)[0]
    for words in ("state:dead", f"error:{group}"):
        page = text_of(vic, f"{START}?verb=delete&selection=class:tests.Grouped {words}")
        assert "Delete 3 objects" in page
        assert "n000000" not in page
        assert "secret" not in page
        assert "All of them" not in page
