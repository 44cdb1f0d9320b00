"""What an operator does in a day, each task from admin's first page to its end, on a site with real workers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.support.operators_site import GATEWAY
from tests.support.site_processes import REPOSITORY, Site
from tests.support.upstream import Answer, Upstream

#: What workers may take, in milliseconds.
WITHIN = 60_000
#: Where a table says how many clicks a task takes.
GUIDE = REPOSITORY / "docs/guides/operations.md"
ROW = re.compile(r"^\| (?P<task>[^|]+) \| (?P<clicks>\d+) \|$", re.MULTILINE)
#: Counts what a person does with a mouse: each press of its button, each choice in a list. It outlives the page. A
#: press that meets something else, since the page moved under it, is withheld by Playwright at the window and made
#: again: at the document only the one that counts arrives.
COUNT = """
const count = () => { localStorage.clicks = Number(localStorage.clicks ?? 0) + 1; };
document.addEventListener("pointerdown", count, true);
document.addEventListener("change", (event) => event.target.matches("select") && count(), true);
"""
#: A button that moves away from the mouse that comes to press it, once.
MOVES = """<div id="above"></div><button onclick="document.title = 'pressed'">Press</button><script>
addEventListener("mousemove", () => { document.getElementById("above").style.height = "300px"; }, { once: true });
</script>"""


@dataclass
class Operators:
    """The site, the upstream that its batcher posts to, the session of one who may do everything, and a token."""

    site: Site
    upstream: Upstream
    address: str
    session: str
    token: str


@dataclass
class Person:
    """Somebody at the admin's first page."""

    page: Page
    operators: Operators

    def beside(self) -> Person:
        """Somebody else at a machine of their own, on the same page."""
        context = self.page.context.browser.new_context()  # type: ignore[union-attr]  # it has one until it is closed
        context.add_cookies(self.page.context.cookies())  # type: ignore[arg-type]  # what is read is what is set
        other = Person(context.new_page(), self.operators)
        other.page.goto(self.page.url)
        return other

    def opens(self, model: str) -> None:
        """Click a list on admin's first page."""
        self.page.locator(f"#content tr.model-{model} th a").click()

    def adds(self, model: str) -> None:
        """Click the link beside a list on admin's first page."""
        self.page.locator(f"#content tr.model-{model} .addlink").click()

    def follows(self, *names: str) -> None:
        """Click one link after the other, each on the page to which the one before has led."""
        for name in names:
            self.page.locator("#content").get_by_role("link", name=name, exact=True).first.click()

    def presses(self, *names: str) -> None:
        """Press one button after the other, likewise."""
        for name in names:
            self.page.get_by_role("button", name=name, exact=True).first.click()

    def searches(self, text: str) -> None:
        """Type a search above a list."""
        self.page.get_by_role("combobox", name="Search").fill(text)
        self.presses("Search")

    def types(self, label: str, text: str) -> None:
        """Fill in a field."""
        self.page.get_by_label(f"{label}:", exact=True).fill(text)

    def sees(self, where: str, text: str) -> None:
        """The part of the page says so, by itself."""
        expect(self.page.locator(where).first).to_contain_text(text, timeout=WITHIN)

    def comes_to_see(self, where: str, text: str) -> None:
        """The part of the page says so once a worker has done it and the page is loaded again: first see the page to
        which a press has led, or loading it is broken off.
        """

        def looks() -> str:
            self.page.reload()
            return " ".join(self.page.locator(where).all_inner_texts())

        self.operators.site.wait_for(f"the page to say {text!r}", looks, seconds=60, until=lambda said: text in said)

    def asks_with(self, token: str) -> int:
        """Return how the site answers whoever comes with this token."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{self.operators.address}/batcher/a", headers=headers, trust_env=False).status_code


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operators]:
    """A site in one process, web server, dispatcher and eight worker threads, on SQLite: one for all tasks, each of
    which is about rows of its own.
    """
    folder = tmp_path_factory.mktemp("operators")
    database = f"sqlite:///{folder / 'site.sqlite3'}"
    with Upstream() as upstream, Site(folder, database, "memory://", engine={"DISPATCH_EVERY": 1}) as site:
        upstream.script(Answer(422, body=b"no such sku"))
        address = str(site.up().base_url).rstrip("/")
        code = f"import json; from tests.support.operators_site import fill; print(json.dumps(fill({upstream.url!r})))"
        yield Operators(site, upstream, address, **json.loads(site.execute(code, seconds=120)))


@pytest.fixture
def person(operators: Operators, page: Page) -> Person:
    """Ada, logged in, who has clicked nothing yet."""
    page.add_init_script(COUNT)
    page.context.add_cookies([{"name": "sessionid", "value": operators.session, "url": operators.address}])
    page.goto(f"{operators.address}/admin/")
    return Person(page, operators)


def find_late_and_run(person: Person) -> None:
    """From the overview to the one alarm, to its reasons, to a run that a worker has done."""
    person.follows("Durable objects")
    person.page.locator("#do-late tr", has_text="tests.Scripted").get_by_role("link", name="Show", exact=True).click()
    person.follows("export-000000")
    person.sees(".do-alarm .do-reasons", "Wake-up 1")
    person.presses("Run now…", "Yes: run now")
    person.sees(".messagelist", "Set to run now: export-000000.")
    person.comes_to_see(".do-runs", "succeeded")


def revive_a_group(person: Person) -> None:
    """One of three kinds of error: its alarms only, with a bar, stopped and gone on with, done by a worker."""
    person.follows("Durable objects")
    group = person.page.locator("#do-dead tr", has_text="the gateway is gone")
    group.get_by_role("link", name="Revive these…").click()
    person.sees(".do-question", f"Revive {GATEWAY:,} alarms")
    person.types("Objects a second, at most", "200")  # slow enough to be stopped in the midst of it
    person.presses(f"Yes: revive {GATEWAY:,}")
    expect(person.page.get_by_role("progressbar")).to_have_attribute("value", re.compile("[1-9]"), timeout=WITHIN)
    person.presses("Stop")
    person.sees(".do-badge", "stopped")
    person.presses("Go on")
    person.sees(".do-operation", f"{GATEWAY:,} of {GATEWAY:,}")
    person.sees(".do-badge", "done")


def find_by_value(person: Person) -> None:
    """By what is stored under a key, typed as a qualifier."""
    person.opens("object")
    person.searches("value:c17@example.org")
    expect(person.page.locator("#result_list .field-named")).to_have_text(["cart-17"])
    person.follows("cart-17")
    person.sees(".do-storage", "c17@example.org")


def edit_a_value(person: Person) -> None:
    """While somebody else changes it: refused, with what is there now; saved once that was seen."""
    person.opens("object")
    person.searches("cart-07")
    person.follows("cart-07")
    person.page.locator(".do-storage tr", has_text="limit").get_by_role("link", name="Edit").click()
    person.types("Value", "25")
    someone_else = person.beside()
    someone_else.types("Value", "21")
    someone_else.presses("Save")
    someone_else.sees(".messagelist", "Saved: limit.")
    person.presses("Save")
    person.sees(".errorlist", "It is now: 21")
    person.follows("Open the page again")
    person.types("Value", "25")
    person.presses("Save")
    person.sees(".messagelist", "Saved: limit.")
    person.sees(".do-storage", "25")


def move_an_alarm(person: Person) -> None:
    """By an hour, with a question that says from when to when."""
    person.opens("alarm")
    person.searches("cart-08")
    person.follows("cart-08")
    person.presses("Later by 1h…")
    person.sees("#content", " → ")
    person.presses("Yes: later by 1h")
    person.sees(".messagelist", "Moved: cart-08")


def pause_an_object(person: Person) -> None:
    """With a reason, which its page says from then on."""
    person.opens("alarm")
    person.searches("cart-09")
    person.follows("cart-09")
    person.presses("Pause…")
    person.types("Reason", "the prices are wrong")
    person.presses("Yes: pause")
    person.sees(".do-reasons", "the prices are wrong")


def pause_a_class(person: Person) -> None:
    """All alarms of it, chosen in a list; ended from the page of the pause."""
    person.adds("pause")
    person.page.get_by_label("What").select_option("tests.Counter")
    person.types("Reason", "new columns")
    person.presses("Save")
    person.sees("#result_list", "new columns")
    person.follows("tests.Counter")
    person.presses("Resume…", "Yes: resume")
    person.sees(".messagelist", "Resumed: tests.Counter.")


def spread_a_peak(person: Person) -> None:
    """The worst second of what is ahead, done by a worker."""
    person.follows("Durable objects")
    person.sees(".do-peak", "300 in one second")
    person.follows("Spread…")
    person.types("Over", "20m")
    person.presses("Yes: spread 300")
    person.sees(".do-operation", "300 of 300")
    person.sees(".do-badge", "done")


def weekly_by_boxes(person: Person) -> None:
    """Today and another day are ticked, seen in the preview, saved; the first one is delivered by a worker."""
    person.adds("reminder")
    person.types("Name", "report")
    person.types("Message", "Send the report")
    person.page.select_option("#id_repeats", label="Every week")
    first = timezone.now() + timedelta(seconds=15)  # once it is saved
    for day in (first, first + timedelta(days=3)):
        person.page.get_by_label(f"{day:%a}", exact=True).check()
    person.page.fill("#id_local_time", f"{first:%Y-%m-%dT%H:%M:%S}")
    person.presses("Preview")
    expect(person.page.locator(".do-ahead li")).to_have_count(5)
    person.presses("Save")
    person.sees("#result_list", "Every ")
    person.page.goto(f"{person.operators.address}/admin/reminders/delivery/")
    person.comes_to_see("#result_list tr:has-text('report')", "delivered")


def snooze_a_reminder(person: Person) -> None:
    """By an hour: the question says from when to when."""
    person.opens("reminder")
    person.follows("backup")
    person.presses("Snooze: 1 hour…")
    person.sees(".do-chosen", "From ")
    person.presses("Yes: snooze: 1 hour")
    person.sees(".messagelist", "backup")


def replay_a_batch(person: Person) -> None:
    """What would be sent, and to whom, is in the question; the upstream has it afterwards."""
    person.opens("batch")
    person.follows("Failed")
    person.page.locator("#result_list th a").first.click()
    person.presses("Replay…")
    person.sees(".do-preview", f"POST {person.operators.upstream.url}")
    person.sees(".do-preview", '{"sku":"milk"}')
    person.presses("Yes: replay")
    person.sees(".messagelist", "Replay requested: orders.")
    person.comes_to_see("#content", "The upstream has all 2 items, by try 2.")


def dry_run(person: Person) -> None:
    """Says how many rows would be deleted, and which."""
    person.opens("periodiccleaner")
    person.follows("uploads")
    person.presses("Dry run…", "Yes: dry run")
    person.sees(".messagelist", "20 of the 20 rows would be deleted: upload-00 of 1970-01-01")


def make_a_token(person: Person) -> None:
    """Shown once; it opens what it is for."""
    person.adds("apitoken")
    person.types("Name", "the shop")
    person.page.get_by_label("batcher:read").check()
    person.presses("Save")
    assert person.asks_with(person.page.locator("#token").inner_text()) == 200


def revoke_a_token(person: Person) -> None:
    """On its page; it opens nothing any more."""
    token = person.operators.token
    assert person.asks_with(token) == 200
    person.opens("apitoken")
    person.follows("the press")
    person.presses("Revoke…", "Yes: revoke")
    person.sees(".messagelist", "refused everywhere within 5 s")
    assert person.asks_with(token) == 401


def filter_a_list(person: Person) -> None:
    """By class and state."""
    person.opens("alarm")
    person.follows("tests.Counter", "Dead")
    expect(person.page.locator("#result_list .field-named")).to_have_count(3)


def revive_a_class(person: Person) -> None:
    """Whatever they died of."""
    person.opens("alarm")
    person.follows("tests.Impatient", "Dead", "Revive all that match…")
    person.presses("Yes: revive 3")
    person.sees(".do-operation", "3 of 3")
    person.sees(".do-badge", "done")


def try_an_alert(person: Person) -> None:
    """A rule is made, and its test message arrives."""
    person.adds("alertrule")
    person.page.get_by_label("Condition").select_option(label="Alarms are dead")
    person.presses("Save and continue editing")
    person.follows("Send a test…")
    person.presses("Yes: send a test")
    person.sees(".messagelist", "delivered")


#: Each task by its row in the table.
TASKS: dict[str, Callable[[Person], None]] = {
    "find what is late, read why, run it": find_late_and_run,
    "revive all that died of one error, stop on the way and go on": revive_a_group,
    "find an object by what it has stored": find_by_value,
    "edit a stored value, after one that changed meanwhile was refused": edit_a_value,
    "move an alarm": move_an_alarm,
    "pause an object": pause_an_object,
    "pause a class, and resume it": pause_a_class,
    "spread the worst second ahead": spread_a_peak,
    "set a weekly reminder for two days, and see when it comes": weekly_by_boxes,
    "snooze a reminder": snooze_a_reminder,
    "replay a failed batch, having seen what is sent": replay_a_batch,
    "see which rows a cleaner would delete": dry_run,
    "make a token": make_a_token,
    "revoke a token": revoke_a_token,
    "list what is dead of one class": filter_a_list,
    "revive all that is dead of one class": revive_a_class,
    "make an alert rule, and send its test": try_an_alert,
}


@pytest.mark.browser
@pytest.mark.parametrize("task", TASKS)
def test_a_task_takes_as_many_clicks_as_the_guide_says(
    person: Person, screenshot: Callable[[str], None], task: str
) -> None:
    """From admin's first page a person gets it done, by a real worker where one is needed; typing is no click."""
    TASKS[task](person)
    clicks = person.page.evaluate("Number(localStorage.clicks)")
    screenshot(f"task-{TASKS[task].__name__}")
    assert clicks == _clicks()[task]


@pytest.mark.browser
def test_a_press_is_counted_once(page: Page) -> None:
    """Also of a button that moved away before it was pressed, and was pressed again."""
    page.add_init_script(COUNT)
    page.route("http://moves.test/", lambda route: route.fulfill(body=MOVES, content_type="text/html"))
    page.goto("http://moves.test/")
    page.get_by_role("button").click()
    expect(page).to_have_title("pressed")
    assert page.evaluate("localStorage.clicks") == "1"


def test_the_guide_has_these_tasks() -> None:
    """No task is in the guide's table that nobody does here, and none is left out."""
    assert list(_clicks()) == list(TASKS)


def _clicks() -> dict[str, int]:
    """The guide's table."""
    return {row["task"]: int(row["clicks"]) for row in ROW.finditer(GUIDE.read_text("utf-8"))}
