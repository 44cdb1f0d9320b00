"""Wake-ups that could not be sent are taken back: as if they had never been claimed, and nobody else's with them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_objects import now
from durable_objects.alarms.predicates import FORGOTTEN
from durable_objects.delivery import claims
from durable_objects.tables import Alarm
from tests.models import Script, Scripted
from tests.support.limited_alarms import due, slot

pytestmark = pytest.mark.django_db(transaction=True)


def claim() -> claims.Claim:
    """What a pass claims for the one alarm that is due."""
    kinds = [Scripted.kind_pk()]
    (claimed,) = claims.claim(now(), 9, claims.unsent(now(), kinds), claims.lost(now(), kinds, now()))
    return claimed


def take_back(claimed: claims.Claim) -> None:
    """The broker has refused it."""
    claims.mark_unsent({claimed.object_id: (claimed.wake_up_number, claimed.rescue)})


def test_the_first_one_is_claimed_anew(script: Script) -> None:
    """A wake-up that was never sent leaves no trace: the next pass sends one, which is no rescue."""
    due("a")
    take_back(claim())
    assert slot("a").wake_up_for is None
    assert not claim().rescue


def test_one_that_is_sent_again_keeps_its_number_and_its_count(script: Script) -> None:
    """The first one may still be with the broker, and comes with its number; what the broker refused was not lost."""
    due("a")
    first = claim()
    Alarm.objects.update(wake_up_for=now() - timedelta(hours=1), wake_ups_lost=3)
    again = claim()
    assert slot("a").wake_ups_lost == 4
    take_back(again)
    assert (slot("a").wake_up_for, slot("a").wake_ups_lost) == (FORGOTTEN, 3)
    assert claim().wake_up_number == again.wake_up_number == first.wake_up_number


def test_a_count_of_none_stays_none(script: Script) -> None:
    """An alarm that was set anew meanwhile has lost no wake-up, and less than none is not stored."""
    due("a")
    take_back(claims.Claim(slot("a").pk, Scripted.kind_pk(), slot("a").wake_up_number, now(), 0, rescue=True))
    assert (slot("a").wake_up_for, slot("a").wake_ups_lost) == (None, 0)
    Alarm.objects.update(wake_up_for=now())
    take_back(claims.Claim(slot("a").pk, Scripted.kind_pk(), slot("a").wake_up_number, now(), 0, rescue=True))
    assert (slot("a").wake_up_for, slot("a").wake_ups_lost) == (FORGOTTEN, 0)


@pytest.mark.parametrize("rescue", [False, True])
def test_a_later_one_stays_out(script: Script, rescue: bool) -> None:
    """A refusal that is told late, of a wake-up before the one that is out, takes nothing back."""
    due("a")
    claimed = claim()
    before = slot("a").wake_up_for
    claims.mark_unsent({claimed.object_id: (claimed.wake_up_number - 1, rescue)})
    assert slot("a").wake_up_for == before is not None
