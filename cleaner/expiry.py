"""When an entry of storage is too old, in the SQL of each database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

#: By database: an SQL expression of the column ``value`` that finds the timestamp; one of that ``item`` that gives it
#: in milliseconds since the epoch; and whether it is a number that will be one of seconds: those of the years 2001 to
#: 2286, which as milliseconds are all in the first months of 1970. It is the item `timestamp` of a value that is a
#: dict, if that is a number or a datetime (how one is stored: ``entries.types``; without a zone it is taken as
#: UTC). NULL for anything else, which so never expires. The value is parsed once; on SQLite a datetime is a text, to
#: tell it from a number.
_EXPRESSIONS = {
    "postgresql": (
        """(value::json -> 'timestamp')::text COLLATE "C" """,
        """CASE
            WHEN item >= '-' AND item < ':' THEN item::numeric
            WHEN item LIKE '{%%' AND item::json ->> '$type' = 'datetime' THEN coalesce(
                (item::json ->> 'ms')::numeric,
                floor(extract(epoch FROM (item::json ->> 'value')::timestamp) * 1000)
            )
        END""",
        """CASE WHEN item >= '-' AND item < ':' THEN item::numeric >= 1e9 AND item::numeric < 1e10 ELSE FALSE END""",
    ),
    "sqlite": (
        """CASE json_type(value, '$.timestamp')
            WHEN 'integer' THEN json_extract(value, '$.timestamp')
            WHEN 'real' THEN json_extract(value, '$.timestamp')
            WHEN 'object' THEN CASE WHEN json_extract(value, '$.timestamp."$type"') = 'datetime' THEN '@' || coalesce(
                json_extract(value, '$.timestamp.ms'),
                strftime('%%s', substr(json_extract(value, '$.timestamp.value'), 1, 19)) * 1000
                + substr(json_extract(value, '$.timestamp.value') || '.000', 21, 3)
            ) END
        END""",
        "CASE typeof(item) WHEN 'text' THEN CAST(substr(item, 2) AS INTEGER) ELSE item END",
        "CASE typeof(item) WHEN 'text' THEN FALSE ELSE coalesce(item >= 1e9 AND item < 1e10, FALSE) END",
    ),
}


def expressions(vendor: str) -> dict[str, str]:
    """Return the arguments ``item``, ``rank`` and ``aside`` of ``sweep``: a database's SQL for a timestamp."""
    item, rank, aside = _EXPRESSIONS[vendor]
    return {"item": item, "rank": rank, "aside": aside}


def milliseconds(moment: datetime) -> int:
    """Convert to milliseconds since the epoch, rounded down: nothing is deleted early."""
    return (moment - _EPOCH) // _MILLISECOND


def moment(ranked: Any) -> datetime | None:
    """Convert back from a timestamp; None for none, and for one outside of Python's range."""
    if ranked is None:
        return None
    try:
        return _EPOCH + int(ranked) * _MILLISECOND
    except OverflowError:
        return None
