"""Why somebody does what cannot be undone: checked, required where a setting says so, and written to the log."""

from __future__ import annotations

from durable_objects.conf import engine
from durable_objects.errors import InvalidInput
from durable_objects.kinds import label_of
from durable_objects.logs import about, get_logger
from durable_objects.models import DurableObject
from durable_objects.tables import Object
from durable_objects.validation import show, text_flaw

logger = get_logger(__name__)

#: At most this many characters are kept.
LONGEST = 2_000


def read(reason: str, *, required: bool) -> str:
    """Return the reason as it is kept. Raises ``InvalidInput``, also for none where ``REQUIRE_REASON`` asks for one."""
    reason = reason.strip()
    if flaw := text_flaw(reason):
        raise InvalidInput(f"the reason, {show(reason)}, {flaw}")
    if len(reason) > LONGEST:
        raise InvalidInput(f"the reason has {len(reason):,} characters: at most {LONGEST:,} are kept")
    if required and not reason and engine.REQUIRE_REASON:
        raise InvalidInput('a reason is required for this (DURABLE_OBJECTS["REQUIRE_REASON"]): say why')
    return reason


def tell(done: str, obj: Object, by: str, reason: str) -> None:
    """Write to the log what was done to an object by hand, by whom and why."""
    kind_id = obj.kind_pk() if isinstance(obj, DurableObject) and not obj.is_base() else obj.kind_id
    key = (label_of(kind_id), obj.name)
    text = "%s %r: %s by hand" + (", by %s" if by else "%s") + (": %s" if reason else "%s")
    logger.warning(text, *key, done[:1].lower() + done[1:], by, reason, extra=about("done_by_hand", key))
