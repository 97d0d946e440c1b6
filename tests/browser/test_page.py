"""The page in a real Chromium, on the real processes and a simulated world, whose titles are invented."""

from __future__ import annotations

import csv
import hashlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from demo.world import EVENTS_FILE, WorldSize, write_world
from stores.ports import ITEMS, USER_EVENTS, Entry
from stores.sqlite_event_log import SqliteEventLog
from tests.conftest import NO_BROWSER
from tests.system.real_loop import RealLoop

SIZES = {360: 800, 1440: 1000}
THEMES = ("light", "dark")
SOON_MS = 10_000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

if CHROMIUM is None:
    pytest.skip(f"no Chromium: {NO_BROWSER}", allow_module_level=True)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLoop]:
    folder = tmp_path_factory.mktemp("loop")
    write_world(folder / "world", seed=1, size=WorldSize(users=160, items=260, days=20))
    # Time enough for every store on a busy machine: how fast it is, is measured elsewhere.
    budgets = {f"{name}_BUDGET_MS": "3000" for name in ("USER", "ITEM", "INDEX", "LOG")}
    loop = RealLoop(folder, EVALUATE_EVERY="2", DEADLINE_MS="5000", **budgets)
    try:
        loop.start_all()
        events = _feed(loop, folder / "world" / EVENTS_FILE)
        _wait_until_learned(loop, loop.post("/v1/events", {"events": events[:-400]})[1]["receipts"][-1])
        # The rest comes while the page is looked at, so that it has something to show.
        later = threading.Thread(target=_trickle, args=(loop, events[-400:]), daemon=True)
        later.start()
        yield loop
        later.join(60)
    finally:
        loop.stop()


def _feed(loop: RealLoop, path: Path) -> list[dict[str, Any]]:
    """Tell all items; accept all events but the last thousand, and return those."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    items = {row["item_id"]: {name: row[name] for name in ("item_id", "title", "category")} for row in rows}
    assert loop.post("/v1/items", list(items.values()), method="PUT")[0] == 200
    events: list[dict[str, Any]] = [
        {name: row[name] for name in ("user_id", "item_id", "type")}
        | {"timestamp": float(row["timestamp"]), "event_id": f"world-{number}"}
        | ({"value": float(row["value"])} if row["value"] else {})
        for number, row in enumerate(rows)
    ]
    for start in range(0, len(events) - 1000, 500):
        assert loop.post("/v1/events", {"events": events[start : min(start + 500, len(events) - 1000)]})[0] == 202
    return events[-1000:]


def _trickle(loop: RealLoop, events: list[dict[str, Any]]) -> None:
    for start in range(0, len(events), 4):
        loop.post("/v1/events", {"events": events[start : start + 4]})
        time.sleep(0.4)


def _wait_until_learned(loop: RealLoop, receipt: str) -> None:
    loop.wait(lambda: loop.get(f"/v1/events/{receipt}")[1]["state"] == "learned", f"{receipt} is learned")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture(params=[(width, theme) for width in SIZES for theme in THEMES], ids=lambda one: f"{one[0]}-{one[1]}")
def look(request: pytest.FixtureRequest, browser: Browser, loop: RealLoop) -> Iterator[tuple[Page, str]]:
    """Open the page in one width and theme; whatever the console complains of is a failure."""
    width, theme = request.param
    context = browser.new_context(viewport={"width": width, "height": SIZES[width]}, color_scheme=theme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{loop.recommender_url}/")
    yield page, f"{width}-{theme}"
    context.close()
    assert complaints == []


def _titles(page: Page) -> list[str]:
    return page.locator("#items .title").all_inner_texts()


def _like_found(page: Page, words: str) -> str:
    """Search, like the first thing found and return its title."""
    page.fill("#search", words)
    first = page.locator("#found li").first
    expect(first).to_contain_text(words, ignore_case=True, timeout=SOON_MS)
    title = first.locator("span").inner_text()
    before = page.locator("#liked li").count()
    first.get_by_role("button").click()
    expect(page.locator("#liked li")).to_have_count(before + 1, timeout=SOON_MS)
    return title


def test_a_visitor_picks_favourites_gets_a_list_likes_one_and_sees_the_list_change(
    look: tuple[Page, str], request: pytest.FixtureRequest
) -> None:
    page, name = look
    expect(page.locator("#items li")).to_have_count(10, timeout=SOON_MS)
    page.get_by_role("button", name="Be a new visitor").click()
    favourites = [_like_found(page, words) for words in ("quiet", "golden", "winter")]
    expect(page.locator("#list-source")).to_contain_text("personal", timeout=SOON_MS)
    expect(page.locator("#items li")).to_have_count(10)
    before = _titles(page)
    assert not set(before) & set(favourites)

    liked = page.locator("#items li").nth(2)
    title = liked.locator(".title").inner_text()
    liked.get_by_role("button", name="Like").click()
    expect(page.locator("#items .title", has_text=title)).to_have_count(0, timeout=SOON_MS)
    after = _titles(page)
    assert after != before and title not in after
    expect(page.locator("#clock-learned")).to_contain_text("ms", timeout=SOON_MS)

    hidden = page.locator("#items .title").first.inner_text()
    page.locator("#items li").first.get_by_role("button", name="Hide").click()
    expect(page.locator("#items .title", has_text=hidden)).to_have_count(0, timeout=SOON_MS)
    expect(page.locator("#recall polyline").first).to_be_attached(timeout=SOON_MS)
    expect(page.locator("#tables dd").first).to_contain_text("grown")
    page.fill("#search", "")
    page.wait_for_timeout(700)
    assert _faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    _keep(page, request, f"page-{name}")


def test_the_operator_sees_how_the_services_are(look: tuple[Page, str], request: pytest.FixtureRequest) -> None:
    page, name = look
    # By keyboard: the tabs are one stop, the arrows go from one to the other.
    page.get_by_role("tab", name="Recommendations").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Operator")).to_be_focused()
    expect(page.locator("#services tr").first).to_be_visible(timeout=SOON_MS)
    expect(page.locator("#trainer")).to_contain_text("lag", timeout=SOON_MS)
    expect(page.locator("#top li")).to_have_count(10, timeout=SOON_MS)
    expect(page.locator("#categories .bar").first).to_be_visible()
    expect(page.locator("#letters")).to_contain_text("none", timeout=SOON_MS)
    expect(page.locator("#events polyline").first).to_be_attached(timeout=SOON_MS)
    assert _faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    _keep(page, request, f"operator-{name}")


def _faults(page: Page) -> list[str]:
    """Return what axe finds against WCAG 2 A and AA."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
    return [f"{one['id']}: {[node['html'] for node in one['nodes']][:3]}" for one in found.response["violations"]]


def _keep(page: Page, request: pytest.FixtureRequest, name: str) -> None:
    folder = request.config.getoption("--screenshots")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_dead_letters_are_shown_and_driven_again(browser: Browser, loop: RealLoop) -> None:
    log = SqliteEventLog(loop.folder / "events.db", timeout_s=10.0)
    for topic in (USER_EVENTS, ITEMS):
        log.append(topic, [Entry("x", b'{"a bad": "record"}')])
    log.close()
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.goto(f"{loop.recommender_url}/#operator")
    page.get_by_role("tab", name="Operator").click()
    expect(page.locator("#letters table")).to_have_count(2, timeout=SOON_MS)
    expect(page.locator("#letters")).to_contain_text("bad_item")
    expect(page.locator("#letters")).to_contain_text('{"a bad": "record"}')
    assert "undefined" not in page.locator("#letters").inner_text()
    page.get_by_role("button", name="Append all records of items").click()
    expect(page.locator("#state")).to_contain_text("1 dead letters appended again", timeout=SOON_MS)
    context.close()


def test_a_key_that_reads_and_ingests_is_enough_for_the_page(browser: Browser, loop: RealLoop, tmp_path: Path) -> None:
    key = "one-that-reads-and-ingests"
    stores = {f"{name.upper()}_URL": f"sqlite:///{loop.folder}/{name}.db" for name in ("events", "users", "items")}
    digest = hashlib.sha256(key.encode()).hexdigest()
    guarded = RealLoop(tmp_path, **stores, INDEX_URL=loop.index_url, API_KEYS=f"page:read+ingest:{digest}")
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    try:
        guarded.start("recommender_server")
        guarded.wait(lambda: guarded.get("/readyz")[0] == 200, "the guarded one is ready")
        page = context.new_page()
        page.goto(f"{guarded.recommender_url}/")
        expect(page.locator("#state")).to_contain_text("wants a key", timeout=SOON_MS)
        page.get_by_role("tab", name="Operator").click()
        page.fill("#key", key)
        page.get_by_role("button", name="Use").click()
        # Dead letters are for who administers it.
        expect(page.locator("#letters")).to_contain_text("scope admin", timeout=SOON_MS)
        page.get_by_role("tab", name="Recommendations").click()
        page.get_by_role("button", name="Be a new visitor").click()
        _like_found(page, "quiet")
        expect(page.locator("#list-source")).to_contain_text("personal", timeout=SOON_MS)
        expect(page.locator("#recall polyline").first).to_be_attached(timeout=SOON_MS)
    finally:
        context.close()
        guarded.stop()
