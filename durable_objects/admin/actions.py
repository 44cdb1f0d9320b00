"""Verbs: what an operator can do to objects in admin, one turn each, after a question; reported and logged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from durable_objects import kinds
from durable_objects.admin import display
from durable_objects.admin.base import EngineAdmin
from durable_objects.admin.columns import paused_of, status_of
from durable_objects.admin.forms import CopyForm, PauseForm
from durable_objects.errors import DurableObjectError
from durable_objects.handler_errors import formattable, is_failure, named
from durable_objects.logs import get_logger
from durable_objects.models import DurableObject, as_handle
from durable_objects.operations import actions as operations
from durable_objects.operations import copies, pauses
from durable_objects.tables import Alarm, Object

logger = get_logger(__name__)

#: Rows that one confirmation covers, and failures that are reported one by one.
AT_MOST = 500
FAILURES_SHOWN = 20


@dataclass(frozen=True)
class Verb:
    """Something to do to an object, given its handle and the row that was chosen.

    ``call`` returns False if there was nothing to do, and raises if it was refused. ``permission`` (``change``, ``add``
    or ``delete``) is checked for the object's own class. ``fits`` are the states of the alarm in which a page offers
    it; None: all. ``effect`` describes what it would change of one object, for the question; a text that ``call``
    returns describes what it did, for the message. ``without_class`` does it to the row of an object whose class this
    code does not have; None: not possible. ``form`` asks for more with the question; what was given is passed to
    ``call_with`` together with ``by``, the user's name: that is called in place of the other two.
    """

    name: str
    label: str
    question: str
    done: str
    call: Callable[[DurableObject, Any], object]
    permission: str = "change"
    fits: frozenset[str] | None = None
    without_class: Callable[[Object], object] | None = None
    effect: Callable[[DurableObject], str] | None = None
    form: type[forms.Form] | None = None
    call_with: Callable[[Object, dict[str, Any]], object] | None = None


FIRE_NOW = Verb(
    "fire_now",
    "Fire now",
    "Run these alarms now?",
    "Set to run now",
    lambda handle, row: operations.fire_now(handle),
    fits=frozenset({"idle", "armed", "retrying", "due", "overdue", "limited", "paused"}),
)
CANCEL = Verb(
    "cancel_alarms",
    "Cancel alarm",
    "Cancel these alarms? What they were set for will not happen.",
    "Alarm cancelled",
    lambda handle, row: operations.cancel(handle),
    fits=frozenset({"armed", "retrying", "due", "overdue", "limited", "paused", "dead", "running", "parked"}),
    without_class=operations.cancel,
)
REVIVE = Verb(
    "revive",
    "Revive",
    "Revive these dead alarms? They run now, with all their retries.",
    "Revived",
    lambda handle, row: operations.revive(handle),
    fits=frozenset({"dead"}),
)
DELETE = Verb(
    "delete_objects",
    "Delete with storage, alarm and history",
    "Delete these objects with their storage, alarm and history? This cannot be undone.",
    "Deleted",
    lambda handle, row: handle.delete(),
    permission="delete",
    without_class=operations.delete,
)


PAUSE = Verb(
    "pause_objects",
    "Pause",
    "Pause these objects? Their alarms keep their times, and run once they are resumed. No run is stopped.",
    "Paused",
    lambda handle, row: pauses.pause(handle),
    without_class=pauses.pause,
    form=PauseForm,
    call_with=lambda row, given: pauses.pause(row, **given),
)
RESUME = Verb(
    "resume_objects",
    "Resume",
    "Resume these objects? What has come due meanwhile runs at once.",
    "Resumed",
    lambda handle, row: pauses.resume(handle),
    without_class=pauses.resume,
)


def _copy(row: Object, given: dict[str, Any]) -> str:
    copied = copies.copy(row, **given)
    return f"to {display.label(copied.name)}, {'armed' if given['armed'] else 'paused'}, entries: {copied.entries}"


COPY = Verb(
    "copy_objects",
    "Copy",
    "Store this object again under another name, with its entries, own fields, alarm and schedules? What apps keep of "
    "it in tables of their own is not copied.",
    "Copied",
    lambda handle, row: False,
    permission="add",
    form=CopyForm,
    call_with=_copy,
)


class OperableAdmin(EngineAdmin):
    """Offers verbs as actions of the list and as buttons on the page, and asks before it runs one.

    Permissions, changes and failures are each object's own: one that fails is reported, and the others go on.
    """

    verbs: ClassVar[tuple[Verb, ...]] = (FIRE_NOW, CANCEL, REVIVE, PAUSE, RESUME)
    change_form_template = "admin/durable_objects/operable.html"

    def target(self, row: Any) -> Object:
        """Return the object that a row of this list stands for."""
        return row  # type: ignore[no-any-return]  # the rows of the base's lists are objects

    def status(self, request: HttpRequest, row: Any) -> display.Status:
        """Return the row's state, which the question shows, and by which its page offers verbs."""
        return status_of(request, self.target(row))

    def may_use(self, request: HttpRequest, verb: Verb) -> bool:
        """Return whether the user may do this to some of the objects: then the list offers the action."""
        return any(self.may(request, verb, model) for model in kinds.classes())

    def may(
        self, request: HttpRequest, verb: Verb, model: type[models.Model], handle: DurableObject | None = None
    ) -> bool:
        """Return whether the class's own admin lets the user do this to objects of the class, or to this one."""
        if self.admin_site.is_registered(model):
            asked = getattr(self.admin_site.get_model_admin(model), f"has_{verb.permission}_permission")
            return bool(asked(request) if verb.permission == "add" else asked(request, handle))
        code = get_permission_codename(verb.permission, model._meta)
        return bool(request.user.has_perm(f"{model._meta.app_label}.{code}"))

    def may_change(self, request: HttpRequest, verb: Verb, target: Object) -> bool:
        """Return whether the user may do this to the object.

        Without its class that goes by the class's permissions, which are still in the database; False for a verb that
        needs the class.
        """
        handle = as_handle(target)
        if handle is not None:
            return self.may(request, verb, type(handle), handle)
        kind = kinds.content_types().get_for_id(target.kind_id)
        code = f"{kind.app_label}.{verb.permission}_{kind.model}"
        return verb.without_class is not None and bool(request.user.has_perm(code))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Put the verbs that fit on the page."""
        row = context.get("original")
        if row is not None:
            context |= {"verbs": self.offered(request, row), "list_url": self._list_url()}
        return super().render_change_form(request, context, *args, **kwargs)

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        place = () if action_location is None else (action_location,)  # Django 6.1 passes it
        actions: dict[str, Any] = super().get_actions(request, *place)
        actions.pop("delete_selected", None)  # it reads every row of the object, and is not a turn
        if self.actions is None or IS_POPUP_VAR in request.GET:
            return actions
        for verb in self.verbs:
            if self.may_use(request, verb) and (action := self.get_action(self._action(verb), *place)):
                actions[verb.name] = action
        return actions

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Ask the verb's question: Django's own page would read every row that is deleted with the object."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id}.")
        if not self.has_delete_permission(request, row):
            raise PermissionDenied
        return self.operate(request, DELETE, self.get_queryset(request).filter(pk=row.pk))

    def operate(self, request: HttpRequest, verb: Verb, queryset: models.QuerySet[Any]) -> HttpResponse:
        """Ask; once that was confirmed, do it and redirect to where the user came from."""
        rows = list(queryset.order_by("pk")[: AT_MOST + 1])
        if len(rows) > AT_MOST:
            rows = rows[:AT_MOST]
            self.message_user(
                request, f"More than {AT_MOST} were chosen: only the first {AT_MOST} are taken.", messages.WARNING
            )
        if not rows:
            self.message_user(request, "None of the chosen rows exists any more.", messages.WARNING)
        elif request.POST.get("confirmed") != "yes":
            return self._ask(request, verb, rows, verb.form() if verb.form else None)
        else:
            form = verb.form(request.POST) if verb.form else None
            if form is not None and not form.is_valid():
                return self._ask(request, verb, rows, form)
            self._do(request, verb, rows, form.cleaned_data if form else {})
        return HttpResponseRedirect(self._way_back(request, verb, rows))

    def offered(self, request: HttpRequest, row: Any) -> list[Verb]:
        """Return the verbs that this object's page offers to the user."""
        target, word = self.target(row), self.status(request, row).word
        handle = as_handle(target)
        unfit = {DELETE.name, PAUSE.name if target.pk in paused_of(request).objects else RESUME.name}
        verbs = [verb for verb in self.verbs if verb.name not in unfit and (verb.fits is None or word in verb.fits)]
        if handle is not None and not handle.has_alarm_handler():
            verbs = [verb for verb in verbs if verb is not FIRE_NOW]
        return [verb for verb in verbs if self.may_change(request, verb, target)]

    def _action(self, verb: Verb) -> Callable[..., HttpResponse]:
        def act(modeladmin: Any, request: HttpRequest, queryset: models.QuerySet[Any]) -> HttpResponse:
            answer: HttpResponse = modeladmin.operate(request, verb, queryset)
            return answer

        act.__name__ = verb.name
        return admin.action(description=verb.label)(act)

    def _ask(self, request: HttpRequest, verb: Verb, rows: list[Any], form: forms.Form | None) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": verb.label,
            "opts": self.opts,
            "media": self.media,
            "verb": verb,
            "form": form,
            "chosen": [self._described(request, verb, row) for row in rows],
            "checkbox": ACTION_CHECKBOX_NAME,
            "from_page": request.POST.get("from_page") == "yes" or request.method == "GET",
            "filters": request.META.get("QUERY_STRING", "") if request.method == "POST" else "",
            "list_url": self._list_url(),
            "back_url": self._way_back(request, verb, rows, refused=True),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/durable_objects/confirm.html", context)

    def _described(self, request: HttpRequest, verb: Verb, row: Any) -> dict[str, Any]:
        target, status = self.target(row), self.status(request, row)
        handle = as_handle(target) if verb.effect is not None else None
        return {
            "pk": row.pk,
            "label": display.label(target.name),
            "row": None if isinstance(row, Object | Alarm) else str(row),
            "class": display.class_of(target),
            "badge": display.badge(status.word),
            "sentence": status.sentence,
            "effect": verb.effect(handle) if verb.effect is not None and handle is not None else "",
        }

    def _do(self, request: HttpRequest, verb: Verb, rows: list[Any], given: dict[str, Any]) -> None:
        done, failed = [], []
        for row in rows:
            target = self.target(row)
            try:
                what = self._do_one(request, verb, row, target, given)
            except DurableObjectError as error:
                failed.append(f"Not done for {display.label(target.name)}: {error}")
            except BaseException as error:  # the object's own initialize() may raise anything
                if not is_failure(error):
                    raise
                logger.error("admin: %s failed for object %s", verb.name, target.pk, exc_info=formattable(error))
                failed.append(f"Not done for {display.label(target.name)}: {named(error)}")
            else:
                done.append(f"{display.label(target.name)} ({what})" if what else display.label(target.name))
        if done:
            self.message_user(request, f"{verb.done}: {_some(done)}.", messages.SUCCESS)
        for failure in failed[:FAILURES_SHOWN]:
            self.message_user(request, failure, messages.ERROR)
        if len(failed) > FAILURES_SHOWN:
            self.message_user(request, f"And {len(failed) - FAILURES_SHOWN} more failed.", messages.ERROR)

    def _do_one(self, request: HttpRequest, verb: Verb, row: Any, target: Object, given: dict[str, Any]) -> str:
        """Do it and log it; return what the verb says that it did, which may be nothing."""
        handle = as_handle(target)
        done: object = False
        if handle is None and verb.without_class is None:
            raise DurableObjectError(f"it needs the class, {display.class_of(target)}")
        if not self.may_change(request, verb, target):
            raise DurableObjectError(f"you may not {verb.permission} objects of {display.class_of(target)}")
        user: Any = request.user
        if verb.call_with is not None:
            done = verb.call_with(target, {"by": user.get_username(), **given})
        elif handle is not None:
            done = verb.call(handle, row)
        elif verb.without_class is not None:
            done = verb.without_class(target)
        if done is False:
            raise DurableObjectError("there was nothing to do")
        what = done if isinstance(done, str) else ""
        message = f"{verb.done}: {what}." if what else f"{verb.done}."
        LogEntry.objects.create(
            user_id=user.pk,
            content_type_id=target.kind_id,
            object_id=str(target.pk),
            object_repr=target.name[:200],
            action_flag=DELETION if verb is DELETE else CHANGE,
            change_message=message if isinstance(row, Object | Alarm) else f"{verb.done} ({row}).",
        )
        return what

    def _list_url(self) -> str:
        return reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def _way_back(self, request: HttpRequest, verb: Verb, rows: list[Any], *, refused: bool = False) -> str:
        from_page = request.POST.get("from_page") == "yes" or request.method == "GET"
        if from_page and len(rows) == 1 and (refused or verb is not DELETE):
            name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_change"
            return reverse(name, args=[rows[0].pk])
        filters = request.POST.get("filters") or request.META.get("QUERY_STRING", "")
        return f"{self._list_url()}?{filters}" if filters else self._list_url()


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - 10} more" if len(every) > 10 else ""
    return ", ".join(every[:10]) + more
