"""The admin login that ``up`` makes, so that the first visit needs no other command."""

from __future__ import annotations

import secrets

from django.contrib.auth import get_user_model

USERNAME = "admin"


def make_admin() -> tuple[str, str | None]:
    """Return the name of a superuser and, when it was made just now, its password; None when one was there before.

    The password is not kept anywhere: ``manage.py changepassword NAME`` sets another.
    """
    users = get_user_model()._default_manager
    there = users.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if there is not None:
        return there.get_username(), None
    if users.filter(username=USERNAME).exists():  # made by a person, for other rights: leave it alone
        return "", None
    password = secrets.token_urlsafe(12)
    users.create_superuser(USERNAME, password=password)
    return USERNAME, password
