"""Django admin: lists, pages and verbs for objects, their storage, alarms and runs.

For a class of your own:

    @admin.register(Cart)
    class CartAdmin(DurableObjectAdmin):
        pass

Objects of classes that are not registered have the same page under "Objects".

``tables`` are the engine's own lists, ``schedules`` and ``pauses`` those of
schedules and of what is paused, ``objects`` the base for your classes and the
page of an object, ``queries`` what that page reads, ``overview`` the page on all alarms. ``actions`` are the verbs, as
actions and buttons; ``filters``, ``columns``, ``charts``, ``forms``, ``inlines`` and ``display`` are what Django or
their name says; ``base`` keeps secrets, addresses and the bounds of lists.
"""

from durable_objects.admin.actions import CANCEL, DELETE, FIRE_NOW, PAUSE, RESUME, REVIVE, OperableAdmin, Verb
from durable_objects.admin.base import AnswersAddresses, BaseAdmin, ReadOnlyAdmin
from durable_objects.admin.columns import alarm_columns, alarm_of, moment, now_of
from durable_objects.admin.display import NOTHING, Status, badge, to_come, when
from durable_objects.admin.filters import ObjectFilter
from durable_objects.admin.forms import ChangesForm, NameForm, ReadableJSONField
from durable_objects.admin.inlines import SettingsInline
from durable_objects.admin.objects import DurableObjectAdmin
from durable_objects.admin.pauses import PauseAdmin
from durable_objects.admin.schedules import ScheduleAdmin
from durable_objects.admin.tables import AlarmAdmin, AlarmRunAdmin, EntryAdmin, ObjectAdmin

__all__ = [
    "CANCEL",
    "DELETE",
    "FIRE_NOW",
    "NOTHING",
    "PAUSE",
    "RESUME",
    "REVIVE",
    "AlarmAdmin",
    "AlarmRunAdmin",
    "AnswersAddresses",
    "BaseAdmin",
    "ChangesForm",
    "DurableObjectAdmin",
    "EntryAdmin",
    "NameForm",
    "ObjectAdmin",
    "ObjectFilter",
    "OperableAdmin",
    "PauseAdmin",
    "ReadOnlyAdmin",
    "ReadableJSONField",
    "ScheduleAdmin",
    "SettingsInline",
    "Status",
    "Verb",
    "alarm_columns",
    "alarm_of",
    "badge",
    "moment",
    "now_of",
    "to_come",
    "when",
]
