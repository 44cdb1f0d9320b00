"""What the engine asks of a database: each operation in a sentence, implemented by one class per database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any, ClassVar

from django.db.backends.base.base import BaseDatabaseWrapper


class Backend(ABC):
    """One connection's database. Its methods raise Django's database errors."""

    #: The collation that compares text by code point; None where the database's own does.
    collation: ClassVar[str | None] = None
    #: SQL for the database's clock; None where the database runs in this process and the process's clock is its clock.
    clock: ClassVar[str | None] = None
    #: SQL for a moment that is given as a parameter.
    moment_parameter: ClassVar[str] = "%s"

    def __init__(self, conn: BaseDatabaseWrapper) -> None:
        self.conn = conn

    @abstractmethod
    def write_moment(self, moment: datetime) -> Any:
        """Return an aware moment in UTC as the driver wants it for a parameter."""

    @abstractmethod
    def select_moment(self, expression: str) -> str:
        """Return the SQL that selects a moment so that the driver gives text in UTC, or an aware one."""

    @abstractmethod
    def read_column(self, value: datetime) -> datetime:
        """Return as an aware moment what Django's own backend made of a moment's column."""
