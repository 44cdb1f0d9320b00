"""Every address of admin, asked by everybody: nothing fails, and nothing is changed by who may not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.db.models import CASCADE, Model
from django.test import Client

from durable_objects.models import DurableObject
from tests.support.admin_addresses import Post, Rows, addresses, changed, posts, stored
from tests.support.admin_pages import staff
from tests.support.permissions_asked import ANY, permissions_asked
from tests.support.row_of_each_model import row_of_each_model

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("many_requests")]

#: Classes that staff writes rows of by forms; of the others only objects are changed, by who may change their class.
WRITTEN = {"AlertRule", "Recipient", "ApiToken", "User", "Group", "PeriodicTask", "Pause"}
#: Who is answered so has changed nothing: looked at once, after all of them.
REFUSED = {403, 404, 405}
#: What everybody is shown, and what all staff is: the page to log in, their own password and zone, a list of nothing.
OPEN = {"/admin/login/", "/admin/jsi18n/"}
OWN = {"/admin/", "/admin/password_change/", "/admin/password_change/done/", "/admin/durable_objects/alarm/zone/"}


@pytest.fixture
def rows() -> Rows:
    """A row of every registered class."""
    return row_of_each_model()


@pytest.fixture
def everything(admin_client: Client, rows: Rows) -> list[Post]:
    """What changes something, if a superuser sends it."""
    return posts(admin_client, rows)


def anonymous() -> Client:
    """Nobody."""
    return Client()


def customer() -> Client:
    """A user who is no staff, with every permission there is."""
    user = User.objects.create_user("customer")
    user.user_permissions.set(Permission.objects.all())
    client = Client()
    client.force_login(user)
    return client


def rightless() -> Client:
    """Staff without any permission."""
    return staff([], "rightless")


def onlooker() -> Client:
    """Staff with every view permission."""
    return staff(list(permissions("view_")), "onlooker")


#: Who may change nothing, with the addresses that they are shown (None: what they may see).
WHO: dict[Callable[[], Client], set[str] | None] = {
    anonymous: OPEN, customer: OPEN, rightless: OPEN | OWN, onlooker: None,
}  # fmt: skip


def permissions(prefix: str = "") -> Iterator[str]:
    """Every permission, as ``app.code``."""
    found = Permission.objects.filter(codename__startswith=prefix).order_by("pk")
    return (f"{app}.{code}" for app, code in found.values_list("content_type__app_label", "codename"))


@contextmanager
def undone() -> Iterator[None]:
    """What is done in the block is undone."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@dataclass
class Sweep:
    """By what was requested: the status, the tables that a POST changed, the permissions that were asked for."""

    statuses: dict[str, int] = field(default_factory=dict)
    wrote: dict[str, set[str]] = field(default_factory=dict)
    asked: dict[str, set[str]] = field(default_factory=dict)

    def failed(self) -> dict[str, int]:
        """What was answered with an error of the server's."""
        return {request: status for request, status in self.statuses.items() if status >= 500}


def swept(client: Client, urls: list[str], sent: list[Post]) -> Sweep:
    """Request each address and send each POST, which is undone."""
    client.raise_request_exception = False
    found, before = Sweep(), stored()
    with permissions_asked() as asked:
        for url in urls:
            asked.clear()
            found.statuses[f"GET {url}"] = client.get(url).status_code
            found.asked[f"GET {url}"] = set(asked)
        assert changed(before, stored()) == set(), "a GET changed something"
        for post in sent:
            asked.clear()
            with transaction.atomic():
                found.statuses[f"POST {post}"] = status = client.post(post.url, post.data).status_code
                found.asked[f"POST {post}"] = set(asked)
                if status not in REFUSED:
                    if tables := changed(before, stored()):
                        found.wrote[f"POST {post}"] = tables
                    transaction.set_rollback(True)
    assert changed(before, stored()) == set(), "somebody who was turned away changed something"
    return found


@pytest.mark.slow
def test_who_may_change_nothing(rows: Rows, everything: list[Post]) -> None:
    """No address fails for who may change nothing, whatever is sent there, and nothing is changed: not even the log."""
    urls = addresses(rows)
    for who, open_to_them in WHO.items():
        found = swept(who(), urls, everything)
        assert len(found.statuses) == len(urls) + len(everything) > 150
        assert found.failed() == {}, who
        assert found.wrote == {}, who
        shown = {request.split()[1] for request, status in found.statuses.items() if status == 200}
        assert open_to_them is None or shown <= open_to_them, who


@pytest.mark.slow
def test_a_superuser_fails_nowhere(admin_client: Client, rows: Rows, everything: list[Post]) -> None:
    """No address fails for a superuser either; and what the others are refused does change something."""
    found = swept(admin_client, addresses(rows), everything)
    assert found.failed() == {}
    idle = sorted(str(post) for post in everything if post.data and f"POST {post}" not in found.wrote)
    assert len(found.wrote) > 50, idle


def _may_write(permission: str) -> set[str]:
    """The tables that a permission is for."""
    app, code = permission.split(".")
    action, _, name = code.partition("_")
    model: type[Model] = apps.get_model(app, name)
    if action == "view" or not admin.site.is_registered(model):
        return set()
    log = {"django_admin_log"}
    if app == "django_celery_beat":
        return log | {table._meta.db_table for table in apps.get_app_config(app).get_models()}
    if issubclass(model, DurableObject):
        engine = [*apps.get_app_config("durable_objects").get_models(), *apps.get_app_config(app).get_models()]
        return log | {table._meta.db_table for table in engine}
    through = (field.remote_field.through for field in model._meta.many_to_many)
    many = {table._meta.db_table for table in through if table is not None}
    many |= {each.related_model._meta.db_table for each in model._meta.related_objects if each.on_delete is CASCADE}
    return log | many | {model._meta.db_table} if model.__name__ in WRITTEN else set()


def _alone() -> Iterator[list[str]]:
    """Each permission of a registered class by itself, and all those of classes that no page is about."""
    pages = {f"{model._meta.app_label}.{model._meta.model_name}" for model in admin.site._registry}
    by_class = {each: each.replace(f".{each.partition('.')[2].partition('_')[0]}_", ".") for each in permissions()}
    yield [each for each, label in by_class.items() if label not in pages]
    yield from ([each] for each, label in by_class.items() if label in pages)


@pytest.mark.slow
def test_each_permission_alone(rows: Rows, everything: list[Post]) -> None:
    """With any single permission no address fails, and nothing is changed but what that permission is for.

    Only what asks for a permission is requested with it: the rest is answered as to staff without any. That this is so
    is tried with one of them, at random.
    """
    urls, sent, wrong = addresses(rows), [post for post in everything if post.data], list[tuple[str, str, object]]()
    with undone():
        without = swept(rightless(), urls, sent)
    assert (without.failed(), without.wrote) == ({}, {})
    alone = list(_alone())
    assert len(alone) == 4 * len(admin.site._registry) + 1
    in_full = random.choice(alone)
    for number, given in enumerate(alone):
        matters = {request for request, asked in without.asked.items() if asked & {ANY, *given}}
        with undone():
            found = swept(
                staff(given, f"only {number}"),
                [url for url in urls if given is in_full or f"GET {url}" in matters],
                [post for post in sent if given is in_full or f"POST {post}" in matters],
            )
        may = set().union(*map(_may_write, given))
        wrong += [(given[0], request, status) for request, status in found.failed().items()]
        wrong += [(given[0], request, sorted(wrote - may)) for request, wrote in found.wrote.items() if wrote - may]
        others = found.statuses.keys() - matters
        wrong += [
            (given[0], each, "as if asked for") for each in others if found.statuses[each] != without.statuses[each]
        ]
    assert wrong == []
