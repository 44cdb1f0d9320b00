"""The base of every admin class here: what addresses may ask for, what pages never show, and lists with bounds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_list import pagination
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import url_params_from_lookup_dict
from django.contrib.auth import get_permission_codename
from django.core.exceptions import EmptyResultSet, ValidationError
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.functional import cached_property

from durable_objects.admin import theme
from durable_objects.admin.forms import ChangesForm, ReadableJSONField
from durable_objects.conf import engine

if TYPE_CHECKING:  # generic in the stubs only
    from django.contrib.admin.options import BaseModelAdmin

    _BaseModelAdmin = BaseModelAdmin[Any]
    _ModelAdmin = admin.ModelAdmin[Any]
    _ChangeList = ChangeList
    _Paginator = Paginator[Any]
else:
    _BaseModelAdmin, _ModelAdmin, _ChangeList, _Paginator = object, theme.ModelAdmin, ChangeList, Paginator

#: Lookups that the address of a list may have behind a field's name: those that Django's own filters write.
_FILTERED_BY = ("exact", "isnull", "isempty", "gte", "lt")


class HidesSecrets(_BaseModelAdmin):
    """Leaves ``secret_fields`` out of the page for users who may not change the row."""

    #: Fields that only users who may change the row see; their form shows no stored value (``ChangesForm``).
    secret_fields: ClassVar[Collection[str]] = ()

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return Django's fieldsets, without the secrets for users who may only view."""
        fieldsets = super().get_fieldsets(request, obj)
        if not self.secret_fields or self.may_edit(request, obj):
            return fieldsets
        return [(name, {**options, "fields": self._seen(options["fields"])}) for name, options in fieldsets]

    def may_edit(self, request: HttpRequest, obj: Any) -> bool:
        """Return whether the user can change what the page shows."""
        return self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)

    def _seen(self, fields: Any) -> list[Any]:
        rows = ([row] if isinstance(row, str) else row for row in fields)
        kept = [[name for name in row if name not in self.secret_fields] for row in rows]
        return [row[0] if len(row) == 1 else tuple(row) for row in kept if row]


class ChoicesInWords(admin.ChoicesFieldListFilter):
    """A filter by a field's choices, written as every other filter is: "Set aside", and not "Set Aside"."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the choices."""
        for choice in super().choices(changelist):
            yield choice | {"display": str(choice["display"]).capitalize()}


class SortableChangeList(_ChangeList):
    """A list that is sorted by the columns that offer it, and by no other, and ``narrowed`` by its admin."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> models.QuerySet[Any]:
        """Return the rows of the list."""
        rows: models.QuerySet[Any] = super().get_queryset(request, *args, **kwargs)
        admin: Any = self.model_admin
        return admin.narrowed(request, rows) if isinstance(admin, AnswersAddresses) else rows

    def get_results(self, request: HttpRequest) -> None:
        """Read the page; where the list is whole, Django's search box is not to offer "Show all"."""
        super().get_results(request)
        if self.full_result_count is None and not self.query and not self.get_filters_params():
            self.show_full_result_count, self.full_result_count = True, self.result_count

    def get_ordering_field(self, field_name: Any) -> Any:
        """Return the field behind a column; None where ``sortable_by`` lacks it, whatever the address asks for."""
        return super().get_ordering_field(field_name) if field_name in (self.sortable_by or ()) else None

    @property
    def pages(self) -> dict[str, Any]:
        """What Django's own template shows of the pages."""
        return pagination(self)

    @property
    def counted(self) -> str:
        """The number of rows, "2,000+" where no more are counted."""
        return f"{self.result_count:,}{'+' * (self.result_count >= getattr(self.paginator, 'LIMIT', inf))}"


class AnswersAddresses(_ModelAdmin):
    """Answers every address with a page, never with an error of the server.

    A list is narrowed and sorted by what it offers itself (``list_filter``, ``sortable_by``), so that nothing can be
    guessed of what it does not show. A key names a row that is there, or none.
    """

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Allow what ``list_filter`` names, and nothing else: Django would allow any of the model's own fields.

        A value with a NUL is refused: no row has one, and not every database takes it.
        """
        if "\0" in str(value):
            return False
        if any((lookup, value) in each.items() for each in self._lookups_of_widgets()):
            return True
        filters = self.get_list_filter(request) if request is not None else self.list_filter
        dates = {f"{self.date_hierarchy}__{part}" for part in ("year", "month", "day")}
        return lookup in dates or any(lookup in self._lookups_of(each) for each in filters)

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Return the filters, those by a field's choices in words."""
        filters: Any = super().get_list_filter(request)
        return [
            (each, ChoicesInWords) if isinstance(each, str) and self._has_choices(each) else each for each in filters
        ]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the change list that sorts only by what it offers."""
        return SortableChangeList

    def narrowed(self, request: HttpRequest, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Return those of the rows that the list shows, after its filters and ``get_search_results``."""
        return rows

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row that an address names; None also for a key that no row can have."""
        if from_field is None and key_of(self.model, object_id) is None:
            return None
        return super().get_object(request, object_id, from_field)

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run Django's action on those of the chosen keys that rows can have."""
        post = request.POST.copy()
        chosen = [key for key in post.getlist(ACTION_CHECKBOX_NAME) if key_of(self.model, key) is not None]
        post.setlist(ACTION_CHECKBOX_NAME, chosen)
        setattr(request, "POST", post)
        answer: HttpResponse | None = super().response_action(request, queryset, *args, **kwargs)
        return answer

    def _has_choices(self, path: str) -> bool:
        return bool(getattr(get_fields_from_path(self.model, path)[-1], "choices", None))

    def _lookups_of_widgets(self) -> Iterator[dict[str, str]]:
        """Yield the lookups that pop-ups of foreign keys to this model use: their ``limit_choices_to``."""
        for limit in self.model._meta.related_fkey_lookups:
            yield url_params_from_lookup_dict(limit() if callable(limit) else limit)

    def _lookups_of(self, each: Any) -> set[str]:
        """Return the lookups that a filter of the list writes into addresses."""
        if isinstance(each, type) and issubclass(each, admin.SimpleListFilter):
            return {str(each.parameter_name)}
        path = str(each[0] if isinstance(each, list | tuple) else each)
        field: Any = get_fields_from_path(self.model, path)[-1]
        if field.is_relation:
            return {f"{path}__{field.target_field.name}__exact", f"{path}__isnull"}
        return {path, *(f"{path}__{how}" for how in _FILTERED_BY)}


class BaseAdmin(HidesSecrets, AnswersAddresses):
    """The base of every admin class here: keeps secrets, answers every address, saves only what a user changed."""

    form: type[ChangesForm] = ChangesForm
    object_history_template = "admin/durable_objects/history.html"

    def formfield_for_dbfield(self, db_field: models.Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        """Return Django's form field; that of JSON refuses whatever cannot be read or stored."""
        if isinstance(db_field, models.JSONField):
            kwargs.setdefault("form_class", ReadableJSONField)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the fields that the user changed; what somebody else wrote meanwhile stays."""
        if change:
            obj.save(update_fields=form.changed_columns())
        else:
            obj.save()

    def may_see(self, request: HttpRequest, model: type[models.Model]) -> bool:
        """Return whether the user may view rows of another model, which this one's page shows too."""
        return allows(self.admin_site, request, "view", model)


class BoundedPaginator(_Paginator):
    """Counts, and so lists, the first 2,000 rows at most: search and filters find the others."""

    LIMIT = 2_000

    @cached_property
    def count(self) -> int:
        """The number of rows, at most ``LIMIT``."""
        rows = self.object_list
        assert isinstance(rows, models.QuerySet)
        return rows.order_by().values("pk")[: self.LIMIT].count()


class EngineAdmin(BaseAdmin):
    """Reads from the engine's database, and never counts a large table."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    change_list_template = "admin/durable_objects/list.html"
    change_form_template = "admin/durable_objects/page.html"

    class Media:
        css = {"all": ["durable_objects/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        return super().get_queryset(request).using(engine.DATABASE)

    def may_do_to_all(self, request: HttpRequest, permission: str) -> bool:
        """Return whether operations may do this to all rows, for a user who has the permission: not where they are
        shown or judged one by one; made to be overridden.
        """
        return not judges_rows(self.admin_site, request, permission, self.model)


class ReadOnlyAdmin(EngineAdmin):
    """Rows that only code writes: nobody can add, change or delete one by hand."""

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


def allows(
    site: admin.AdminSite, request: HttpRequest, permission: str, model: type[models.Model], row: Any = None
) -> bool:
    """Return whether the model's own admin lets the user do this (``view``, ``change`` …) to rows, or to this one,
    which has to be among those that it shows the user.
    """
    if site.is_registered(model):
        page = site.get_model_admin(model)
        asked = getattr(page, f"has_{permission}_permission")
        if row is not None and judges_rows(site, request, permission, model):
            # An object's handle has no key, and of its own fields the defaults: what is judged is the row.
            own = {"pk": row.pk} if row.pk is not None else {"name": row.name}
            row = page.get_queryset(request).filter(**own).first()
            if row is None:
                return False
        return bool(asked(request) if permission == "add" else asked(request, row))
    code = get_permission_codename(permission, model._meta)
    return bool(request.user.has_perm(f"{model._meta.app_label}.{code}"))


def judges_rows(site: admin.AdminSite, request: HttpRequest, permission: str, model: type[models.Model]) -> bool:
    """Return whether the model's own admin decides row by row: shows the user some only, by a ``get_queryset`` of its
    own, or has a ``has_…_permission`` of its own.
    """
    if not site.is_registered(model):
        return False
    page, name = site.get_model_admin(model), f"has_{permission}_permission"
    if permission != "add" and getattr(type(page), name) is not getattr(admin.ModelAdmin, name):
        return True
    return shows_some(site, request, model)


def shows_some(site: admin.AdminSite, request: HttpRequest, model: type[models.Model]) -> bool:
    """Return whether the model's own admin shows the user some rows only, by a ``get_queryset`` of its own."""
    if not site.is_registered(model):
        return False
    known: dict[type[models.Model], bool] = request.__dict__.setdefault("_narrows", {})
    if model not in known:
        shown = site.get_model_admin(model).get_queryset(request)
        every = model._default_manager.get_queryset()
        known[model] = _rows_asked_for(shown) != _rows_asked_for(every)
    return known[model]


def _rows_asked_for(rows: models.QuerySet[Any]) -> object:
    try:
        return rows.order_by().values("pk").query.sql_with_params()
    except EmptyResultSet:
        return None


def address_on(site: admin.AdminSite | str, name: str, *args: Any, **query: Any) -> str:
    """Return the address of a page of an admin site (or of that of this name), with a query; "" where the site has no
    such page: it need not have the admins of all models.
    """
    site_name = site if isinstance(site, str) else site.name
    try:
        address = reverse("admin:" + name, args=args, current_app=site_name)
    except NoReverseMatch:
        return ""
    return f"{address}?{urlencode(query)}" if query else address


def key_of(model: type[models.Model], text: str) -> Any:
    """Read a primary key from an address; None if no row can have it: not a number, too large, with a NUL."""
    field: Any = model._meta.pk
    while field.remote_field:  # a row that extends another one has that one's key
        field = field.target_field
    try:
        key = field.to_python(text)
        field.run_validators(key)
    except ValidationError:
        return None
    return None if key == "" or "\0" in str(key) else key
