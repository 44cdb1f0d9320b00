"""The own fields of a class with a table, by several instances of one object: no update is lost, none comes twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connections, models
from django.test import Client
from django.urls import reverse

from durable_objects import AlarmInfo
from durable_objects.admin import DurableObjectAdmin
from durable_objects.execution.executor import fire
from durable_objects.models import DurableObject, ObjectQuerySet
from durable_objects.operations import dump
from durable_objects.tables import Object
from durable_objects.testing import FakeClock
from tests.models import Account, Corner, Note, Scripted, Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann() -> Account:
    """An object that was used."""
    account = Account.objects.get_by_name("ann")
    account.deposit(0)
    return account


def same(account: Account) -> Account:
    """Another instance of it."""
    return Account.objects.get_by_name(account.name)


def by_calls(account: Account) -> None:
    """Each by a call."""
    same(account).deposit(5)
    account.deposit(5)


def by_hand(account: Account) -> None:
    """One sets its field itself, between two calls of the other."""
    other = same(account)
    other.deposit(2)
    account.balance += 5
    account.save()
    other.deposit(3)


def in_a_block(account: Account) -> None:
    """What was undone does not count, by whichever instance."""
    other = same(account)

    def undone(one: Account) -> None:
        with account.storage.transaction():
            one.deposit(100)
            raise LookupError

    for one in (other, account):
        with pytest.raises(LookupError):
            undone(one)
    account.deposit(5)
    other.deposit(5)


def not_deleted(account: Account) -> None:
    """A deletion that was undone leaves the object, which goes on."""
    other = same(account)
    other.deposit(5)

    def undone() -> None:
        with account.storage.transaction():
            account.delete()
            raise LookupError

    with pytest.raises(LookupError):
        undone()
    account.deposit(5)


def by_the_queryset(account: Account) -> None:
    """A queryset's update in between."""
    Account.objects.filter(name=account.name).update(balance=models.F("balance") + 5)
    account.deposit(5)


@pytest.mark.parametrize("change", [by_calls, by_hand, in_a_block, not_deleted, by_the_queryset])
def test_updates_in_one_turn_add_up(ann: Account, change: Callable[[Account], None]) -> None:
    """Every instance goes on from what any of them stored: ten in all."""
    ann.run_exclusive(lambda: change(ann))
    assert (ann.balance, Account.objects.get().balance) == (10, 10)


def test_field_that_is_not_saved_yet_is_kept(ann: Account) -> None:
    """Another instance's save does not take away what this one set in another field."""

    def call() -> None:
        ann.owner = "ann"
        same(ann).deposit(7)
        ann.save()

    ann.run_exclusive(call)
    assert Account.objects.values_list("owner", "balance").get() == ("ann", 7)


def in_another_thread(call: Callable[[], object]) -> None:
    """Done by another caller, by the time this returns."""

    def run() -> None:
        try:
            call()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.django_db(transaction=True)
def test_every_instance_reads_again_after_an_unlock() -> None:
    """What others committed meanwhile is there for the instance that joined, and for the one that opened the turn."""
    ann = Account.objects.get_by_name("ann")
    joined = same(ann)

    def inner() -> None:
        with joined.unlocked():
            in_another_thread(lambda: same(ann).deposit(100))
        joined.balance += 1
        joined.save()

    def outer() -> int:
        joined.run_exclusive(inner)
        return ann.balance

    assert ann.run_exclusive(outer) == 101
    assert Account.objects.get().balance == 101


def test_related_instance_goes_with_its_key() -> None:
    """Once another owner is stored, the one that was kept is not given any more; the one that is saved is."""
    ann, bob = Note.objects.create(text="ann"), Note.objects.create(text="bob")
    shop = Shop.objects.create(name="x", owner=ann, size=1)
    assert shop.owner is ann
    other = Shop.objects.get_by_name("x")
    other.grow(0)
    other.owner = bob
    other.save()
    assert other.owner is bob
    shop.grow(1)
    assert (shop.owner_id, shop.owner) == (bob.pk, bob)
    Note.objects.filter(text="bob").update(text="robert")
    shop.grow(1)
    assert shop.owner.text == "robert"


def test_row_beside_the_object_is_asked_for_again(clock: FakeClock, obj: Scripted) -> None:
    """A one-to-one row that an instance has looked at is not kept from one turn to the next."""
    obj.storage.set_alarm(timedelta(hours=1))
    first = obj.alarm_row.due_at
    assert first is not None
    Scripted.objects.get_by_name(obj.name).storage.set_alarm(timedelta(hours=2))
    assert obj.run_exclusive(lambda: obj.alarm_row.due_at) == first + timedelta(hours=1)


def test_fields_of_a_failed_handler_are_undone_for_what_follows(ann: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """``alarm_died()`` sees what is stored, not what the handler had saved before it raised."""

    def alarm(self: Account, info: AlarmInfo) -> None:
        self.deposit(100)
        raise LookupError

    def alarm_died(self: Account, info: AlarmInfo, error: BaseException) -> None:
        self.balance += 10
        self.save()

    monkeypatch.setattr(Account, "alarm", alarm)
    monkeypatch.setattr(Account, "alarm_died", alarm_died)
    monkeypatch.setattr(Account, "alarm_max_retries", 0)
    ann.storage.set_alarm(timedelta(0))
    fire(ann.pk)
    assert Account.objects.get().balance == 10


def test_create_of_one_that_is_there_is_refused(ann: Account) -> None:
    """As of any row of that key; nothing of what is stored is touched."""
    ann.deposit(9)
    with pytest.raises(IntegrityError, match=r"tests\.Account 'ann' has a row already"):
        Account.objects.create(name="ann", balance=1)
    with pytest.raises(IntegrityError):
        ann.run_exclusive(lambda: Account(name="ann").save(force_insert=True))
    assert Account.objects.get().balance == 9


@pytest.mark.parametrize("ask", ["get_or_create", "update_or_create"])
def test_one_that_comes_in_between_is_got(ask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by another caller after it was looked for: that one is answered, with what it has."""
    get = ObjectQuerySet.get

    def late(rows: ObjectQuerySet[Any], *args: Any, **named: Any) -> DurableObject:
        try:
            found: DurableObject = get(rows, *args, **named)
        except Account.DoesNotExist:
            Account.objects.get_by_name("ann").deposit(100)
            raise
        return found

    monkeypatch.setattr(ObjectQuerySet, "get", late)
    got, made = getattr(Account.objects, ask)(name="ann", defaults={"owner": "ann"})
    assert (got.balance, made) == (100, False)
    assert Account.objects.values_list("owner", "balance").get() == ("ann" if ask[0] == "u" else "nobody", 100)


@pytest.mark.urls("tests.admin_urls")
def test_one_that_comes_in_between_is_kept_by_admin(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Added in admin, by a name that was free when it was looked for, an object keeps what it has by then."""
    save_form = DurableObjectAdmin.save_form

    def late(page: Any, request: Any, form: Any, change: bool) -> Any:
        Account.objects.get_by_name("ann").deposit(100)
        return save_form(page, request, form, change)

    monkeypatch.setattr(DurableObjectAdmin, "save_form", late)
    assert admin_client.post(reverse("admin:tests_account_add"), {"name": "ann"}).status_code == 302
    assert Account.objects.get().balance == 100


def test_import_takes_one_that_has_fields_only_for_one_that_is_there(ann: Account) -> None:
    """Without ``replace`` nothing of it is overwritten, though its storage is empty."""
    lines = list(dump.dump(Object.objects.all()))
    ann.deposit(100)
    assert [each.outcome for each in dump.load(lines)] == ["exists"]
    assert Account.objects.get().balance == 100
    assert [each.outcome for each in dump.load(lines, replace=True)] == ["imported"]
    assert Account.objects.get().balance == 0


def test_create_where_only_the_fields_are_missing() -> None:
    """An object that has no row of its class yet, as of one whose class had no table before, gets it."""
    shop = Shop.objects.create(name="x", owner=Note.objects.create(text="ann"), size=1)
    Shop._base_manager.filter(pk=shop.pk)._raw_delete("default")
    made = Shop.objects.create(name="x", owner=shop.owner, size=2)
    assert (made.pk, Shop.objects.get().size) == (shop.pk, 2)


def test_proxy_of_a_class_with_a_table() -> None:
    """A class of objects of its own, whose fields are in the table of the class that it is a proxy of."""
    corner = Corner.objects.create(name="x", owner=Note.objects.create(text="ann"), size=1)
    assert (corner.grow(2), corner.rank) == (3, 7)
    assert (Corner.objects.get().size, Shop.objects.count()) == (3, 0)
    corner.delete()
    assert not Corner.objects.exists()
