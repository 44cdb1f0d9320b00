"""Which permissions a request asks for: what asks for none of them cannot be answered otherwise because of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission, User
from django.db import connection

#: In place of one permission: all that the user has were gone through, or read in another way than by ``has_perm``.
ANY = "any"
_TABLES = (User.user_permissions.through._meta.db_table, Permission._meta.db_table)


class _Asked(AbstractSet[str]):
    """A user's permissions; writes down which of them somebody looks for."""

    def __init__(self, held: set[str], asked: set[str]) -> None:
        self._held, self._asked = held, asked

    def __contains__(self, permission: object) -> bool:
        self._asked.add(str(permission))
        return permission in self._held

    def __iter__(self) -> Iterator[str]:
        self._asked.add(ANY)
        return iter(self._held)

    def __len__(self) -> int:
        self._asked.add(ANY)
        return len(self._held)


@contextmanager
def permissions_asked() -> Iterator[set[str]]:
    """Fill the set, which the caller may empty, with the permissions asked for in the block: ``app.code``, or ``ANY``.

    Users keep the permissions that they have when first asked about. Superusers are not asked for any.
    """
    asked, known = set[str](), dict[int, set[str]]()
    read = ModelBackend.get_all_permissions

    def get_all_permissions(backend: ModelBackend, user: Any, obj: Any = None) -> AbstractSet[str]:
        if user.pk not in known:
            before = set(asked)
            known[user.pk] = set(read(backend, user, obj))
            asked.intersection_update(before)
        return _Asked(known[user.pk], asked)

    def execute(run: Callable[..., Any], sql: str, *args: Any) -> Any:
        if any(f'"{table}"' in sql for table in _TABLES):
            asked.add(ANY)
        return run(sql, *args)

    with pytest.MonkeyPatch.context() as patch, connection.execute_wrapper(execute):
        patch.setattr(ModelBackend, "get_all_permissions", get_all_permissions)
        yield asked
