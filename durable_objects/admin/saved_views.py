"""Saved views: a name for what a list shows, by its address; for the user who saved it, or for all who see the list."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, QueryDict

from durable_objects.admin.forms import ChangesForm
from durable_objects.conf import engine
from durable_objects.errors import DurableObjectError
from durable_objects.formatting import label
from durable_objects.tables import SavedView
from durable_objects.validation import text_flaw

#: Views of a list that one user may save, and that are shared by all together: more would be no list to choose from.
MOST_SAVED = 30
MOST_SHARED = 100
LONGEST_QUERY = 4_000
#: What an address has that says nothing about what is shown: the page, Django's mark of an error.
_NOT_KEPT = ("p", "e")


class SaveForm(ChangesForm):
    """The name of a view, what it shows, and whether others see it."""

    query = forms.CharField(max_length=LONGEST_QUERY, required=False, strip=False, widget=forms.HiddenInput)

    class Meta:
        model = SavedView
        fields: ClassVar[Any] = ["name", "is_shared", "query"]

    def clean_name(self) -> str:
        """Return the name. Raises ``ValidationError``."""
        name = str(self.cleaned_data["name"])
        if flaw := text_flaw(name):
            raise ValidationError(f"The name {flaw}.")
        return name

    def clean_query(self) -> str:
        """Return it in one form. Raises ``ValidationError``."""
        return kept(str(self.cleaned_data["query"]))


def kept(query: str) -> str:
    """Return what a view keeps of the query of a list's address."""
    given = QueryDict(query, mutable=True)
    for name in _NOT_KEPT:
        given.pop(name, None)
    return given.urlencode()


def of_list(request: HttpRequest, model: type[Model]) -> list[SavedView]:
    """Return the views of a list that the user sees: their own, and those that are shared, by name."""
    seen = _rows(model).filter(Q(user=_user(request)) | Q(is_shared=True))
    return list(seen.order_by("name", "pk")[: MOST_SAVED + MOST_SHARED])


def is_own(request: HttpRequest, view: SavedView) -> bool:
    """Return whether the user may remove the view: who saved it, and superusers."""
    user: Any = request.user
    return view.user == _user(request) or bool(user.is_superuser)


def save(request: HttpRequest, model: type[Model], name: str, query: str, *, is_shared: bool) -> None:
    """Keep a view under this name, in place of the user's own one of that name.

    Raises ``DurableObjectError`` where the list has as many as it may have.
    """
    user: Any = request.user
    own = _rows(model).filter(user=_user(request))
    if own.exclude(name=name).count() >= MOST_SAVED:
        raise DurableObjectError(f"You have {MOST_SAVED} views of this list: remove one before you save another.")
    shared = _rows(model).filter(is_shared=True).exclude(user=_user(request), name=name)
    if is_shared and shared.count() >= MOST_SHARED:
        raise DurableObjectError(f"This list has {MOST_SHARED} shared views, and no more: save it for yourself alone.")
    own.update_or_create(
        {"query": query, "is_shared": is_shared, "by": user.get_username()},
        list=model._meta.label_lower,
        user=_user(request),
        name=name,
    )


def remove(request: HttpRequest, model: type[Model], pk: str) -> str:
    """Remove a view; return its name. Raises ``DurableObjectError`` where there is none, or it is somebody else's."""
    view = _rows(model).filter(pk=int(pk)).first() if pk.isascii() and pk.isdigit() and len(pk) < 19 else None
    if view is None:
        raise DurableObjectError("There is no such view any more.")
    if not is_own(request, view):
        raise DurableObjectError(f"{label(view.name)} is a view of {label(view.by)}: only they can remove it.")
    view.delete()
    return view.name


def _rows(model: type[Model]) -> QuerySet[SavedView]:
    return SavedView.objects.using(engine.DATABASE).filter(list=model._meta.label_lower)


def _user(request: HttpRequest) -> str:
    return str(request.user.pk)
