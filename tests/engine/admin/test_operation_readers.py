"""What an operation and a plan say of objects is for those only who may see these objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from durable_objects.admin import DurableObjectAdmin
from durable_objects.operations import bulk
from durable_objects.tables import Alarm, Object, Operation
from tests.admin_urls import site
from tests.models import Grouped, Scripted
from tests.support.admin_pages import list_url, page_url, staff, text_of
from tests.support.many_alarms import dead_alarms

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


def test_storage_that_was_searched_is_for_who_may_view_entries(operation: Operation) -> None:
    """An operation on what has a text in a value says the text to nobody who may not view entries."""
    row = Operation.objects.get(selection__startswith="value:")
    view = ["durable_objects.view_operation", "durable_objects.view_alarm"]
    assert "secret" not in staff(view).get(page_url(Operation, row.pk)).content.decode()
    ann = staff([*view, "durable_objects.view_entry"], "ann")
    assert "value:secret" in text_of(ann, page_url(Operation, row.pk))


def test_a_question_shows_no_sample_of_what_may_not_be_seen() -> None:
    """Who may delete objects of a class, and not view them, is told how many match, and no name or error."""
    dead_alarms(Grouped, 3, error=ERROR)
    page = text_of(staff(["tests.delete_grouped"]), f"{START}?verb=delete&selection=class:tests.Grouped state:dead")
    assert "Delete 3 objects" in page
    assert "n000000" not in page
    assert "secret" not in page
