"""What users may do to objects: by the admin of their class, or by the class's permissions where it has none."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.sites import all_sites
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from durable_objects import kinds
from durable_objects.admin.base import EngineAdmin, allows, judges_rows, shows_some
from durable_objects.conf import engine
from durable_objects.models import DurableObject
from durable_objects.operations import bulk_person, bulk_verbs
from durable_objects.operations.selection import InvalidSelection, Selection
from durable_objects.tables import Alarm, AlarmRun, Entry, Object, Operation, Pause, Schedule

#: The qualifiers whose answers tell what is stored.
OF_STORAGE = ("key:", "value:")

#: The columns of rows of all classes that say of which class their object is, and which one it is.
_OBJECT_OF: dict[type[Model], tuple[str, str]] = {
    Object: ("kind", "pk"),
    Alarm: ("kind", "pk"),
    Schedule: ("kind", "object"),
    Entry: ("object__kind", "object"),
    AlarmRun: ("object__kind", "object"),
    Pause: ("object__kind", "object"),
}


def may_without_class(request: HttpRequest, permission: str, kind: ContentType) -> bool:
    """Return whether the user may do this to objects of a class that this code does not have."""
    return bool(request.user.has_perm(f"{kind.app_label}.{permission}_{kind.model}"))


def kinds_allowed(site: AdminSite, request: HttpRequest, permission: str, *, needs_class: bool) -> list[int]:
    """Return the content types of the classes to all of whose objects the user may do this.

    A class whose admin decides object by object is not among them, unless it says so (``may_do_to_all``).
    """
    allowed = {model._meta.label_lower for model in kinds.classes() if allows_all(site, request, permission, model)}
    known = [kind.pk for kind in kinds.content_types().all() if f"{kind.app_label}.{kind.model}" in allowed]
    if needs_class:
        return known
    return known + [kind.pk for kind in kinds.unknown() if may_without_class(request, permission, kind)]


def may_do_to(site: AdminSite, request: HttpRequest, verb: bulk_verbs.BulkVerb, kind_id: int) -> bool:
    """Return whether the user may do this to all objects of a class."""
    model: Any = kinds.class_by_pk(kind_id)
    if model is not None:
        return allows_all(site, request, verb.permission, model)
    kind = kinds.content_types().get_for_id(kind_id)
    return not verb.needs_class and may_without_class(request, verb.permission, kind)


def allows_all(site: AdminSite, request: HttpRequest, permission: str, model: type[Model]) -> bool:
    """Return whether the user may do this to all objects of a class that this code has."""
    if not allows(site, request, permission, model):
        return False
    page: Any = site.get_model_admin(model) if site.is_registered(model) else None
    if isinstance(page, EngineAdmin):
        return page.may_do_to_all(request, permission)
    return not judges_rows(site, request, permission, model)


def shown(site: AdminSite, request: HttpRequest, rows: QuerySet[Any], column: str = "") -> QuerySet[Any]:
    """Return those of the rows, of a list of all classes, whose objects the admins of their classes show the user.
    ``column``: where rows of an app have their object.

    Only a ``get_queryset`` of such an admin counts. Where none has one the list costs what it did.
    """
    kind, obj = (f"{column}__kind", column) if column else _OBJECT_OF.get(rows.model, ("", ""))
    if not kind:
        return rows
    for model in _shown_in_part(site, request):
        seen = site.get_model_admin(model).get_queryset(request).using(rows.db).order_by().values("pk")
        rows = rows.filter(~Q(**{kind: model.kind_pk()}) | Q(**{f"{obj}__in": seen}))
    return rows


def kinds_shown_in_part(site: AdminSite, request: HttpRequest) -> set[int]:
    """Return the content types of the classes of which the site shows the user some objects only."""
    return {model.kind_pk() for model in _shown_in_part(site, request)}


def seen_among(site: AdminSite, request: HttpRequest, pks: Iterable[int]) -> set[int]:
    """Return which of these objects are there, and shown to the user by the admins of their classes."""
    rows = Object.objects.using(engine.DATABASE).filter(pk__in=list(pks))
    return set(shown(site, request, rows).values_list("pk", flat=True))


def readable(site: AdminSite, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return those of the rows, of objects or alarms, whose objects some list shows the user: ``shown``, of the classes
    that he may view.
    """
    return shown(site, request, rows.exclude(kind__in=_unseen(site, request) - kinds_shown_in_part(site, request)))


def sees_every_object(site: AdminSite, request: HttpRequest) -> bool:
    """Return whether some list shows the user each object, with its name and error: else no text is for him that may
    quote any of them.
    """
    return not _unseen(site, request)


def for_reader(site: AdminSite, request: HttpRequest, operation: Operation) -> Operation:
    """Return the operation as the user may read it: where an object of its classes is hidden from him, a copy that
    names and quotes none, says nothing of its selection, and lists those failures only that he may see.
    """
    unseen, stored = _unseen(site, request), _selection_of(operation)
    is_hidden = bool(unseen) and _concerns(operation, stored, unseen)
    of_storage = stored is None or bool(stored.only(*OF_STORAGE).given)
    if not is_hidden and (not of_storage or allows(site, request, "view", Entry)):
        return operation
    visible = copy(operation)
    visible.selection, visible.words = "", "what is not shown" if stored is None else stored.words(quotes=False)
    if is_hidden and operation.failures:
        there = Object.objects.using(engine.DATABASE).filter(pk__in=[each["object"] for each in operation.failures])
        seen = set(readable(site, request, there).values_list("pk", flat=True))
        visible.failures = [each for each in operation.failures if each["object"] in seen]
    return visible


def _unseen(site: AdminSite, request: HttpRequest) -> set[int]:
    """Return the classes of which an object may be in no list that the user is shown; asked once per request."""
    found: set[int] | None = request.__dict__.get("_durable_objects_unseen")
    if found is None:
        found = kinds_shown_in_part(site, request)
        if not any(allows(site, request, "view", model) for model in (Object, Alarm)):
            found |= {kind.pk for kind in kinds.used() if not _may_view(site, request, kind)}
        request.__dict__["_durable_objects_unseen"] = found
    return found


def _may_view(site: AdminSite, request: HttpRequest, kind: ContentType) -> bool:
    model: Any = kinds.class_of(kind)
    return may_without_class(request, "view", kind) if model is None else allows(site, request, "view", model)


def _concerns(operation: Operation, selection: Selection | None, unseen: set[int]) -> bool:
    """Return whether the operation may be of one of these classes."""
    verb = bulk_verbs.find(operation.verb)
    kind_id = None if selection is None else selection.get("class:")
    if kind_id is not None:
        return kind_id in unseen
    if verb is not None and verb.of is not None:
        return not unseen.isdisjoint(kinds.of_class(verb.of))
    return operation.kinds is None or not unseen.isdisjoint(operation.kinds)


def _selection_of(operation: Operation) -> Selection | None:
    try:
        return Selection.parse(operation.selection, now=operation.asked_at)
    except InvalidSelection:  # its class is gone
        return None


def _shown_in_part(site: AdminSite, request: HttpRequest) -> list[type[DurableObject]]:
    models = [model for model in kinds.classes() if issubclass(model, DurableObject)]
    return [model for model in models if shows_some(site, request, model)]


def may_go_on(site: AdminSite, request: HttpRequest, operation: Operation) -> bool:
    """Return whether the user may, now, do what the operation does to the objects of every class that it is of."""
    verb = bulk_verbs.find(operation.verb)
    if verb is None:
        return False
    allowed = kinds_allowed(site, request, verb.permission, needs_class=verb.needs_class)
    return _kinds_of(operation) <= {*allowed}


def may_still(user: Any, operation: Operation) -> bool:
    """Return whether a user may go on with an operation, now, on one of the admin sites that this process has.

    There is no request to ask with: where a site's ``has_permission`` needs one (a session, a second factor), which the
    user had when the operation was asked for, Django's own counts. Raises what the permissions of its classes raise.
    """
    request = HttpRequest()
    request.user = user
    flaw: Exception | None = None
    for site in [site for site in all_sites if site.is_registered(Operation)]:
        try:
            if _lets_in(site, request) and may_go_on(site, request, operation):
                return True
        except bulk_person.NEEDS_A_REQUEST as error:
            flaw = error
    if flaw is not None:
        raise flaw
    return False


def _lets_in(site: AdminSite, request: HttpRequest) -> bool:
    try:
        return bool(site.has_permission(request))
    except bulk_person.NEEDS_A_REQUEST:
        return AdminSite.has_permission(site, request)


bulk_person.register(may_still)


def _kinds_of(operation: Operation) -> set[int]:
    selection = _selection_of(operation)
    kind_id = None if selection is None else selection.get("class:")
    verb = bulk_verbs.get(operation.verb)
    of = verb.of.kind_pk() if verb.of is not None else kind_id
    if of is not None:
        return {of}
    there = {*kinds.runnable(), *([] if verb.needs_class else [kind.pk for kind in kinds.unknown()])}
    return there if operation.kinds is None else there & {*operation.kinds}


def refuse_unseen(site: AdminSite, request: HttpRequest, selection: Selection) -> None:
    """Raise ``InvalidSelection`` for a search in storage by a user who may not view it: its answers would tell."""
    if selection.only(*OF_STORAGE).given and not allows(site, request, "view", Entry):
        raise InvalidSelection("Only users who may view entries can search by key: and value: leave them out.")
