"""Does verbs to objects in admin, one turn each, after a question; reports and logs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.options import IS_POPUP_VAR
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects import kinds
from durable_objects.admin import display, permissions
from durable_objects.admin.base import EngineAdmin, allows
from durable_objects.admin.columns import alarm_of, is_paused_by_itself, now_of, status_of
from durable_objects.admin.questions import ask, list_url_of, row_to_delete
from durable_objects.admin.verbs import CANCEL, DELETE, FIRE_NOW, PAUSE, RESUME, REVIVE, Verb
from durable_objects.alarms.predicates import is_idle
from durable_objects.errors import DurableObjectError
from durable_objects.handler_errors import formattable, is_failure, named
from durable_objects.logs import get_logger
from durable_objects.models import DurableObject, as_handle
from durable_objects.operations import reasons
from durable_objects.tables import Alarm, Object, Operation

logger = get_logger(__name__)

#: Rows that one confirmation covers, and failures that are reported one by one.
AT_MOST = 500
FAILURES_SHOWN = 20
#: Rows of a question whose ``preview`` is shown.
PREVIEWED = 10


class OperableAdmin(EngineAdmin):
    """Offers verbs as actions of the list and as buttons on the page, and asks before it runs one.

    Permissions, changes and failures are each object's own: one that fails is reported, and the others go on.
    """

    verbs: ClassVar[tuple[Verb, ...]] = (REVIVE, RESUME, FIRE_NOW, CANCEL, PAUSE)
    #: The foreign key to the object, of rows of an app: those whose object its class's admin hides are hidden too.
    object_column: ClassVar[str] = ""
    change_form_template = "admin/durable_objects/operable.html"

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows = super().get_queryset(request)
        return permissions.shown(self.admin_site, request, rows, self.object_column) if self.object_column else rows

    def target(self, row: Any) -> Object:
        """Return the object that a row of this list stands for."""
        return row  # type: ignore[no-any-return]  # the rows of the base's lists are objects

    def status(self, request: HttpRequest, row: Any) -> display.Status:
        """Return the row's state, which the question shows, and by which its page offers verbs."""
        return status_of(request, self.target(row))

    def linked(self, target: Object, text: str) -> SafeString | str:
        """Return a text about an object as a link to its page, where its class has one here."""
        handle = as_handle(target)
        if handle is None or not self.admin_site.is_registered(type(handle)):
            return text
        name = f"{self.admin_site.name}:{handle._meta.app_label}_{handle._meta.model_name}_change"
        return format_html('<a href="{}">{}</a>', reverse(name, args=[target.pk]), text)

    def may_use(self, request: HttpRequest, verb: Verb) -> bool:
        """Return whether the user may do this to some of the objects: then the list offers the action."""
        return any(self.may(request, verb, model) for model in kinds.classes())

    def may(
        self, request: HttpRequest, verb: Verb, model: type[models.Model], handle: DurableObject | None = None
    ) -> bool:
        """Return whether the class's own admin lets the user do this to objects of the class, or to this one."""
        return allows(self.admin_site, request, verb.permission, model, handle)

    def may_change(self, request: HttpRequest, verb: Verb, target: Object) -> bool:
        """Return whether the user may do this to the object.

        Without its class that goes by the class's permissions, which are still in the database; False for a verb that
        needs the class.
        """
        handle = as_handle(target)
        if handle is not None:
            return self.may(request, verb, type(handle), handle)
        kind = kinds.content_types().get_for_id(target.kind_id)
        return verb.without_class is not None and permissions.may_without_class(request, verb.permission, kind)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Put the verbs that fit on the page."""
        row = context.get("original")
        if row is not None:
            context |= {"verbs": self.offered(request, row), "list_url": list_url_of(self)}
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
        row = row_to_delete(self, request, object_id)
        return self.operate(request, DELETE, self.get_queryset(request).filter(pk=row.pk))

    def operate(self, request: HttpRequest, verb: Verb, queryset: models.QuerySet[Any]) -> HttpResponse:
        """Ask; once that was confirmed, do it and redirect to where the user came from."""
        rows, form_class = list(queryset.order_by("pk")[: AT_MOST + 1]), verb.asked_with()
        if len(rows) > AT_MOST:
            has_operations = self.admin_site.is_registered(Operation)
            if has_operations and (everything := self.on_everything(request, verb)) is not None:
                return HttpResponseRedirect(self._start_url(*everything))
            rows = rows[:AT_MOST]
            self.message_user(
                request, f"More than {AT_MOST} were chosen: only the first {AT_MOST} are taken.", messages.WARNING
            )
        if not rows:
            self.message_user(request, "None of the chosen rows exists any more.", messages.WARNING)
        elif request.POST.get("confirmed") != "yes":
            return self._ask(request, verb, rows, form_class() if form_class else None)
        else:
            form = form_class(request.POST) if form_class else None
            if form is not None and not form.is_valid():
                return self._ask(request, verb, rows, form)
            self._do(request, verb, rows, form.cleaned_data if form else {})
        return HttpResponseRedirect(self._way_back(request, verb, rows))

    def on_everything(self, request: HttpRequest, verb: Verb) -> tuple[str, str] | None:
        """Return the verb of an operation, and the selection, that do this to all that the list shows; None where no
        operation does.
        """
        selection = self.selection_text(request)
        return (verb.of_many, selection) if verb.of_many and selection is not None else None

    def selection_text(self, request: HttpRequest) -> str | None:
        """Return the selection that the list shows, for an operation on all of it; None where there is none."""
        return None

    def offered(self, request: HttpRequest, row: Any) -> list[Verb]:
        """Return the verbs that this object's page offers to the user."""
        target, word = self.target(row), self.status(request, row).word
        handle = as_handle(target)
        unfit = {DELETE.name, PAUSE.name if is_paused_by_itself(request, target) else RESUME.name}
        verbs = [verb for verb in self.verbs if verb.name not in unfit and (verb.fits is None or word in verb.fits)]
        verbs = [verb for verb in verbs if verb.needs_alarm is None or verb.needs_alarm is _is_set(row)]
        if handle is not None and not handle.has_alarm_handler():
            verbs = [verb for verb in verbs if verb is not FIRE_NOW and verb.needs_alarm is not False]
        return [verb for verb in verbs if self.may_change(request, verb, target)]

    def _action(self, verb: Verb) -> Callable[..., HttpResponse]:
        def act(modeladmin: Any, request: HttpRequest, queryset: models.QuerySet[Any]) -> HttpResponse:
            answer: HttpResponse = modeladmin.operate(request, verb, queryset)
            return answer

        act.__name__ = verb.name
        return admin.action(description=verb.label)(act)

    def _ask(self, request: HttpRequest, verb: Verb, rows: list[Any], form: forms.Form | None) -> HttpResponse:
        chosen = [self._described(request, verb, row, previewed=at < PREVIEWED) for at, row in enumerate(rows)]
        return ask(
            self, request, verb, chosen,
            form=form,
            # One field for all: Django takes 1,000 at most.
            was_set=" ".join(str(row.pk) for row in rows if verb.becomes is not None and _is_set(row)),
            from_page=request.POST.get("from_page") == "yes" or request.method == "GET",
            filters=request.META.get("QUERY_STRING", "") if request.method == "POST" else "",
            back_url=self._way_back(request, verb, rows, refused=True),
        )  # fmt: skip

    def _described(self, request: HttpRequest, verb: Verb, row: Any, *, previewed: bool) -> dict[str, Any]:
        target, status = self.target(row), self.status(request, row)
        handle = as_handle(target) if verb.effect or verb.preview else None
        return {
            "pk": row.pk,
            "label": display.label(target.name),
            "row": None if isinstance(row, Object | Alarm) else str(row),
            "class": display.class_of(target),
            "badge": display.badge(status.word),
            "sentence": status.sentence,
            "becomes": verb.becomes(alarm_of(row), now_of(request)) if verb.becomes else "",
            "effect": verb.effect(handle) if verb.effect is not None and handle is not None else "",
            "preview": verb.preview(handle, row) if previewed and verb.preview and handle is not None else "",
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
        if str(row.pk) in request.POST.get("was_set", "").split() and not _is_set(row):
            raise DurableObjectError("its alarm has run, or was cancelled, since the question was asked")
        user: Any = request.user
        is_risky = verb.is_destructive or (verb.is_risky is not None and verb.is_risky(row))
        reason = reasons.read(given.get("reason", ""), required=is_risky) if verb.keeps_reason else ""
        if verb.call_with is not None:
            done = verb.call_with(target, {"by": user.get_username(), **given})
        elif handle is not None and verb.because is not None:
            done = verb.because(handle, row, reason)
        elif handle is not None:
            done = verb.call(handle, row)
        elif verb.without_class is not None:
            done = verb.without_class(target)
        if done is False:
            raise DurableObjectError("there was nothing to do")
        what = done if isinstance(done, str) else ""
        message = f"{verb.done}: {what}" if what else verb.done
        message += f" ({reason})" if reason else ""
        if is_risky:
            reasons.tell(verb.done, target, user.get_username(), reason)
        LogEntry.objects.create(
            user_id=user.pk,
            content_type_id=target.kind_id,
            object_id=str(target.pk),
            object_repr=target.name[:200],
            action_flag=DELETION if verb is DELETE else CHANGE,
            change_message=f"{message}." if isinstance(row, Object | Alarm) else f"{message} ({row}).",
        )
        return what

    def _start_url(self, verb: str, selection: str) -> str:
        query = urlencode({"verb": verb, "selection": selection})
        return f"{reverse(f'{self.admin_site.name}:durable_objects_operation_start')}?{query}"

    def _way_back(self, request: HttpRequest, verb: Verb, rows: list[Any], *, refused: bool = False) -> str:
        from_page = request.POST.get("from_page") == "yes" or request.method == "GET"
        if from_page and len(rows) == 1 and (refused or verb is not DELETE):
            name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_change"
            return reverse(name, args=[rows[0].pk])
        filters = request.POST.get("filters") or request.META.get("QUERY_STRING", "")
        return f"{list_url_of(self)}?{filters}" if filters else list_url_of(self)


def _is_set(row: Any) -> bool:
    """Return whether the object's own alarm is set, or dead."""
    slot = alarm_of(row) if isinstance(row, Object | Alarm) else None
    return slot is not None and not is_idle(slot)


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - 10} more" if len(every) > 10 else ""
    return ", ".join(every[:10]) + more
