"""The abandoned cart: whoever leaves one alone is reminded of it, once."""

from __future__ import annotations

from datetime import timedelta

from django.core.mail import EmailMessage

from durable_objects import AlarmInfo, exclusive
from durable_objects.models import DurableObject

ABANDONED_AFTER = timedelta(minutes=30)


class Cart(DurableObject):
    """The cart of one customer, by their e-mail address: ``Cart.objects.get_by_name("ada@example.com")``."""

    class Meta:
        proxy = True

    @exclusive
    def add(self, product: str) -> int:
        """Add one of these, and return how many things there are. Each change puts the reminder off."""
        items: dict[str, int] = self.storage.get("items", {})
        items[product] = items.get(product, 0) + 1
        self.storage.put("items", items)
        if not self.storage.get("reminded", False):
            self.storage.set_alarm(ABANDONED_AFTER)
        return sum(items.values())

    @exclusive
    def check_out(self) -> dict[str, int]:
        """Empty the cart and return what was in it. With its entries goes its alarm."""
        items: dict[str, int] = self.storage.get("items", {})
        self.storage.delete_all()
        return items

    def alarm(self, info: AlarmInfo) -> None:
        """Send the mail. It runs again when sending fails, or when the worker dies: Message-ID tells a second copy."""
        items: dict[str, int] = self.storage.get("items", {})
        self.storage.put("reminded", True)
        mail = EmailMessage(
            subject="Your cart is waiting",
            body="You left behind:\n" + "\n".join(f"{count} x {product}" for product, count in items.items()),
            to=[self.name],
            headers={"Message-ID": f"<cart-{self.pk}-{info.scheduled_at.timestamp()}@shop.example>"},
        )
        with self.unlocked():  # the cart can be used while the mail server takes its time
            mail.send()
