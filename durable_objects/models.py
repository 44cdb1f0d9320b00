"""``DurableObject``, what users subclass, and its manager."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, Self, TypeVar, cast

from django.db import models, transaction
from django.db.models.base import ModelBase

from durable_objects import class_attributes, decorators, events, kinds
from durable_objects.alarms.backoff import ALARM_MAX_RETRIES, AlarmInfo
from durable_objects.alarms.declarations import Declaration, declarations_of
from durable_objects.class_attributes import Backoff
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.errors import own_statements
from durable_objects.entries.serializer import decode
from durable_objects.errors import AlarmHandlerMissing, CannotUnlock, DurableObjectError, InvalidName
from durable_objects.plain_functions import flaw_of
from durable_objects.schedules import Schedules
from durable_objects.storage import Storage
from durable_objects.tables import Alarm, AlarmRun, Dispatcher, Entry, Object, RowManager
from durable_objects.turns import async_calls, bulk, calls, combining, lock, read_ahead, subclass_fields
from durable_objects.turns.calls import current, enter, mark_fields_stale
from durable_objects.turns.handle import shown
from durable_objects.validation import check_name

__all__ = [
    "Alarm", "AlarmRun", "Dispatcher", "DurableObject", "Entry", "Object", "ObjectManager", "ObjectQuerySet", "Storage",
    "as_handle", "decode",
]  # fmt: skip

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Model = TypeVar("Model", bound="DurableObject")
Row = TypeVar("Row", bound=models.Model)


def _engines(alias: str | None) -> str:
    if alias not in {None, engine.DATABASE}:
        raise DurableObjectError(
            f'durable objects are in the database {engine.DATABASE!r} (DURABLE_OBJECTS["DATABASE"]), not in {alias!r}'
        )
    return str(engine.DATABASE)


class ObjectQuerySet(models.QuerySet[Model]):
    """Handles of one class. Iterating reads which objects have rows; it locks nothing.

    They are in the engine's database, whatever a router says, and in no other.
    """

    def using(self, alias: str | None) -> Self:
        """Return itself for the engine's database; raise ``DurableObjectError`` for another one."""
        return super().using(_engines(alias))

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the objects with storage and alarms, in one transaction; each is a turn (see ``DurableObject``)."""
        total = 0
        by_model: dict[str, int] = {}
        with transaction.atomic(using=engine.DATABASE):
            for handle in self.order_by("pk"):
                count, counts = handle.delete()
                total += count
                by_model = {label: by_model.get(label, 0) + counts.get(label, 0) for label in by_model | counts}
        return total, by_model

    def update(self, **values: Any) -> int:
        """Update as Django does, without a turn; open turns see new values of own fields at their next call.

        Raises ``DurableObjectError`` for class and name, which are what an object is.
        """
        if fixed := sorted({"name", "kind", "kind_id", "id", "pk"} & values.keys()):
            raise DurableObjectError(
                f"update({', '.join(fixed)}=…) would leave behind whoever has this object by its class and name. Make "
                "another one; `manage.py objects export` and `import` take its storage and alarm along."
            )
        changed = super().update(**values)
        mark_fields_stale()
        return changed

    update.alters_data = True  # type: ignore[attr-defined]  # likewise

    def bulk_create(self, objs: Iterable[Model], *args: Any, **kwargs: Any) -> list[Model]:
        """Raise ``DurableObjectError``: each object is made by a turn of its own."""
        raise DurableObjectError(
            "bulk_create() makes no durable objects: the first turn of each does, save() or create() as well; "
            "set_alarms() makes many in one transaction"
        )

    delete.alters_data = True  # type: ignore[attr-defined]  # as Django marks its own: templates must not call it
    delete.queryset_only = True  # type: ignore[attr-defined]  # likewise: no manager method


class ObjectManager(RowManager[Model]):
    """Finds objects by name. Building a handle or a queryset makes no query."""

    def get_queryset(self) -> ObjectQuerySet[Model]:
        """Return exactly the objects of this class, not of its subclasses."""
        rows: ObjectQuerySet[Model] = ObjectQuerySet(self.model, using=_engines(self._db))
        if self.model.is_base():
            return rows
        return rows.filter(kind=kinds.Key(self.model._meta.app_label, str(self.model._meta.model_name)))

    def get_by_name(self, name: str) -> Model:
        """Return the object of this name, whether it was ever used or not (DO-86).

        No query; its first turn makes the row. Raises ``InvalidName``.
        """
        return self.model.by_name(name)

    def set_alarms(self, times: Mapping[str, datetime | timedelta]) -> None:
        """Set the alarms of the objects of these names, as ``storage.set_alarm`` does, thousands in a second.

        In transactions of 1,000 objects each, so an error in the middle leaves some set; inside the caller's own
        ``atomic()`` all or none. Raises as ``set_alarm``, and ``InvalidName``, before anything is set.
        """
        bulk.set_alarms(self.model.by_name, times)

    aset_alarms = async_calls.awaited(set_alarms)

    def call_each(self, name: str, calls: Iterable[Callable[[Model], Result]]) -> list[Result | Exception]:
        """Make these calls on the object of this name, in order, and return what each returned, or raised.

        For one thread that acts for many callers: the calls share turns, one lock and one commit for up to 64, as
        ``run_combined`` does for the calls of many threads. Each gets an instance of its own and undoes its own work
        when it raises. Call it outside of any transaction. Raises ``InvalidName``.
        """
        key = self.get_by_name(name).key
        return combining.answers(key, [(self.get_by_name(name), call) for call in calls])

    def new_unique(self) -> Model:
        """Return a fresh object with a random name of 32 hex digits (DO-83). No query."""
        return self.model.by_name(secrets.token_hex(16))


class DurableObject(Object):
    """A named object with transactional storage, one alarm and any number of named schedules.

    Subclass it with ``class Meta: proxy = True``.

    An instance is a handle: cheap, without a query, equal to any other of the same class and name, free to be shared
    by threads. ``pk`` is None until a turn of this instance has found or made the row.
    """

    #: Failed runs after which no retry comes.
    alarm_max_retries: ClassVar[int] = ALARM_MAX_RETRIES
    #: When retries come. None: 2, 4, 8 … seconds after each failure, at most 600. A list or tuple of timedeltas, the
    #: last of which repeats. Or a function (a ``staticmethod``) of the number of failed runs, from 1, that returns one;
    #: when it raises, or returns something else, that is logged, and the retry comes as with None.
    alarm_backoff: ClassVar[Backoff | None] = None
    #: Adds up to this fraction of the delay to it, at random: 0.25 for at most a quarter.
    alarm_jitter: ClassVar[float] = 0
    #: A run that lasts longer counts as failed (DO-51).
    alarm_time_limit: ClassVar[timedelta] = timedelta(minutes=15)
    #: Keys whose values admin and commands do not show, as shell patterns: ``("token", "secret:*")``.
    masked_keys: ClassVar[Sequence[str]] = ()

    #: At most this many of the class's alarms run at a time, over all workers; None: as many as come.
    alarm_concurrency: ClassVar[int | None] = None
    #: At most this many of them start in a second, which may be a fraction: 0.5 is one every two seconds.
    alarm_rate: ClassVar[float | None] = None

    #: Says that ``alarm()`` touches storage and models only. Such alarms that are due at the same time may run in one
    #: transaction, many times faster; one that raises, unlocks or calls another object is run again alone.
    alarm_groups: ClassVar[bool] = False

    #: What its turns read anyway, to come with the lock, a round trip less for each: keys of the storage and, in turns
    #: that calls share, models as ``row_of`` takes them.
    read_ahead: ClassVar[tuple[str | type[models.Model], ...]] = ()

    objects: ClassVar[ObjectManager[Self]] = ObjectManager()

    if not TYPE_CHECKING:  # Django takes it off the class: the Meta of a subclass overrides nothing

        class Meta:
            proxy = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        flaw = flaw_of(cls) or decorators.flaw_of(cls)
        if flaw is not None:
            raise TypeError(flaw)
        class_attributes.refuse_flaw(cls)
        declarations_of(cls)

    # -- for subclasses to override

    def initialize(self) -> None:
        """Runs under the lock at the start of every outermost turn, and again after each ``unlocked()``."""

    def alarm(self, info: AlarmInfo) -> None:
        """Runs when the alarm is due, in a turn: at least once, never early, one run at a time per object.

        When it raises, everything since its last ``unlocked()`` is undone, its own ``set_alarm`` and ``delete_alarm``
        are dropped, and it is retried after 2, 4, 8 … seconds, ``alarm_max_retries`` times; or as ``alarm_backoff``
        says. ``GiveUp`` and ``Snooze`` are for raising on purpose: no retry, or another run later.
        """
        raise AlarmHandlerMissing(f"{self.key[0]} {self.name!r} was woken, but its class has no alarm()")

    def alarm_died(self, info: AlarmInfo, error: BaseException) -> None:
        """Runs when the last allowed run has failed, in the transaction that marks the alarm dead.

        Setting an alarm here keeps the object going. What this raises is logged and undone; the alarm stays dead.
        """

    # -- for users

    @property
    def storage(self) -> Storage:
        """Keys, values and the alarm of this object."""
        return Storage(self)

    @property
    def schedules(self) -> Schedules:
        """The named schedules of this object: which of its methods is called when."""
        return Schedules(self)

    @property
    def in_turn(self) -> bool:
        """Whether this thread is in a turn of this object; False inside ``unlocked()``."""
        return current(self) is not None

    @contextmanager
    def unlocked(self) -> Iterator[None]:
        """Commit what is done so far and release the lock on the object: the place for slow work outside.

        Afterwards the object is locked again and ``initialize()`` runs. Raises ``RunSuperseded`` when another run has
        taken over meanwhile or the object was deleted, and ``CannotUnlock`` inside a transaction that would stay open.
        """
        turn = current(self)
        if turn is None:
            raise CannotUnlock(f"{shown(self.key)}: unlocked() outside of a turn, where nothing is locked")
        with turn.unlocked():
            yield

    def run_exclusive(self, call: Callable[[], Result]) -> Result:
        """Call in a turn of this object: what ``@exclusive`` does. Raises ``ObjectBusy``, ``IsolationNotSupported``."""
        return calls.run(self, call)

    def run_combined(self, call: Callable[[], Result]) -> Result:
        """Call in a turn that other threads' calls may share: what ``@exclusive(combine=True)`` does."""
        answer: Result = combining.run(self, call)
        return answer

    async def acall(
        self,
        method: Callable[Concatenate[Self, Parameters], Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Call a method of the class from async code: ``await cart.acall(Cart.add, "tea")`` is ``cart.add("tea")``.

        It runs in the thread of Django's own async methods; calls of ``@exclusive(combine=True)`` wait without a
        thread, and share turns. Any plain function that takes the object first will do, for several steps in one go.
        Raises what the method raises, and ``TypeError`` for an ``async def`` or a method of an object (``cart.add``).

        A call that is cancelled before a thread has begun it is not made. One that has begun goes on to its end, and
        commits all or nothing; whoever has cancelled does not see which.
        """
        return await async_calls.run_method(self, method, *args, **kwargs)

    def row_of(self, model: type[Row]) -> Row | None:
        """Return this object's row in a model whose primary key is a one-to-one to it; None where there is none.

        By a query; but where calls share a turn and ``read_ahead`` names the model, one instance for all of them, as
        read with the lock: for what ``@exclusive(combine=True)`` methods look at and none of them changes.
        """
        turn = current(self)
        known, row = turn.row_of(model) if turn is not None else (False, None)
        return cast("Row | None", row) if known else read_ahead.ask(model, self, self.pk)

    def save(
        self,
        force_insert: bool | tuple[ModelBase, ...] = False,
        *args: Any,
        update_fields: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Store this subclass's own fields, or those named, in a turn; a proxy has none, so this only makes the row.

        What Django or the database fills in (``auto_now``, ``db_default``, a generated field) is read back. With
        ``force_insert``, as ``create()`` asks, an object whose fields are stored already raises ``IntegrityError``.
        """
        given = subclass_fields.given(self, update_fields)

        def store() -> None:
            subclass_fields.store(self, pending, only_new=bool(force_insert))
            if given and (turn := current(self)) is not None:
                turn.saved(self)

        with subclass_fields.pending(self, given) as pending:
            self.run_exclusive(store)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the object with its storage, alarm and history, in a turn. A run in progress is fenced.

        What refuses it (``ProtectedError``, a receiver of ``pre_delete``) leaves object and turn as they were.
        """

        def remove() -> tuple[int, dict[str, int]]:
            with enter(self) as turn, turn.deleting(), own_statements(clock.connection()):
                deleted = models.Model.delete(self, using=engine.DATABASE)
                events.object_deleted(turn.conn, self, type(self))
                return deleted

        never_used = current(self) is None and lock.find(clock.connection(), self.kind_pk(), self.name) is None
        return (0, {}) if never_used else self.run_exclusive(remove)

    # -- for the engine

    @classmethod
    def is_base(cls) -> bool:
        """Return whether this is ``DurableObject`` itself, which is no kind of object."""
        return cls is DurableObject

    @classmethod
    def by_name(cls, name: str) -> Self:
        """Return a handle of this class. Raises ``InvalidName``."""
        if cls.is_base():
            raise DurableObjectError("DurableObject itself has no objects: call get_by_name on a subclass's manager")
        return cls._handle(check_name(name))

    @classmethod
    def _handle(cls, name: str | None) -> Self:
        if cls._meta.concrete_model is Object:  # by place, where the places are known: a third of the time
            return cls(None, None, name)
        return cls(name=name)

    @staticmethod
    def by_kind(kind_id: int, name: str | None = None) -> DurableObject | None:
        """Return a handle of this content type's class, without a name for a turn by ``object_id``; None if this code
        has no such class, or for a bad name.
        """
        model, handle = kinds.class_by_pk(kind_id), None
        with suppress(InvalidName):
            if model is not None and issubclass(model, DurableObject):
                # Without a name until the lock has read it.
                handle = model._handle(None) if name is None else model.by_name(name)
        return handle

    @classmethod
    def has_alarm_handler(cls) -> bool:
        """Return whether the class overrides ``alarm()``."""
        return cls.alarm is not DurableObject.alarm

    @classmethod
    def has_initialize(cls) -> bool:
        """Return whether the class overrides ``initialize()``."""
        return cls.initialize is not DurableObject.initialize

    @classmethod
    def kind_pk(cls) -> int:
        """Return the primary key of the class's content type: looked up, created only while ``migrate`` runs."""
        if cls.is_base():
            raise DurableObjectError("DurableObject itself has no objects: get this one from its own class's manager")
        return kinds.pk_of(cls._meta.app_label, str(cls._meta.model_name))

    @property
    def key(self) -> tuple[str, str]:
        """Class label and name: what tells this object from every other."""
        return self._meta.label, self.name

    @property
    def declared_schedules(self) -> tuple[Declaration, ...]:
        """The schedules that its class declares: by ``@every``, ``@cron``."""
        return tuple(each for each in declarations_of(type(self)) if each.of in {None, self.name})

    def admitted(self, object_id: int) -> None:
        """Take over the primary key, read own fields again: called by the turn, under the lock."""
        self.pk = self.id = object_id
        self._state.adding, self._state.db = False, engine.DATABASE
        subclass_fields.forget_related(self)
        if subclass_fields.own_fields(type(self)):
            with own_statements(clock.connection()):
                subclass_fields.read(self, object_id)

    def follow(self, other: DurableObject, *, keep_unsaved: bool) -> None:
        """Take over what another instance of this object has just read, or saved: called by the turn."""
        self.pk = self.id = other.pk
        subclass_fields.follow(self, other, keep_unsaved=keep_unsaved)

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, DurableObject) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)


def as_handle(row: Object) -> DurableObject | None:
    """Return a row of ``Object`` as an instance of its own class; None when this code has no such class (a parked
    object) or no object can have its name, which was written past the engine.
    """
    return DurableObject.by_kind(row.kind_id, row.name)
