"""An address that cannot be called is refused where it is set, not at the first post."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from batcher.checks import check_settings as check_batcher
from batcher.models import Batcher
from durable_objects import InvalidInput
from durable_objects.outgoing import is_address
from reminders.checks import check_settings as check_reminders
from reminders.models import Delivery, Recipient, Reminder
from tests.support.passing_time import outcomes

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5"
LONG = ".".join(["a" * 60] * 5)
IMPOSSIBLE = [
    "http://xn--/", "http://xn--a/", "http://a..b/", "http://.../", "http://./", "http://-a/", "http://a-/", "http:///x",
    "http://@/", "http://u:p@/", f"http://{'a' * 64}/", f"http://{LONG}/", "http://a b/", "http://a%20b/", "http://%00/",
    "http://a,b/", "http://*/", "http://a\\b/", "http://[::1/", "http://::1/", "http://[::x]/", "http://[fe80::1%25eth0]/",
    "http://1.2.3.256/", "http://256.256.256.256/", "http://1.2.3.4.5/", "http://0xzz.1/", "http://h:0/", "http://h:65536/",
    "http://h:99999/", "http://h:-1/", "http://h:80x/", "http://\N{SNOWMAN}.net/", "ftp://h/", "h", "//h/",
    "http:h", "",    "http://h/\0", "http://h/\ud800", "http://h/" + "a" * 70_000,
]  # fmt: skip
POSSIBLE = [
    "http://h/", "http://h:1/", "https://h:65535/x?y#z", "http://localhost:8000", "http://a_b.internal/", "http://a./",
    "http://\N{LATIN SMALL LETTER U WITH DIAERESIS}.de/", "http://xn--tda.de/", "http://[::1]:8080/", "http://127.0.0.1/",
    "http://2130706433/", "http://0x7f.1/", "HTTPS://H/", "http://u:p@h/", "http://3com.example/", f"http://{LONG[:240]}.de/",
]  # fmt: skip


@pytest.mark.parametrize("url", POSSIBLE)
def test_what_can_be_called(url: str) -> None:
    """Hosts of one label, IPv6, names of other scripts, numbers that the system takes for an address."""
    assert is_address(url)


@pytest.mark.django_db
@pytest.mark.parametrize("url", IMPOSSIBLE, ids=lambda url: repr(url[:40]))
def test_what_cannot_be_called_is_refused_where_it_is_set(url: str, settings: Any) -> None:
    """By configure(), recipients and checks alike; nothing is asked of the network for that."""
    assert not is_address(url)
    if not url:
        return  # none is set
    batcher = Batcher.objects.get_by_name("orders")
    with pytest.raises(InvalidInput, match="a port from 1 to 65535"):
        batcher.configure(upstream_url=url)
    with pytest.raises(ValidationError) as invalid:
        Recipient(name="ada", webhook_url=url).full_clean()
    assert set(invalid.value.message_dict) == {"webhook_url"}
    settings.REMINDERS = {"WEBHOOK_URL": url, "WEBHOOK_SECRET": SECRET}
    settings.BATCHER = {"UPSTREAM_URL": url}
    assert [each.id for each in check_reminders(None)] == ["reminders.E006"]
    assert [each.id for each in check_batcher(None)] == ["batcher.E001"]


@pytest.mark.django_db
def test_an_address_from_before_is_final(reminder: Reminder, alarm_clock: Any) -> None:
    """A recipient that has one in the database is shown on the record, once."""
    Recipient.objects.create(name="ada", webhook_url="http://xn--/", webhook_secret=SECRET)
    reminder.set_reminder("tea", alarm_clock.now(), channels=["webhook"], person="ada")
    assert outcomes(alarm_clock) == ["succeeded"]
    assert (Delivery.objects.get().status, Delivery.objects.get().attempts) == ("refused", 1)


def test_batchers_settings_are_bound_by_the_rules_of_configure(settings: Any) -> None:
    """Each setting of the project that no batcher could be given is reported by check, and no secret is."""
    settings.BATCHER = {
        "UPSTREAM_URL": "https://bob:hunter2@h:0/", "SECRET": "hunter2", "HEADERS": {"Host": "hunter2"}, "MAX_ITEMS": 0,
    }  # fmt: skip
    found = check_batcher(None)
    assert [each.id for each in found] == ["batcher.E001"] * 4
    assert "hunter2" not in str(found)
