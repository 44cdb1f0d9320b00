"""The lists that commands of the apps and of the HTTP interface print."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command

from tests.support.row_of_each_model import row_of_each_model
from tests.support.terminal import Terminal


@pytest.mark.django_db
@pytest.mark.parametrize("command", ["batcher", "cleaner", "reminders", "tokens"])
def test_a_terminal_is_shown_what_the_columns_are(command: str) -> None:
    """A list has a header on a terminal, each column below its word; a pipe gets the rows alone."""
    row_of_each_model("a shop", "some text")
    piped, shown = StringIO(), Terminal()
    call_command(command, "list", stdout=piped)
    call_command(command, "list", stdout=shown)
    header, *rows = shown.getvalue().splitlines()
    assert header == header.upper()
    assert [row.split() for row in rows] == [row.split() for row in piped.getvalue().splitlines()]
    assert [row[header.index("NAME") :].split("  ")[0] for row in rows] == ["a shop"]
