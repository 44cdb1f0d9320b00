"""Search of a list by a selection: what is typed and the filters beside it together say which rows are meant."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse

from durable_objects import kinds
from durable_objects.admin import display, saved_views
from durable_objects.admin.base import EngineAdmin, key_of
from durable_objects.admin.columns import errors_of
from durable_objects.admin.permissions import OF_STORAGE, refuse_unseen, shown
from durable_objects.alarms.queries import STATES
from durable_objects.conf import engine
from durable_objects.errors import DurableObjectError
from durable_objects.operations.selection import IN_LISTS, QUALIFIERS, InvalidSelection, Selection
from durable_objects.tables import Alarm, Entry

#: What the empty box of a list shows, by the last of its qualifiers; of alarms and objects there are most.
EXAMPLES = {"value:": "value:tea", "error:": 'error:"timed out"'}
_SEARCHED = "_durable_objects_searched"


def was_searched(request: HttpRequest) -> bool:
    """Return whether what was typed above the list was read as a selection."""
    return hasattr(request, _SEARCHED)


class SearchedBySelection(EngineAdmin):
    """A list that is searched by qualifiers. Its filters (``StateFilter``, ``KindFilter``, ``ErrorFilter``) are some of
    them, so that a list and everything that matches it have one text.
    """

    search_fields: ClassVar[Any] = ("name__startswith",)  # for the box to be there: what it does is in ``matching``
    #: The qualifiers that make sense here: those that ``matching`` goes by.
    searched_by: ClassVar[tuple[str, ...]] = ("class:", "name:")
    #: The state of alarms that are listed where nothing else is asked for; empty: all.
    default_state: ClassVar[str] = ""
    change_list_template = "admin/durable_objects/list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows, without those that the admins of their objects' classes hide."""
        return shown(self.admin_site, request, super().get_queryset(request))

    def matching(self, request: HttpRequest, rows: QuerySet[Any], selection: Selection) -> QuerySet[Any]:
        """Return those of the rows that are meant: here by the class and the name of their ``object``."""
        return rows.filter(selection.only("class:", "name:").of_object("object__"))

    def selection(self, request: HttpRequest, typed: str | None = None) -> Selection:
        """Return what the list shows: what was typed, and what was chosen beside it. Raises ``InvalidSelection``."""
        selection = Selection.parse(request.GET.get("q", "") if typed is None else typed)
        refuse_unseen(self.admin_site, request, selection)
        for name, _ in selection.given:
            if name not in self.searched_by:
                raise InvalidSelection(f"This list cannot be searched by {name} Allowed: {' '.join(self.searched_by)}.")
        chosen = self._chosen(request)
        for name in chosen:
            if selection.get(name) is not None:
                raise InvalidSelection(
                    f"Both the search and a filter beside the list have {name} leave out one of them."
                )
        if not selection.given and "state:" not in chosen and (state := self.default_of(request)):
            chosen["state:"] = state
        return Selection.of({**dict(selection.given), **chosen})

    def default_of(self, request: HttpRequest) -> str:
        """Return the state that is listed now without being asked for; empty: all are."""
        asks = any(request.GET.get(name) for name in ("state", "error", "q"))
        # Rows that were chosen one by one are what they are; all that the list has are those that it shows.
        names_rows = request.method == "POST" and request.POST.get("select_across") != "1"
        return "" if asks or names_rows else self.default_state

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the rows that match; none where the text means nothing, and a message that says what is allowed."""
        setattr(request, _SEARCHED, True)
        return self._selected(request, queryset, search_term), False

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows that the filters mean, where a ``get_search_results`` of a subclass did all the searching."""
        return rows if was_searched(request) else self._selected(request, rows, "")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Return the list, with how to search it."""
        changes: Any = super().get_changelist_instance(request)
        changes.search = self._panel(request)
        changes.saved = self._saved(request)
        return changes

    def get_urls(self) -> list[Any]:
        views = self.admin_site.admin_view(self.views_view)
        return [path("views/", views, name=f"{self.opts.app_label}_{self.opts.model_name}_views"), *super().get_urls()]

    def views_view(self, request: HttpRequest) -> HttpResponse:
        """Save or remove a view of this list, and go back to it."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_changelist"
        back = reverse(name)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        form, removed = saved_views.SaveForm(request.POST), request.POST.get("remove")
        query = saved_views.kept(request.POST.get("query", "")[: saved_views.LONGEST_QUERY])
        try:
            if removed is not None:
                done = f"Removed the view {display.label(saved_views.remove(request, self.model, removed))}."
            elif form.is_valid():
                given = form.cleaned_data
                query = given["query"]
                saved_views.save(request, self.model, given["name"], query, is_shared=given["is_shared"])
                done = f"Saved the view {display.label(given['name'])}."
            else:
                raise DurableObjectError(" ".join(f"{name}: {each}" for name, [each, *_] in form.errors.items()))
            self.message_user(request, done, messages.SUCCESS)
        except DurableObjectError as refused:
            self.message_user(request, str(refused), messages.ERROR)
        return HttpResponseRedirect(f"{back}?{query}" if query else back)

    def _saved(self, request: HttpRequest) -> dict[str, Any]:
        """Return the views that are saved of this list, and the form that saves what it shows."""
        query = saved_views.kept(request.GET.urlencode())
        views = [
            {
                "name": display.label(view.name),
                "pk": str(view.pk),
                "query": view.query,
                "is_shown": view.query == query,
                "by": "" if view.user == str(request.user.pk) else view.by,
                "is_own": saved_views.is_own(request, view),
            }
            for view in saved_views.of_list(request, self.model)
        ]
        url = reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_views")
        form = saved_views.SaveForm(initial={"query": query}, auto_id="do-view-%s")
        return {"views": views, "form": form, "url": url, "own": [view for view in views if view["is_own"]]}

    def _selected(self, request: HttpRequest, rows: QuerySet[Any], typed: str) -> QuerySet[Any]:
        try:
            return self.matching(request, rows, self.selection(request, typed))
        except InvalidSelection as refused:
            self.message_user(request, str(refused), messages.ERROR, fail_silently=True)
            return rows.none()

    def _chosen(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the filters beside the list say, by qualifier; what they do not offer says nothing."""
        state, error, kind = request.GET.get("state"), request.GET.get("error"), request.GET.get("class")
        chosen = {"state:": state if state in STATES else None, "error:": error or None}
        if kind and (key := key_of(ContentType, kind)) is not None:
            if not kinds.has(key):
                raise InvalidSelection(f"There is no class with the number {key}: choose one of the filter.")
            chosen["class:"] = key
        return {name: value for name, value in chosen.items() if value is not None and name in self.searched_by}

    def _panel(self, request: HttpRequest) -> dict[str, Any]:
        """Return what stands at the search box: what is meant in words, what may be typed, what to try."""
        if not was_searched(request):  # what is typed here means what the subclass says
            return {"words": "", "qualifiers": [], "suggestions": [], "example": "", "bound": ""}
        typed, unseen = request.GET.get("q", "").strip(), () if self.may_see(request, Entry) else OF_STORAGE
        try:
            selection = self.selection(request)
        except InvalidSelection:
            selection, before = Selection(), ""
        else:
            before = f"{typed} " if typed else ""
        tried = [(f"{before}{text}", what, text) for text, what in self.suggestions(request) if text not in typed]
        return {
            "words": selection.words(self._quotable(request)) if selection.given else "",
            "qualifiers": [(name, QUALIFIERS[name].allowed) for name in self.searched_by if name not in unseen],
            "suggestions": tried,
            "example": f"name, or {EXAMPLES.get(self.searched_by[-1], 'state:dead tried>3')}",
            "bound": self.bound_of(selection),
        }

    def _quotable(self, request: HttpRequest) -> QuerySet[Alarm]:
        """Return the alarms whose errors may be shown."""
        return shown(self.admin_site, request, Alarm.objects.using(engine.DATABASE))

    def bound_of(self, selection: Selection) -> str:
        """Return in words how many of the newest were searched; empty: all."""
        return f"{IN_LISTS.entries:,} entries" if selection.only("key:", "value:").given else ""

    def suggestions(self, request: HttpRequest) -> list[tuple[str, str]]:
        """Return texts to try, each with a word on it: states, classes, the errors that are most frequent."""
        found = []
        if "state:" in self.searched_by:
            found += [(f"state:{state}", title) for state, title in STATES.items()]
            found += [
                ("late>5m", "Late by more than 5 minutes"),
                ("due<1h", "Due within an hour"),
                ("tried>3", "Failed more than 3 times"),
            ]
        if "class:" in self.searched_by:
            found += [(f"class:{model._meta.label}", "Class") for model in kinds.classes()]
        if "error:" in self.searched_by:
            found += [(f"error:{group}", text) for group, text in errors_of(request, self).items()]
        return found
