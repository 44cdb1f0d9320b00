"""Items that come with a key of the client's own: the same key again is the same item, for a day."""

from __future__ import annotations

import hashlib
from datetime import datetime

from batcher.conf import defaults
from batcher.errors import KeyReused
from batcher.items import Item, refused_item
from batcher.tables import ItemKey
from durable_objects.validation import show, text_flaw

LONGEST_KEY = 255
#: Old keys that are deleted with each new one: the table shrinks faster than it grows, in short statements.
FORGET_AT_MOST = 100


def check(key: object) -> None:
    """Raise ``InvalidInput`` for a value that cannot be a key."""
    if type(key) is not str or not 0 < len(key) <= LONGEST_KEY or text_flaw(key):
        raise refused_item(f"the item's key is {show(key)}", f"text of 1 to {LONGEST_KEY} characters")


def item_with(batcher_pk: int | None, key: str, item: object, moment: datetime) -> int | None:
    """Return the number of the item that came with this key within ``KEYS_FOR``; None for a new key.

    Raises ``KeyReused`` if that was another item, and ``InvalidValue`` for a value that cannot be an item.
    """
    kept = ItemKey.objects.filter(batcher_id=batcher_pk, key=key, came_at__gt=moment - defaults.KEYS_FOR).first()
    if kept is None:
        return None
    if kept.digest != _digest(item):
        raise KeyReused(f"the key {show(key)} was used with another item before. Allowed: that item, or another key.")
    return kept.item


def remember(batcher_pk: int | None, key: str, item: object, number: int, moment: datetime) -> None:
    """Record which item came with this key, and delete some of the keys that are a day old."""
    row = {"item": number, "digest": _digest(item), "came_at": moment}
    ItemKey.objects.update_or_create(batcher_id=batcher_pk, key=key, defaults=row)
    rows = ItemKey.objects.filter(batcher_id=batcher_pk)
    old = rows.filter(came_at__lte=moment - defaults.KEYS_FOR).order_by("came_at").values_list("pk", flat=True)
    if forgotten := list(old[:FORGET_AT_MOST]):
        rows.filter(pk__in=forgotten).delete()


def forget_all(batcher_pk: int | None) -> None:
    """Delete all keys of a batcher: the storage that had their items is gone."""
    ItemKey.objects.filter(batcher_id=batcher_pk).delete()


def _digest(item: object) -> str:
    return hashlib.sha256(Item.of(item).text.encode()).hexdigest()
