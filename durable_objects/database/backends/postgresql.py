"""PostgreSQL, by psycopg 3."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from durable_objects.database.backends.base import Backend


class PostgreSQL(Backend):
    """A server, asked over a session that may be lost."""

    collation = "C"
    clock = "clock_timestamp()"
    moment_parameter = "%s::timestamptz"

    def write_moment(self, moment: datetime) -> datetime:
        """Return it as it is: psycopg writes moments."""
        return moment

    def select_moment(self, expression: str) -> str:
        """Return SQL for text in UTC: PostgreSQL's own goes by the session's TimeZone and DateStyle, or to year 10000."""
        return f"to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"

    def read_column(self, value: datetime) -> datetime:
        """Return it in the connection's zone if naive: it was not selected as text, and USE_TZ is off."""
        return value if value.tzinfo else value.replace(tzinfo=ZoneInfo(self.conn.timezone_name))
