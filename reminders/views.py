"""The pages behind the links in a message, and the calendar feed: open without a login, authorized by a signature."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from durable_objects import DurableObjectError, now
from durable_objects.models import as_handle
from durable_objects.recurrence.series import Place
from reminders import links
from reminders.models import Plan, Reminder
from reminders.snooze_presets import PRESETS

TITLES = {"snooze": "Snooze this reminder", "done": "Mark as done", "cancel": "Cancel this reminder"}


class _Refused(Exception):
    """The request cannot be done: a sentence for the page, and the status of the answer."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@csrf_exempt  # no session acts here: whoever has the signed address may do what it says
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def act(request: HttpRequest, verb: str, token: str) -> HttpResponse:
    """Ask on GET, which changes nothing, since mail scanners follow links; act on POST, as often as it comes.

    400 for an address that was never issued, 410 for one that has expired, 409 for what cannot be done any more.
    """
    try:
        target, plan, handle = _find(verb, token)
        if request.method == "POST":
            return _page(request, _do(handle, plan, verb, target, request.POST.get("by", "")), 200)
    except _Refused as refused:
        return _page(request, str(refused), refused.status)
    except DurableObjectError as refused:
        return _page(request, f"Not done: {refused}", 409)
    planned = _planned(plan, _place_of(target))
    context = {
        "title": TITLES[verb], "verb": verb, "plan": plan, "reminder": plan.object,
        "presets": _choices(plan), "planned": plan.shown(planned),
    }  # fmt: skip
    return render(request, "reminders/act.html", context)


@never_cache
@require_safe
def feed(request: HttpRequest, token: str) -> HttpResponse:
    """Show a person's reminders as a calendar (RFC 5545). 404 for an address that is not, or no longer, theirs."""
    from reminders import calendar_feed  # with icalendar, 5 MB that a worker, which loads the addresses too, never uses

    try:
        recipient = links.read_feed(token)
    except links.InvalidLink:
        return _page(request, "There is no calendar at this address. Ask for the current one.", 404)
    answer = HttpResponse(calendar_feed.calendar_of(recipient), content_type="text/calendar; charset=utf-8")
    answer["Content-Disposition"] = 'inline; filename="reminders.ics"'
    return answer


def _find(verb: str, token: str) -> tuple[links.Target, Plan, Reminder]:
    """Return what the address is about. Raises ``_Refused``."""
    if verb not in TITLES:
        raise _Refused("There is no such page.", 404)
    try:
        target = links.read(token)
    except links.InvalidLink as refused:
        if refused.expired:
            raise _Refused(
                "This link has expired. The newest message about this reminder has a new one.", 410
            ) from None
        raise _Refused("This link is not valid. Was it cut off? Copy it from the message as a whole.", 400) from None
    plan = Plan.objects.select_related("object").filter(pk=target.object_id, series_id=target.series_id).first()
    handle = as_handle(plan.object) if plan else None
    if plan is None or not isinstance(handle, Reminder):
        raise _Refused("This reminder was replaced or deleted since this message was sent.", 409)
    if not target.is_for(plan):
        if target.person is None:
            raise _Refused("This link was made by an earlier version, and the reminder was changed since.", 410)
        raise _Refused("This reminder is for somebody else now.", 409)
    return target, plan, handle


def _do(handle: Reminder, plan: Plan, verb: str, target: links.Target, by: str) -> str:
    place = _place_of(target)
    if verb == "snooze":
        preset = next((preset for preset in PRESETS if preset.name == by), PRESETS[0])
        again = handle.remind_again(target.series_id, place, preset.span(plan.zone))
        return f"Snoozed until {plan.shown(again)}. It was planned for {plan.shown(_planned(plan, place))}."
    if verb == "cancel":
        return "Cancelled: it will not come again." if handle.cancel() else "It was over or cancelled already."
    return _done(handle, plan, place.at)


def _place_of(target: links.Target) -> Place:
    return Place(datetime.fromisoformat(target.occurrence), target.number, target.wall_time)


def _choices(plan: Plan) -> list[dict[str, str]]:
    """Return the choices for a snooze, each with when it would come again."""
    moment = now()
    return [
        {"name": preset.name, "label": preset.label, "until": plan.shown(moment + preset.span(plan.zone, moment))}
        for preset in PRESETS
    ]


def _planned(plan: Plan, place: Place) -> datetime:
    """Return when this occurrence is, or was, to be delivered."""
    return plan.next_at if plan.occurrence == place.at and plan.state == Plan.State.SET else place.at


def _done(handle: Reminder, plan: Plan, occurrence: datetime) -> str:
    following = handle.skip(occurrence) if plan.state == Plan.State.SET else None
    return f"Done. The next one comes on {plan.shown(following)}." if following else "Done."


def _page(request: HttpRequest, text: str, status: int) -> HttpResponse:
    return render(request, "reminders/message.html", {"text": text}, status=status)
