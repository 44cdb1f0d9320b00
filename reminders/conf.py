"""``settings.REMINDERS``: what holds for a reminder that does not say otherwise."""

from datetime import timedelta

from durable_objects.conf import DAY, LONGEST, AppSettings, Within

defaults = AppSettings(
    "REMINDERS",
    {
        # Where a reminder is delivered; see reminders.channels.
        "CHANNELS": ["log"],
        # The zone on whose wall clocks a recurrence goes, where neither the reminder nor its recipient has one.
        "TIME_ZONE": "UTC",
        # From so much lateness on a message says that it is late.
        "LATE_AFTER": Within(timedelta(minutes=1), timedelta(0), LONGEST),
        # Channel "email": to whom, where the recipient has no address of their own. From: DEFAULT_FROM_EMAIL.
        "EMAIL_TO": [],
        # Channel "webhook": where to, and the secret ("whsec_…") that signs, where the recipient has none of their own.
        "WEBHOOK_URL": "",
        "WEBHOOK_SECRET": "",
        # Channels "apprise:NAME": an Apprise URL for each name. They hold secrets, so callers only ever say the name.
        "APPRISE": {},
        # How long each step of a delivery may take, and all of it: of a mail, a webhook, whatever Apprise does.
        "TIMEOUT": Within(timedelta(seconds=10), timedelta(seconds=0.01), DAY),
        "DEADLINE": Within(timedelta(seconds=15), timedelta(seconds=0.01), DAY),
        # The site's address as recipients see it ("https://example.org"): without it messages have no links.
        "PUBLIC_URL": "",
        # For how long the links in a message can be used.
        "LINKS_FOR": Within(timedelta(days=7), timedelta(0), LONGEST),
        # Deliveries that are kept on record for each reminder.
        "DELIVERIES_PER_REMINDER": Within(100, 0, 1_000_000),
        # How often the rules of alerts are looked at, by one of the processes that run or dispatch alarms.
        "ALERTS_EVERY": Within(timedelta(seconds=30), timedelta(seconds=1), timedelta(hours=1)),
        # An address that gets a POST every minute while rules are looked at and none of them reports: of a monitor that
        # raises an alarm when none comes. It may be secret, and is shown nowhere.
        "HEARTBEAT_URL": "",
    },
)
