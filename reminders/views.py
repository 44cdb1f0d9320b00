"""The pages behind the links in a message, and the calendar feed: open without a login, by what is signed."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from durable_objects import DurableObjectError, now
from reminders import calendar_feed, links
from reminders.models import Plan, Reminder
from reminders.recurrence import Place
from reminders.snooze_presets import PRESETS

TITLES = {"snooze": "Snooze this reminder", "done": "Done with this one", "cancel": "Cancel this reminder"}


class _NoWay(Exception):
    """There is nothing to do here: why, in words, and the status of the answer."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@csrf_exempt  # no session acts here: whoever has the signed address may do what it says
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def act(request: HttpRequest, verb: str, token: str) -> HttpResponse:
    """GET asks and changes nothing, since mail scanners follow links; POST acts, as often as it comes.

    400 for an address that was never given out, 410 for one that has expired, 409 for what cannot be done any more.
    """
    try:
        target, plan, handle = _find(verb, token)
        if request.method == "POST":
            return _said(request, _do(handle, plan, verb, target, request.POST.get("by", "")), 200)
    except _NoWay as refused:
        return _said(request, str(refused), refused.status)
    except DurableObjectError as refused:
        return _said(request, f"Not done: {refused}", 409)
    planned = _planned(plan, _place_of(target))
    context = {
        "title": TITLES[verb], "verb": verb, "plan": plan, "reminder": plan.object,
        "presets": _choices(plan), "planned": plan.shown(planned),
    }  # fmt: skip
    return render(request, "reminders/act.html", context)


@never_cache
@require_safe
def feed(request: HttpRequest, token: str) -> HttpResponse:
    """A person's reminders as a calendar (RFC 5545). 404 for an address that is not, or no longer, theirs."""
    try:
        recipient = links.read_feed(token)
    except links.InvalidLink:
        return _said(request, "There is no calendar here.", 404)
    answer = HttpResponse(calendar_feed.calendar_of(recipient), content_type="text/calendar; charset=utf-8")
    answer["Content-Disposition"] = 'inline; filename="reminders.ics"'
    return answer


def _find(verb: str, token: str) -> tuple[links.Target, Plan, Reminder]:
    """What the address is about. Raises ``_NoWay``."""
    if verb not in TITLES:
        raise _NoWay("There is no such page.", 404)
    try:
        target = links.read(token)
    except links.InvalidLink as refused:
        if refused.expired:
            raise _NoWay("This link has expired. A newer message has a new one.", 410) from None
        raise _NoWay("This link is not one of ours. Was it cut off?", 400) from None
    plan = Plan.objects.select_related("object").filter(pk=target.object_id, series_id=target.series_id).first()
    handle = plan.object.handle() if plan else None
    if plan is None or not isinstance(handle, Reminder):
        raise _NoWay("This reminder was set anew or deleted since.", 409)
    if not target.is_for(plan):
        if target.person is None:
            raise _NoWay("This link is of an earlier version, and the reminder was changed since.", 410)
        raise _NoWay("This reminder is for somebody else now.", 409)
    return target, plan, handle


def _do(handle: Reminder, plan: Plan, verb: str, target: links.Target, by: str) -> str:
    place = _place_of(target)
    if verb == "snooze":
        preset = next((preset for preset in PRESETS if preset.name == by), PRESETS[0])
        again = handle.remind_again(target.series_id, place, preset.span(plan.zone))
        return f"Snoozed: it comes again at {plan.shown(again)}. It was for {plan.shown(_planned(plan, place))}."
    if verb == "cancel":
        return "Cancelled: nothing more will come." if handle.cancel() else "It was over or cancelled already."
    return _done(handle, plan, place.at)


def _place_of(target: links.Target) -> Place:
    return Place(datetime.fromisoformat(target.occurrence), target.number, target.wall)


def _choices(plan: Plan) -> list[dict[str, str]]:
    """The menu of snoozes, each with when it would come again."""
    moment = now()
    return [
        {"name": preset.name, "label": preset.label, "until": plan.shown(moment + preset.span(plan.zone, moment))}
        for preset in PRESETS
    ]


def _planned(plan: Plan, place: Place) -> datetime:
    """When this occurrence is, or was, to be delivered."""
    return plan.next_at if plan.occurrence == place.at and plan.state == Plan.State.SET else place.at


def _done(handle: Reminder, plan: Plan, occurrence: datetime) -> str:
    following = handle.skip(occurrence) if plan.state == Plan.State.SET else None
    return f"Done. The next one comes at {plan.shown(following)}." if following else "Done."


def _said(request: HttpRequest, text: str, status: int) -> HttpResponse:
    return render(request, "reminders/said.html", {"text": text}, status=status)
