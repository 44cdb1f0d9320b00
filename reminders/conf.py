"""``settings.REMINDERS``: what holds for a reminder that does not say otherwise."""

from durable_objects.conf import AppSettings

defaults = AppSettings(
    "REMINDERS",
    {
        # Where a reminder is delivered; see reminders.channels.
        "CHANNELS": ["log"],
        # The zone on whose wall clocks a recurrence goes.
        "TIME_ZONE": "UTC",
    },
)
