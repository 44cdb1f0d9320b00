"""The settings of processes that deliver reminders: REMINDERS is a JSON object, EMAIL_PORT the mail server's port."""

from __future__ import annotations

import json
import os

from tests.site_settings import *  # noqa: F403  the project as its users run it

REMINDERS = json.loads(os.environ["REMINDERS"])
EMAIL_HOST = "127.0.0.1"
EMAIL_PORT = int(os.environ["EMAIL_PORT"])
DEFAULT_FROM_EMAIL = "remind@example.org"
