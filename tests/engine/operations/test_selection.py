"""The one text that says which alarms and objects are meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from durable_objects.alarms.queries import STATES
from durable_objects.operations.selection import InvalidSelection, Selection, Text, Within
from durable_objects.operations.selection.qualifiers import FARTHEST
from durable_objects.tables import Alarm, Entry
from durable_objects.testing import FakeClock
from tests.models import Counter, Scripted
from tests.support.admin_pages import park, scripted
from tests.support.many_alarms import dead_alarms

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)

_TEXTS = some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
_LOOKED_FOR = some.builds(Text, _TEXTS, some.booleans())
_SPANS = some.integers(0, FARTHEST // timedelta(milliseconds=1)).map(lambda number: timedelta(milliseconds=number))
_TIMES = some.datetimes(datetime(1971, 1, 1), datetime(9000, 1, 1), timezones=some.just(UTC))  # noqa: DTZ001  UTC's
_GIVEN: some.SearchStrategy[dict[str, Any]] = some.fixed_dictionaries(
    {},
    optional={
        "class:": some.integers(0, 1), "state:": some.sampled_from([*STATES]), "name:": _LOOKED_FOR,
        "key:": _LOOKED_FOR, "value:": _TEXTS, "error:": _TEXTS | some.from_regex(r"[0-9a-f]{16}", fullmatch=True),
        "due>": _SPANS | _TIMES, "due<": _SPANS | _TIMES, "late>": _SPANS, "tried>": some.integers(0, 2**31 - 1),
    },
)  # fmt: skip


@given(values=_GIVEN)
@settings(suppress_health_check=list(HealthCheck))
def test_what_is_written_reads_back(values: dict[str, Any]) -> None:
    """Every selection is read from its own text as it was, and described in words."""
    if "class:" in values:
        values["class:"] = (Scripted, Counter)[values["class:"]].kind_pk()
    selection = Selection.of(values)
    assert Selection.parse(str(selection)) == selection
    assert selection.words()


@given(text=some.text() | some.text('":*<>\\ adekmstu1'))
@settings(suppress_health_check=list(HealthCheck))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever is typed is a selection, whose own text means the same, or is refused in words: nothing else."""
    try:
        selection = Selection.parse(text)
    except InvalidSelection as refused:
        assert len(str(refused)) > 20  # noqa: PT017  either is right
    else:
        assert Selection.parse(str(selection)) == selection


@pytest.mark.parametrize(
    ("text", "canonical", "words"),
    [
        ("", "", "all of them"),
        ("cart-0", "name:cart-0*", "with a name that begins with cart-0"),
        ('  "my cart" ', 'name:"my cart"*', 'with a name that begins with "my cart"'),
        ("name:ada", "name:ada", "with the name ada"),
        (r'name:"say \"hi\""', r'name:"say \"hi\""', r'with the name "say \"hi\""'),
        ("STATE:Dead class:TESTS.scripted", "class:tests.Scripted state:dead", "of tests.Scripted, dead"),
        ("late>90s", "late>1m30s", None),
        ("due<1d12h due>0s", "due>0s due<1d12h", None),
        ("due<2031-01-01T01:00+01:00", "due<2031-01-01T00:00:00Z", None),
        ("tried>1 key:total", "key:total tried>1", "with the key total, failed more than 1 time"),
        ("value:ann key:cust*", "key:cust* value:ann", "with a key that begins with cust, with ann in a value"),
        ("error:0123456789abcdef", "error:0123456789abcdef", "with an error of the group 0123456789abcdef"),
        ('error:"no money"', 'error:"no money"', 'with an error that has "no money"'),
    ],
)
def test_a_selection_has_one_text(text: str, canonical: str, words: str | None) -> None:
    """However it is typed, what means the same is written the same, and said in words."""
    selection = Selection.parse(text)
    assert str(selection) == canonical
    assert words in {selection.words(), None}


@pytest.mark.parametrize("columns", [{}, {"state": "armed", "retry_count": 2}])
def test_a_group_of_errors_is_said_in_words(columns: dict[str, Any]) -> None:
    """Of a group of errors people read what one of them says, dead or retried, and its digits where no alarm has it."""
    dead_alarms(Scripted, 2)
    Alarm.objects.update(**columns)
    group = Alarm.objects.values_list("error_group", flat=True)[0]
    selection = Selection.parse(f"error:{group}")
    assert selection.words() == 'with an error like "ValueError: the stock is empty"'
    assert str(selection) == f"error:{group}"
    Alarm.objects.update(state="idle")
    assert selection.words() == f"with an error of the group {group}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("state:deaf", r'"state:deaf" names no state. Allowed: idle, armed, due, '),
        ("class:test.scriptd", r'"class:test.scriptd" names no class of objects: .* did you mean tests.Scripted\?'),
        ("class:auth.User", "names no class of objects"),
        ("stat:dead", r'"stat:dead" begins with no qualifier: did you mean state:\? Allowed: class: state: '),
        ("user:42", r'in double quotes: "user:42"'),
        ("due:1h", "begins with no qualifier"),
        ("my cart", r'"cart" is the second name: here, and there can be one'),
        ("state:dead state:idle", '"state:idle" is the second state: here'),
        ("due<soon", r'"due<soon": "soon" is not a span of time. Allowed: numbers with units'),
        ("due<2031-01-01", r"no time behind it. Allowed: a span from now \(1h, 2d12h\) or a time with its zone"),
        ("due<99999999h", "goes too far. Allowed: 0s to "),
        ("late>5", "is not a span of time"),
        ("tried>many", "has no number behind it. Allowed: 0 to 2147483647"),
        ("tried>99999999999", "has no number behind it"),
        ("name:", r"has no text behind it"),
        ('name:"open', "cannot be read. A text with blanks, quotes or"),
        ("na*me", "cannot be read"),
        (r'name:"\x"', r"has a \\ that means nothing"),
        ("value:an*", r"ends with \*, but is searched for anywhere"),
        ("state:de*", r"ends with \*, which stands behind names and keys only"),
        ("a\0b", "has a NUL character"),
        (r'"\u0000"', "has a NUL character"),
        (r'"\ud800"', "has a lone surrogate"),
    ],
)
def test_what_means_nothing_is_refused(text: str, words: str) -> None:
    """A word that means nothing is named, with what is allowed in its place."""
    with pytest.raises(InvalidSelection, match=words):
        Selection.parse(text)


def test_spans_until_due_can_be_fixed(clock: FakeClock) -> None:
    """With a now, spans until something is due become times: an operation that goes on tomorrow means the same."""
    fixed = Selection.parse("due>1m due<1h late>5m", clock.now())
    assert str(fixed) == "due>2026-05-01T12:01:00Z due<2026-05-01T13:00:00Z late>5m"


@pytest.fixture
def rows(clock: FakeClock) -> None:
    """Objects of two classes, with entries and alarms that differ."""
    Counter.objects.get_by_name("cart-9").add(5)
    scripted("cart-001", timedelta(hours=1)).storage.put("customer", "ann & son")
    scripted("cart-002", timedelta(hours=2)).storage.put("customers", {"first": 'bob "x"'})
    scripted("Cart-003", MINUTE)
    scripted("idle")
    dead, retrying = scripted("dead", MINUTE), scripted("retrying", MINUTE)
    Alarm.objects.filter(pk=dead.pk).update(state="dead", due_at=None, retry_count=7, last_error="ValueError: no MONEY")
    Alarm.objects.filter(pk=retrying.pk).update(
        due_at=clock.now() + 40 * MINUTE, retry_count=3, last_error="KeyError: 1"
    )
    park("parked", state="armed", due_at=clock.now() + MINUTE)
    clock.advance(10 * MINUTE)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("class:tests.counter", "cart-9"),
        ("class:ghost.phantom", "parked"),
        ("state:idle", "cart-9 idle"),
        ("state:dead", "dead"),
        ("state:armed class:tests.Scripted", "Cart-003 cart-001 cart-002 retrying"),
        ("cart-", "cart-001 cart-002 cart-9"),
        ("cart- class:tests.Scripted", "cart-001 cart-002"),
        ("name:cart-001", "cart-001"),
        ("key:customer", "cart-001"),
        ("key:customer*", "cart-001 cart-002"),
        ('value:"n & s"', "cart-001"),
        (r'value:"bob \"x\""', "cart-002"),
        ("value:bob key:customer", ""),
        ("class:tests.Counter value:5", "cart-9"),
        ("error:money", "dead"),
        ("error:Error", "dead retrying"),
        ("due<45m", "Cart-003 parked retrying"),
        ("due>45m", "cart-001 cart-002"),
        ("due>45m due<1h", "cart-001"),
        ("due<2026-05-01T12:05Z", "Cart-003 parked"),
        ("late>8m", "Cart-003"),
        ("late>10m", ""),
        ("tried>2", "dead retrying"),
        ("tried>3 dead", "dead"),
    ],
)
def test_each_qualifier_finds_what_it_says(text: str, names: str, rows: None, clock: FakeClock) -> None:
    """Each qualifier narrows objects, and the alarms that they have, to exactly those of which it is true."""
    selection = Selection.parse(text)
    # one without a slot is idle
    slots = set(Alarm.objects.values_list("object__name", flat=True))
    found = set(selection.objects(clock.now()).values_list("name", flat=True))
    assert found == set(names.split())
    assert set(selection.alarms(clock.now()).values_list("object__name", flat=True)) == found & slots


@pytest.mark.parametrize("pattern", ["secret:*", "secret:?oken", "*[:]token", "s*"])
def test_hidden_values_are_not_searched(
    pattern: str, rows: None, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that pages hide is found by nobody: by its key's pattern, or as its class is unknown here."""
    Entry.objects.filter(object__name="parked").update(value='"hush"')
    obj = Counter.objects.get_by_name("cart-9")
    obj.storage.put_many({"secret:token": "hush", "tokens": "hush"})
    assert [row.name for row in Selection.parse("value:hush key:secret*").objects(clock.now())] == ["cart-9"]
    monkeypatch.setattr(Counter, "masked_keys", (pattern, "x"))
    assert [row.name for row in Selection.parse("value:hush").objects(clock.now())] == ["cart-9"]
    assert not Selection.parse("value:hush key:secret*").objects(clock.now())
    assert Selection.parse("key:secret*").objects(clock.now())


def test_a_list_searches_the_newest_entries(rows: None, clock: FakeClock) -> None:
    """With a bound only so many of the newest entries are searched; without one, all."""
    selection = Selection.parse("value:son")
    assert selection.objects(clock.now(), within=Within(entries=4, objects=1)).exists()
    assert not selection.objects(clock.now(), within=Within(entries=1, objects=9)).exists()
    assert selection.objects(clock.now()).exists()


def test_a_list_looks_for_idle_objects_among_the_newest(rows: None, clock: FakeClock) -> None:
    """An object without an alarm is in no index: with a bound only so many of the newest objects are looked at."""
    selection = Selection.parse("state:idle")
    assert selection.reads_rows
    assert selection.objects(clock.now(), within=Within(entries=9, objects=9)).count() == 2
    assert not selection.objects(clock.now(), within=Within(entries=9, objects=1))


def test_a_list_has_no_more_than_it_asks_for(rows: None, clock: FakeClock) -> None:
    """Of dead and retried alarms together a list has so many as it asks for, the newest first."""
    scripted("newer", MINUTE)
    Alarm.objects.filter(object__name="newer").update(retry_count=1, due_at=clock.now() + MINUTE)
    within = Within(entries=9, objects=9)
    newest = list(Selection.parse("tried>0").alarms(clock.now()).order_by("-pk").values_list("pk", flat=True))
    assert len(newest) == 3
    assert Selection.parse("tried>0").first_alarms(clock.now(), 2, within) == newest[:2]


@pytest.mark.parametrize(
    ("text", "ordering"),
    [
        *((text, ("wake_at", "pk")) for text in ("due<1h", "due>1h", "late>5m", "state:overdue", "state:hour")),
        *((text, ("-pk",)) for text in ("", "state:dead", "tried>1", "error:money", "class:tests.Scripted")),
    ],
)
def test_alarms_are_in_the_order_of_what_is_asked(text: str, ordering: tuple[str, ...]) -> None:
    """By due time where that is the question, else the newest first."""
    assert Selection.parse(text).ordering == ordering


def test_a_class_is_found_also_when_its_code_is_gone(rows: None) -> None:
    """A class that this code lacks is one to select by while it has objects."""
    park("another")
    assert str(Selection.parse("class:Ghost.Phantom")) == "class:ghost.phantom"
