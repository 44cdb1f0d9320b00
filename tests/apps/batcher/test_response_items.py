"""Batcher: the forms in which upstreams say what became of each item."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.models import Batch, Batcher
from batcher.responses import Verdict, read
from durable_objects.testing import FakeClock
from tests.support.passing_time import pass_time
from tests.support.upstream import Answer, Upstream

WINDOW = timedelta(seconds=10)
JSON = {"Content-Type": "application/json"}


def verdict(body: Any, *, code: int = 200, count: int = 2, headers: dict[str, str] | None = None) -> str:
    """What an answer means: the verdict, "unknown", or for each item its status where it was not taken."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = read(code, headers or {}, raw, count)
    if answer.unknown:
        assert answer.verdict is Verdict.RETRY
        return "unknown"
    if answer.outcomes is not None:
        return " ".join(f"{answer.outcomes.get(str(at), {}).get('status', 'taken')}" for at in range(count))
    return answer.verdict.value


@pytest.mark.parametrize("code", [200, 202, 207])
@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"status": "200"}, {"status": "422"}], "taken 422"),
        ([{"status": "201 Created"}, {"status": "HTTP/1.1 503 Service Unavailable"}], "taken 503"),
        ([{"status": 200.0}, {"status": 422.0}], "taken 422"),
        ([{"code": 200}, {"code": 422}], "taken 422"),
        ([{"code": "200"}, {"code": "429"}], "taken 429"),
        ([{"statusCode": 200}, {"status_code": 400}], "taken 400"),
        ([{"success": True}, {"success": False}], "taken None"),
        ([{"success": "true"}, {"success": "false"}], "taken None"),
        ([{"ok": 1}, {"ok": 0}], "taken None"),
        ([{"success": False, "code": 503}, {"code": 200, "success": False}], "503 None"),
        ([{"status": "ok"}, {"status": "error"}], "taken None"),
        ([{"status": "Success"}, {"status": "REJECTED", "code": 409}], "taken 409"),
        ([{"status": 200, "error": None}, {"status": 200, "error": "no such sku"}], "taken None"),
        ([{"success": True, "failed": 0}, {"success": True, "error": "no"}], "taken None"),
        ([{"responseCode": 200}, {"responseCode": 422}], "taken 422"),
        ([{"http_status_code": 503}, {"httpStatusCode": 200}], "503 taken"),
        ([{"state": "delivered"}, {"state": "failed"}], "taken None"),
        ([{"result": "ok"}, {"result": "failed: no such sku"}], "taken None"),
        ([{"id": 1, "response": {"status": 422}}, {"id": 2, "response": {"status": 200}}], "422 taken"),
        ([{"failed": False}, {"failed": True}], "taken None"),
        ([{"status": 200, "body": '{"status": 422}'}, {"status": 204}], "422 taken"),
        (['{"status": 422}', '{"status": 200}'], "422 taken"),
        ([{"id": 1, "error": None}, {"id": 2, "error": "no such sku"}], "taken None"),
        ([{"index": {"status": "201"}}, {"index": {"status": "409"}}], "taken 409"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, list) else "",
)
def test_each_form_is_read(code: int, entries: list[Any], expected: str) -> None:
    """A status as text, as a float or under another name, a flag, a word, an error: what failed is not taken."""
    for named in ({"items": entries}, {"Results": entries}, entries, {"outcomes": dict(enumerate(entries))}):
        assert verdict(named, code=code) == expected


@pytest.mark.parametrize(
    "body",
    [
        {"items": [{"status": 200}, {"status": "shipped"}]},
        {"items": [{"status": "99"}, {"status": "200"}]},
        {"items": [{"status": "4220"}, {"status": "200"}]},
        {"items": [{"success": None}, {"success": True}]},
        {"items": [{"code": 0}, {"code": 3}]},
        {"items": [{"status": "422"}]},
        {"items": [{"status": 200}, {"id": 7}]},
        {"items": [{"status": 200}, "fine"]},
        {"results": {"a": {"status": 200}, "b": {"status": 422}}},
        {"results": {"1": {"status": 422}}},
        {"success": False},
        {"success": False, "items": [{"id": 1}, {"id": 2}]},
        {"success": False, "results": [{"status": 200}, {"status": 200}]},
        {"status": 422, "results": [{"status": 200}, {"status": 200}]},
        {"rejected": 1, "results": [{"status": 200}, {"status": 200}]},
        {"status": "fail", "data": {"sku": "there is none"}},
        {"status": "partial_success"},
        {"result": "failed"},
        "failed",
        False,
        {"results": []},
        {"results": [{"id": 1}]},
        {"items": ["a", "b", "c"]},
        [],
        {"data": {"results": [{"status": 200}]}},
        {"data": {"success": False}},
        {"failures": [{"at": 0}]},
        {"failed": [0]},
        {"ok": True, "summary": {"rejected": 1}},
        {"ok": True, "d": {"results": [{"status": 200}]}},
        {"UnprocessedItems": {"orders": [{"PutRequest": {}}]}},
        {"invalid": 1, "valid": 1},
        {"accepted": 1, "refused": 1, "dropped": 0},
        {"results": [{"status": 201}, {"status": 204}], "rejected": 1},
        {"status": "queued", "rejected": 1},
        {"failed_count": "1"},
        {"hasErrors": True},
        {"Successful": [{"Id": "0"}], "Failed": [{"Id": "1", "Code": "InvalidMessageContents"}]},
        {"FailedRecordCount": 1, "Records": [{"SequenceNumber": "1"}, {"ErrorCode": "InternalFailure"}]},
        json.dumps({"success": False}),
        {"statusCode": 200, "body": json.dumps({"failed": 1})},
        b')]}\',\n{"success": false}',
        {"ok": False, "error": "not_authed"},
        {"errors": [{"message": "the second is wrong"}]},
        {"status": "error", "message": "try again"},
        b'{"status": 200}\n{"status": 422}',
        b'{"items": [{"status": 200}, {"status": 4',
    ],
    ids=str,
)
def test_what_cannot_be_read_is_unknown(body: Any) -> None:
    """A 200 that speaks of the items in no form that is known, or only says that something failed, is no delivery."""
    assert verdict(body) == "unknown"
    assert verdict(body, headers=JSON) == "unknown"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"status": "422", "message": "no"}, "refused"),
        ({"code": 503}, "retry"),
        ({"success": False, "code": 400}, "refused"),
        ({"results": [200, "422"]}, "taken 422"),
        ({"statuses": ["200", "200"]}, "taken taken"),
        ([422, 200], "422 taken"),
        ([False, True], "None taken"),
        (["failed", "ok"], "None taken"),
        ({"data": {"results": [{"status": 200}, {"status": 422}]}}, "taken 422"),
        ({"success": False, "results": [{"status": 200}, {"status": 422}]}, "taken 422"),
        (json.dumps([{"status": 200}, {"status": 422}]), "taken 422"),
        ({"statusCode": 200, "body": json.dumps({"results": [200, 422]})}, "taken 422"),
        (b')]}\',\n[{"status": 200}, {"status": 422}]', "taken 422"),
    ],
    ids=str,
)
def test_what_stands_for_all_of_them(body: Any, expected: str) -> None:
    """A status in the body of a 200 counts as if it were the answer's; a list of bare statuses is one of the items."""
    assert verdict(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b'"ok"',
        {},
        {"ok": True},
        {"accepted": 2, "rejected": 0, "failures": [], "errors": [None, None], "error_code": "0"},
        {"success": True, "data": []},
        {"result": 0, "message": "No Content"},
        {"FailedRecordCount": 0, "Records": [{"SequenceNumber": "1"}, {"SequenceNumber": "2"}]},
        {"json": {"batcher": "orders"}, "data": '{"batcher": "orders", "items": [{"status": "422"}, {"error": "x"}]}'},
        {"status": "queued", "id": 7},
        {"code": 0, "message": "fine"},
        {"success": True, "error": None, "errors": []},
        {"items": ["a", "b"]},
        {"items": [{"sku": "a"}, {"sku": "b"}]},
        {"items": [422, 503]},
        {"batcher": "orders", "items": [{"status": "422"}, {"success": False}]},
    ],
    ids=str,
)
def test_a_200_that_says_nothing_of_the_items_is_delivered(body: Any) -> None:
    """Words of its own, names of what it made, or our own items sent back, are no complaint."""
    assert verdict(body, headers=JSON) == "delivered"


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/json; charset=utf-16", "application/a+json; charset=x"]
)
@pytest.mark.parametrize("body", ["[OK] 2 received", "<html>503", "'failed'", "\ufffd"])
def test_what_says_json_and_is_none_is_unknown(content_type: str, body: str) -> None:
    """A body that is not what its Content-Type says cannot be relied on; as plain text it is a word of its own."""
    raw = body.encode("utf-16" if "16" in content_type else "utf-8")
    assert verdict(raw, headers={"Content-Type": content_type}) == "unknown"
    assert verdict(raw, headers={"Content-Type": "text/plain"}) == "delivered"


@pytest.mark.parametrize(
    ("encoding", "content_type"),
    [
        ("utf-8-sig", "application/json"),
        ("utf-16", "application/json"),
        ("latin-1", "application/json; charset=latin-1"),
    ],
)
def test_the_charset_of_an_answer(encoding: str, content_type: str) -> None:
    """The one that it names, else the one that JSON shows by itself."""
    body = '{"items": [{"status": 200}, {"status": "422", "error": "größer"}]}'.encode(encoding)
    assert verdict(body, headers={"Content-Type": content_type}) == "taken 422"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["422", "ok", 503]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["status", "items", "results", "code", "success", "error", "0", "1"]), inner)
    ),
    max_leaves=12,
)


@given(body=_json, code=st.sampled_from([200, 207]))
def test_no_answer_is_too_odd(body: Any, code: int) -> None:
    """Whatever JSON comes back has a meaning, and a 207 that does not speak of each item is never a delivery."""
    found = verdict(body, code=code)
    assert code == 200 or found not in {"delivered", "refused", "retry"}


@pytest.mark.django_db
def test_a_failure_without_a_status(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """An item that is only reported as failed has failed, with its error; the others are delivered."""
    body = {"items": [{"success": True}, {"success": False, "message": "no such sku"}, {"success": False}]}
    upstream.script(Answer(200, body=json.dumps(body).encode()))
    batcher.add_items(["a", "b", "c"])
    pass_time(alarm_clock, WINDOW)
    assert (Batch.objects.get().status, Batch.objects.get().failed_items) == ("failed", 2)
    receipts = [batcher.receipt(number) for number in (1, 2, 3)]
    assert [(receipt.state.value, receipt.why) for receipt in receipts] == [
        ("delivered", ""),
        ("failed", "no such sku"),
        ("failed", "failed"),
    ]
