"""A site of others' making: an interface below ``/api/``, and pages of its own beside it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.security import HttpBearer

from durable_objects.http.api import GuardedAPI
from durable_objects.http.routers import ScopedRouter
from reminders.api import router as reminders


class Anybody(HttpBearer):
    """Somebody else's guard, whose callers are texts."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """Return the token as who sent it."""
        return token


carts = ScopedRouter("carts", reads="look at carts", writes="change carts", description="Carts.")


@carts.get("/{name}")
def look(request: HttpRequest, name: str) -> dict[str, str]:
    """Return the name."""
    return {"cart": name}


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    """Answer with the size of the body and its Content-Type: a page that is none of the interface's business."""
    return HttpResponse(f"{len(request.body)} {request.content_type}")


api = GuardedAPI(title="Shop", urls_namespace="shop")
api.add_router("/carts", carts)
plain = NinjaAPI(title="Another", urls_namespace="another", auth=Anybody())
plain.add_router("/reminders", reminders)

nested = GuardedAPI(title="Within", urls_namespace="within:nested")
nested.add_router("/batcher", "batcher.api.router")
urlpatterns = [
    path("within/", include(([path("api/", nested.urls)], "within"))),
    path("api/", api.urls),
    path("plain/", plain.urls),
    path("upload", upload),
]
