"""The other side of a webhook: verifies signature and age, and does what it asks for once per key.

A Django app of its own, which needs no other module of the engine: the receiving project installs
``"durable_objects.receiver"`` and the library ``standardwebhooks``.

    @receives(secret=settings.WEBHOOK_SECRET)
    def reminded(request, event):
        Task.objects.create(title=event["data"]["message"])
        return HttpResponse(status=204)
"""

from durable_objects.receiver.signatures import NotGenuine, verify
from durable_objects.receiver.views import receives

__all__ = ["NotGenuine", "receives", "verify"]
