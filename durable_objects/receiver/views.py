"""``@receives``: a view that works on each message once, whatever is sent again."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import DEFAULT_DB_ALIAS, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from durable_objects.receiver.signatures import NotGenuine, Secrets, checked, verify

View = Callable[..., HttpResponse]


def receives(
    *,
    secret: Secrets | Callable[[HttpRequest], Secrets],
    source: str = "",
    keep: timedelta = timedelta(days=30),
    max_bytes: int = 1_048_576,
    using: str = DEFAULT_DB_ALIAS,
) -> Callable[[Callable[..., HttpResponse]], View]:
    """Make ``view(request, event, …)`` the receiver of signed messages; ``event`` is the body's JSON.

    The view runs in a transaction on the database ``using``, with the message's key in it: what it writes there and the
    fact that the message was received commit together, so it has its effect exactly once, however often and however
    many at a time it comes. A repetition is answered with the status of the first, without a call. When the view
    raises or answers 400 or more nothing is kept, and the sender may try again. What it does *outside* of that database
    is not covered: do that from ``transaction.on_commit`` or a task.

    ``secret`` is ``whsec_…``, several of which one has to have signed, or a function of the request; ``source``
    distinguishes senders that choose keys by themselves; ``keep`` is for how long a repetition is known (longer than
    any sender tries). Answers by itself: 405, 413 for more than ``max_bytes``, 401 for what is not genuine or older
    than five minutes, 400 for no JSON. Raises ``ImproperlyConfigured`` for a secret that is none.
    """
    secret_for = secret if callable(secret) else _fixed(secret)

    def decorate(view: Callable[..., HttpResponse]) -> View:
        @csrf_exempt
        @functools.wraps(view)
        def receive(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            if refused := _unmeasured(request, max_bytes):
                return refused
            try:
                key = verify(secret_for(request), request.headers, request.body)
                event = json.loads(request.body)
            except NotGenuine as error:
                return _refusal(401, str(error))
            except ValueError:
                return _refusal(400, "the body is not JSON")
            return _once(key, lambda: view(request, event, *args, **kwargs))

        return receive

    def _once(key: str, work: Callable[[], HttpResponse]) -> HttpResponse:
        from durable_objects.receiver.models import Receipt  # when Django's apps are ready

        with transaction.atomic(using=using):
            # Of two that come at once the second waits here for the first: for its commit, or to be the first itself.
            receipt, is_new = Receipt.objects.using(using).get_or_create(source=source, key=key)
            if not is_new:
                return HttpResponse(status=receipt.status)
            response = work()
            if response.status_code >= 400:
                transaction.set_rollback(True, using=using)
                return response
            receipt.status = response.status_code
            receipt.save(using=using, update_fields=["status"])
            Receipt.forget(keep, using)
        return response

    return decorate


def _fixed(secret: Secrets) -> Callable[[HttpRequest], Secrets]:
    secrets = checked(secret)
    return lambda request: secrets


def _unmeasured(request: HttpRequest, most: int) -> HttpResponse | None:
    """Return the refusal of a body that is larger than ``most``, or whose length is not a number."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()):
        return _refusal(400, "Content-Length is not a number")
    if len(length) > 20 or int(length) > most or len(request.body) > most:  # the last: sent without a length
        return _refusal(413, f"more than {most} bytes")
    return None


def _refusal(status: int, message: str) -> HttpResponse:
    return JsonResponse({"error": message}, status=status)
