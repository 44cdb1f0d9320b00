"""An instance is a handle: cheap, without a query, identified by class and name."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from durable_objects import DurableObjectError, InvalidName
from durable_objects.models import DurableObject, as_handle
from durable_objects.tables import Alarm, Entry, Object
from tests.models import Account, Counter, LoudCounter, Script, Scripted

pytestmark = pytest.mark.django_db

#: Built at import, before there is a database.
AT_IMPORT = Counter.objects.filter(name__startswith="im").order_by("name")


def test_getting_a_handle_makes_no_query_and_no_row() -> None:
    """``get_by_name`` and ``new_unique`` ask the database nothing; the row is made by the first turn that needs it."""
    with CaptureQueriesContext(connection) as queries:
        counter, unique = Counter.objects.get_by_name("a"), Counter.objects.new_unique()
        assert counter.pk is unique.pk is None
        assert (counter.name, len(unique.name), len({unique.name, Counter.objects.new_unique().name})) == ("a", 32, 2)
    assert len(queries) == 0
    assert not Object.objects.exists()
    counter.add()
    assert Object.objects.get().pk == counter.pk


def test_queryset_built_at_import_works() -> None:
    """A queryset that was made before the database finds what is there now."""
    Counter.objects.get_by_name("import").add()
    Counter.objects.get_by_name("other").add()
    assert [counter.name for counter in AT_IMPORT.all()] == ["import"]


def test_handles_are_equal_when_class_and_name_are() -> None:
    """Equality and hash go by class and name, with or without a row, also from a queryset, a copy or a pickle."""
    handle = Counter.objects.get_by_name("a")
    handle.add()
    found = Counter.objects.get()
    again = Counter.objects.get_by_name("a")
    assert handle == found == again == copy.copy(handle) == pickle.loads(pickle.dumps(handle))  # noqa: S301  its own
    assert {handle, found, again} == {handle}
    assert again != Counter.objects.get_by_name("b")
    assert again != Scripted.objects.get_by_name("a")
    assert again != LoudCounter.objects.get_by_name("a")
    assert again != "a"


def test_instances_from_querysets_are_handles() -> None:
    """What a queryset gives can be called like any other handle."""
    Counter.objects.get_by_name("a").add(4)
    assert [counter.add() for counter in Counter.objects.all()] == [5]
    assert Counter.objects.get(name="a").storage.get("count") == 5


def test_a_class_lists_exactly_its_own_objects(script: Script) -> None:
    """Objects of other classes, also of subclasses, are others, whatever their name."""
    for model in (Counter, LoudCounter, Account, Scripted):
        model.objects.get_by_name("same").storage.put("k", model.__name__)
    for model in (Counter, LoudCounter, Account, Scripted):
        [found] = model.objects.all()
        assert type(found) is model
        assert found.storage.get("k") == model.__name__
    assert Object.objects.count() == DurableObject.objects.count() == 4


@pytest.mark.parametrize("name", ["", "x" * 513, "a\0", "\ud800", None, 7, b"a"], ids=repr)
def test_bad_names_are_refused_and_make_no_row(name: Any) -> None:
    """However a handle with a bad name is made, no row comes of it."""
    with pytest.raises(InvalidName):
        Counter.objects.get_by_name(name)
    with pytest.raises(InvalidName):
        Counter(name=name).add()
    with pytest.raises(InvalidName):
        Counter.objects.create(name=name)
    assert not Object.objects.exists()


def test_longest_name_is_taken() -> None:
    """512 characters outside of ASCII are a name."""
    assert Counter.objects.get_by_name("\U0001f600" * 512).add() == 1


def test_base_class_has_no_objects_of_its_own() -> None:
    """A handle of ``DurableObject`` itself does nothing, rather than something to another object."""
    Counter.objects.get_by_name("a").add()
    with pytest.raises(DurableObjectError):
        DurableObject.objects.get_by_name("a")
    base = DurableObject.objects.get()
    for call in (base.delete, base.save, lambda: base.storage.put("k", 1), DurableObject.objects.all().delete):
        with pytest.raises(DurableObjectError, match="own class"):
            call()
    assert as_handle(Object.objects.get()) == Counter.objects.get_by_name("a")
    assert Counter.objects.get().storage.list() == {"count": 1}


def test_delete_takes_everything_and_the_name_can_be_used_again(script: Script) -> None:
    """``delete()`` removes object, storage, alarm and history together; the handle starts again from nothing."""
    obj, other = Scripted.objects.get_by_name("a"), Scripted.objects.get_by_name("b")
    for one in (obj, other):
        one.storage.put("k", 1)
        one.storage.set_alarm(timedelta(hours=1))
    obj.delete()
    assert [model.objects.count() for model in (Object, Entry, Alarm)] == [1, 1, 1]
    assert obj.storage.list() == {}
    assert obj.storage.get_alarm() is None
    obj.storage.put("k", 2)
    assert obj.storage.list() == {"k": 2}
    assert obj.pk is not None
    total, by_model = Scripted.objects.all().delete()
    assert total == sum(by_model.values())
    assert [model.objects.count() for model in (Object, Entry, Alarm)] == [0, 0, 0]


def test_stale_save_overwrites_nothing_engine_made(script: Script) -> None:
    """``save()`` of an instance from before others' calls stores own fields alone: no storage, alarm or name."""
    stale, plain = Account.objects.get_by_name("ann"), Scripted.objects.get_by_name("ann")
    stale.deposit(1)
    plain.storage.put("k", 0)
    old, old_plain = Account.objects.get(), Scripted.objects.get()
    Account.objects.get_by_name("ann").storage.put("k", 1)
    Scripted.objects.get_by_name("ann").storage.put("k", 1)
    Scripted.objects.get_by_name("ann").storage.set_alarm(timedelta(hours=1))
    before = [list(model.objects.order_by("pk").values()) for model in (Object, Entry, Alarm)]
    old.owner = "ann"
    for handle in (old, old_plain, Scripted.objects.get_by_name("ann")):
        handle.save()
    assert [list(model.objects.order_by("pk").values()) for model in (Object, Entry, Alarm)] == before
    assert Account.objects.get().owner == "ann"


def test_own_fields_are_read_again_under_the_lock() -> None:
    """A subclass with a table of its own sees in each turn what others saved, and its row comes with the object's."""
    ann, again = Account.objects.get_by_name("ann"), Account.objects.get_by_name("ann")
    assert (ann.deposit(5), again.deposit(5), ann.deposit(1)) == (5, 10, 11)
    assert (Account.objects.get().balance, Account.objects.get().owner) == (11, "nobody")
    assert Account.objects.filter(balance__gt=10).get() == ann

    def nested() -> int:
        other = Account.objects.get_by_name("ann")
        other.deposit(100)
        return ann.deposit(0)

    assert Account.objects.get_by_name("ann").run_exclusive(nested) == 111


def test_failing_turn_leaves_own_fields_as_they_were() -> None:
    """What a turn that raises had saved of its own fields is undone with it."""
    ann = Account.objects.get_by_name("ann")
    ann.deposit(5)

    def fail() -> None:
        ann.deposit(5)
        raise KeyError

    with pytest.raises(KeyError):
        ann.run_exclusive(fail)
    assert ann.deposit(0) == 5


def test_object_with_own_fields_can_be_created_the_django_way() -> None:
    """``create`` and ``save`` of a new instance make the object with the fields that were given."""
    Account.objects.create(name="ann", owner="Ann", balance=3)
    Account(name="bob", owner="Bob").save()
    assert [(one.name, one.owner, one.balance) for one in Account.objects.order_by("name")] == [
        ("ann", "Ann", 3),
        ("bob", "Bob", 0),
    ]
    Account.objects.get(name="ann").delete()
    assert Object.objects.count() == Account.objects.count() == 1


def test_another_instance_learns_its_key_by_storage_alone() -> None:
    """Inside a turn of the first, a second one that only writes to its storage has its primary key from then on."""
    first, second = Counter.objects.get_by_name("a"), Counter.objects.get_by_name("a")

    def write() -> None:
        second.storage.put("k", 1)
        assert second.pk == first.pk is not None

    first.run_exclusive(write)
