"""No way to ask for a permission goes unnoticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from tests.support.permissions_asked import ANY, permissions_asked

pytestmark = pytest.mark.django_db

WAYS: dict[str, tuple[Callable[[User], object], set[str]]] = {
    "one": (lambda user: user.has_perm("auth.add_user"), {"auth.add_user"}),
    "several": (lambda user: [user.has_perm(f"auth.{code}") for code in "ab"], {"auth.a", "auth.b"}),
    "any of an app": (lambda user: user.has_module_perms("auth"), {ANY}),
    "all": (lambda user: user.get_all_permissions(), {ANY}),
    "the user's own": (lambda user: user.get_user_permissions(), {ANY}),
    "rows": (lambda user: user.user_permissions.filter(codename="add_user").exists(), {ANY}),
    "none": (lambda user: user.get_username(), set()),
}


@pytest.mark.parametrize(("ask", "expected"), WAYS.values(), ids=WAYS)
def test_what_is_asked_is_noted(ask: Callable[[User], object], expected: set[str]) -> None:
    """Each way to ask is noted, again and again, whether the user has the permission or not."""
    user = User.objects.create_user("ada")
    with permissions_asked() as asked:
        for _ in range(2):
            asked.clear()
            ask(User.objects.get(pk=user.pk))
            assert asked == expected
