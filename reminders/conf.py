"""``settings.REMINDERS``: what holds for a reminder that does not say otherwise."""

from datetime import timedelta

from durable_objects.conf import AppSettings

defaults = AppSettings(
    "REMINDERS",
    {
        # Where a reminder is delivered; see reminders.channels.
        "CHANNELS": ["log"],
        # The zone on whose wall clocks a recurrence goes, where neither the reminder nor its recipient has one.
        "TIME_ZONE": "UTC",
        # From so much lateness on a message says that it is late.
        "LATE_AFTER": timedelta(minutes=1),
        # Channel "email": to whom, where the recipient has no address of their own. From: DEFAULT_FROM_EMAIL.
        "EMAIL_TO": [],
        # Channel "webhook": where to, and the secret ("whsec_…") that signs, where the recipient has none of their own.
        "WEBHOOK_URL": "",
        "WEBHOOK_SECRET": "",
        # Channels "apprise:NAME": an Apprise URL for each name. They hold secrets, so callers only ever say the name.
        "APPRISE": {},
        # How long each step of a delivery may take, and all of it: of a mail, a webhook, whatever Apprise does.
        "TIMEOUT": timedelta(seconds=10),
        "DEADLINE": timedelta(seconds=15),
        # The site's address as recipients see it ("https://example.org"): without it messages have no links.
        "PUBLIC_URL": "",
        # For how long the links in a message can be used.
        "LINKS_FOR": timedelta(days=7),
        # Deliveries that are kept on record for each reminder.
        "DELIVERIES_PER_REMINDER": 100,
    },
)
