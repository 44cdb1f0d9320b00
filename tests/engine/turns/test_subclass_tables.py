"""Subclasses with a table: Django's fields work in them, and what cannot be is refused with a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models
from django.test import Client
from django.test.utils import isolate_apps

from durable_objects import InvalidInput, checks
from durable_objects.checks import check_classes
from durable_objects.models import DurableObject
from durable_objects.operations import dump
from durable_objects.tables import Object
from tests.models import Account, Branch, Kiosk, Note, Shop
from tests.support.admin_pages import page_url

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann() -> Note:
    """An owner."""
    return Note.objects.create(text="ann")


def test_create_makes_the_object_with_its_row(ann: Note) -> None:
    """Required values come by ``create()``; what Django and the database fill in is there at once."""
    shop = Shop.objects.create(name="x", owner=ann, size=3)
    assert (shop.owner_id, shop.size, shop.double, shop.rank, len(shop.code)) == (ann.pk, 3, 6, 7, 16)
    assert shop.opened_at is not None
    assert (Shop.objects.get().pk, Object.objects.get().pk) == (shop.pk, shop.pk)
    again = Shop.objects.get_by_name("x")
    assert again.grow(2) == 5
    assert (again.double, again.code, again.opened_at) == (10, shop.code, shop.opened_at)
    assert again.changed_at > shop.changed_at
    assert Shop.objects.get().double == 10


def test_object_without_a_required_value_says_which_and_how() -> None:
    """A call on an object that was never made names the fields, and leaves nothing behind."""
    with pytest.raises(InvalidInput, match=r"without owner, size.*Shop\.objects\.create\(name='x', owner=…, size=…\)"):
        Shop.objects.get_by_name("x").grow(1)
    with pytest.raises(InvalidInput, match="without size"):
        Shop.objects.create(name="x", owner=Note.objects.create(text="bob"))
    assert not Object.objects.exists()


def test_made_by_managers_of_every_kind(ann: Note) -> None:
    """Related managers, get_or_create and update_or_create make objects as create does."""
    one = ann.shops.create(name="one", size=1)
    two, made = Shop.objects.get_or_create(name="two", defaults={"owner": ann, "size": 2})
    assert (made, Shop.objects.get_or_create(name="two", defaults={"owner": ann, "size": 9})) == (True, (two, False))
    three, made = Shop.objects.update_or_create(name="two", defaults={"size": 4}, create_defaults={"size": 1})
    assert (three, made, three.size, three.owner) == (two, False, 4, ann)
    assert list(ann.shops.order_by("size")) == [one, two]
    one.friends.add(ann)
    assert list(one.friends.all()) == [ann]


def test_save_of_some_fields_leaves_the_others(ann: Note) -> None:
    """``update_fields`` are those that are stored, and no other name is taken."""
    shop = Shop.objects.create(name="x", owner=ann, size=3)
    stale = Shop.objects.get()
    shop.grow(4)
    stale.size, stale.rank = 100, 8
    stale.save(update_fields=["rank"])
    stored = Shop.objects.get()
    assert (stored.size, stored.rank, stale.size) == (7, 8, 7)
    with pytest.raises(InvalidInput, match="no field of its own named sice"):
        stale.save(update_fields=["sice"])  # type: ignore[misc]  # that is the point
    with pytest.raises(InvalidInput, match="double"):
        stale.save(update_fields=["double"])


def test_saved_handle_keeps_when_it_was_made() -> None:
    """A fresh instance of an object that exists does not know the moment, and does not take it away."""
    first = Kiosk.objects.create(name="x", note="a")
    Kiosk(name="x", note="b").save()
    kiosk = Kiosk.objects.get()
    assert (kiosk.note, kiosk.made_at) == ("b", first.made_at)


def test_expression_is_stored_and_its_result_read_back() -> None:
    """``F()`` works as in Django."""
    account = Account.objects.create(name="x", balance=3)
    account.balance = models.F("balance") + 4
    account.save()
    assert account.balance == Account.objects.get().balance == 7


def test_subclass_of_a_subclass_with_a_table(ann: Note) -> None:
    """A row in each of its tables, made and read as one; it is no object of its base's class."""
    branch = Branch.objects.create(name="x", owner=ann, size=3, city="Rome")
    assert (branch.double, branch.city) == (6, "Rome")
    assert branch.opened_on is not None
    again = Branch.objects.get_by_name("x")
    assert again.grow(1) == 4
    assert (Branch.objects.get().size, Branch.objects.get().city) == (4, "Rome")
    assert not Shop.objects.exists()
    again.delete()
    with connection.cursor() as cursor:
        for table in (Branch._meta.db_table, Shop._meta.db_table, Object._meta.db_table):
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone() == (0,)


def test_unique_value_that_is_taken_makes_nothing(ann: Note) -> None:
    """The database's refusal is the caller's, as in Django, and the object is not made."""
    Shop.objects.create(name="x", owner=ann, size=3, code="same")
    with pytest.raises(IntegrityError):
        Shop.objects.create(name="y", owner=ann, size=3, code="same")
    assert [one.name for one in Shop.objects.all()] == ["x"]


def test_validation_is_asked_for_as_in_django(ann: Note) -> None:
    """``full_clean()`` looks at the class's own fields."""
    with pytest.raises(ValidationError, match="size"):
        Shop(name="x", owner=ann).full_clean(exclude=["kind"])


def test_refresh_from_db_reads_what_is_stored(ann: Note) -> None:
    """As in Django, generated fields too."""
    shop = Shop.objects.create(name="x", owner=ann, size=3)
    Shop.objects.get_by_name("x").grow(1)
    shop.refresh_from_db()
    assert (shop.size, shop.double) == (4, 8)


def test_alarms_of_many_make_their_rows(ann: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    """``set_alarms`` makes rows of classes with a table as well."""
    monkeypatch.setattr(Kiosk, "alarm", lambda self, info: None)
    Kiosk.objects.set_alarms({"a": timedelta(hours=1), "b": timedelta(hours=1)})
    assert Kiosk.objects.count() == 2


def test_exported_and_imported(ann: Note) -> None:
    """An object with required fields comes back with all of them."""
    shop = Shop.objects.create(name="x", owner=ann, size=3, rank=9)
    lines = list(dump.dump(Object.objects.all()))
    shop.delete()
    list(dump.load(lines))
    again = Shop.objects.get()
    assert (again.name, again.owner, again.size, again.double, again.rank) == ("x", ann, 3, 6, 9)
    assert (again.code, again.opened_at) == (shop.code, shop.opened_at)


@pytest.mark.urls("tests.admin_urls")
def test_admin_shows_what_is_filled_in_and_changes_the_rest(ann: Note, admin_client: Client) -> None:
    """Fields that nobody may edit are shown; the others are saved."""
    shop = Shop.objects.create(name="x", owner=ann, size=3)
    url = page_url(Shop, shop.pk)
    assert admin_client.get(url).status_code == 200
    values = {"owner": ann.pk, "size": "8", "code": "c", "rank": "1", "friends": []}
    assert admin_client.post(url, values).status_code == 302
    assert Shop.objects.values_list("size", "double", "code").get() == (8, 16, "c")


@isolate_apps("tests")
def test_primary_key_of_ones_own_is_refused() -> None:
    """The check names it: objects are locked by the engine's key."""

    class Own(DurableObject):
        code: Any = models.CharField(max_length=5, primary_key=True)

        class Meta:
            app_label = "tests"

    assert [message.id for message in checks._check_form(Own)] == ["durable_objects.E020"]
    assert check_classes(None) == []
