"""What operations do, in the admin's log: an entry for each object, and one for the operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import router, transaction
from django.db.models import Q

from durable_objects.conf import engine
from durable_objects.kinds import content_types
from durable_objects.operations import bulk_verbs
from durable_objects.tables import Operation


class Done(NamedTuple):
    """An object that something was done to, and what, where the verb says more of it."""

    kind_id: int
    object_id: int
    name: str
    what: str


#: The entries that operations write of each object, by how their text ends.
OF_OPERATIONS = Q(change_message__contains=" (operation ", change_message__endswith=").")


class Log:
    """Writes for the user who asked for an operation; nothing where a command did, or the user is gone."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._users: Any = get_user_model()._default_manager
        is_kept = operation.user and apps.is_installed("django.contrib.admin")
        self._user = operation.user if is_kept and self._users.filter(pk=operation.user).exists() else None

    def started(self) -> None:
        """Write down that it was asked for: no more, as the log has other readers than what it is done to."""
        if self._user is not None:
            from django.contrib.admin.models import ADDITION  # only where it is installed

            kind = content_types().get_for_model(Operation)
            why = f": {self._operation.reason}" if self._operation.reason else ""
            text = f"Started{why}."
            with transaction.atomic(using=engine.DATABASE):
                self._write([self._entry(ADDITION, kind.pk, self._operation.pk, str(self._operation), text)])

    def record(self, done: Sequence[Done]) -> None:
        """Write down what was done, in the open transaction where the log is in the engine's database."""
        if self._user is None or not done:
            return
        from django.contrib.admin.models import CHANGE, DELETION

        verb = bulk_verbs.get(self._operation.verb)
        flag = DELETION if verb.permission == "delete" else CHANGE
        why = f": {self._operation.reason}" if self._operation.reason else ""
        of = f" (operation {self._operation.pk}{why})."
        texts = [verb.done + (f": {each.what}" if each.what else "") + of for each in done]
        pairs = zip(done, texts, strict=True)
        self._write([self._entry(flag, each.kind_id, each.object_id, each.name, text) for each, text in pairs])

    def _entry(self, flag: int, kind_id: int, pk: int, name: str, message: str) -> Any:
        from django.contrib.admin.models import LogEntry

        assert self._user is not None
        return LogEntry(
            user_id=self._user,
            content_type_id=kind_id,
            object_id=str(pk),
            object_repr=name[:200],
            action_flag=flag,
            change_message=message,
        )

    def _write(self, entries: list[Any]) -> None:
        log = type(entries[0])
        at = router.db_for_write(log)

        def write() -> None:
            # Locked, so that who is deleted from now on is deleted after this; who was before takes no entry, and with
            # one what was done would not be committed.
            user = self._users.using(at).select_for_update(no_key=True).filter(pk=self._user)
            if user.values_list("pk", flat=True).first() is not None:
                log.objects.using(at).bulk_create(entries)

        def write_afterwards() -> None:
            with transaction.atomic(using=at):
                write()

        if at == engine.DATABASE:
            write()
        else:
            transaction.on_commit(write_afterwards, using=engine.DATABASE)
