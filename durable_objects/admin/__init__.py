"""Django admin: lists, pages and verbs for objects, their storage, alarms and runs.

For a class of your own:

    @admin.register(Cart)
    class CartAdmin(DurableObjectAdmin):
        pass

Objects of classes that are not registered have the same page under "Objects".

``tables`` are the engine's own lists, ``schedules``, ``pauses`` and ``processes`` those of schedules, of what is
paused, and of workers and dispatchers, ``objects`` the base for your classes and the page of an object, ``queries``
what that page reads, ``overview`` the page on all alarms. ``verbs`` are what is done to an object,
``actions`` asks and does it;
``search`` is what is typed above a list; ``panels`` are what an app adds to the page of its objects; ``filters``,
``columns``, ``charts``, ``forms``, ``inlines`` and ``display`` are what Django or their name says; ``entries`` edits
storage; ``base`` keeps secrets, addresses and the bounds of lists.
"""

from durable_objects.admin.actions import OperableAdmin
from durable_objects.admin.base import (
    AnswersAddresses,
    BaseAdmin,
    BoundedPaginator,
    ReadOnlyAdmin,
    SortableChangeList,
    address_on,
    allows,
)
from durable_objects.admin.columns import alarm_columns, alarm_of, moment, now_of, titled
from durable_objects.admin.display import NOTHING, Status, badge, short_id, to_come, when
from durable_objects.admin.filters import ObjectFilter, named
from durable_objects.admin.forms import ChangesForm, LongSelect, NameForm, ReadableJSONField, SpanField
from durable_objects.admin.inlines import SettingsInline
from durable_objects.admin.objects import DurableObjectAdmin
from durable_objects.admin.operations import OperationAdmin
from durable_objects.admin.panels import Panel
from durable_objects.admin.pauses import PauseAdmin
from durable_objects.admin.permissions import sees_every_object, shown
from durable_objects.admin.processes import ProcessAdmin
from durable_objects.admin.schedules import ScheduleAdmin
from durable_objects.admin.tables import AlarmAdmin, AlarmRunAdmin, EntryAdmin, ObjectAdmin
from durable_objects.admin.verbs import CANCEL, DELETE, FIRE_NOW, PAUSE, RESUME, REVIVE, Verb

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
    "BoundedPaginator",
    "ChangesForm",
    "DurableObjectAdmin",
    "EntryAdmin",
    "LongSelect",
    "NameForm",
    "ObjectAdmin",
    "ObjectFilter",
    "OperableAdmin",
    "OperationAdmin",
    "Panel",
    "PauseAdmin",
    "ProcessAdmin",
    "ReadOnlyAdmin",
    "ReadableJSONField",
    "ScheduleAdmin",
    "SettingsInline",
    "SortableChangeList",
    "SpanField",
    "Status",
    "Verb",
    "address_on",
    "alarm_columns",
    "alarm_of",
    "allows",
    "badge",
    "moment",
    "named",
    "now_of",
    "sees_every_object",
    "short_id",
    "shown",
    "titled",
    "to_come",
    "when",
]
