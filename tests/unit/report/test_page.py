"""The page in a real browser: sorting, filtering, unfolding rows, keyboard, narrow screens, and no network requests.

Needs Chromium (Debian: chromium) on the path, or its path in LTBENCH_CHROMIUM; skipped without it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.report_records import METHODS, cifar, keep_logits, lifelike, store
from ltbench.benchmarks.utils.docstrings import method_cards
from ltbench.report.build import build
from ltbench.report.sources import Sources
from ltbench.report.statistics import Options
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = os.environ.get("LTBENCH_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install it, or set LTBENCH_CHROMIUM to its path")
EVIL = "<img src=x onerror=\"document.title='broken'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    runs = [lifelike(cifar(10, 100), m, s, lift) for m, lift in METHODS.items() for s in range(3)]
    runs += [lifelike(cifar(100, 50), m, s, 0.1) for m, s in (("erm", 0), ("rsg", 0), ("rsg", 1))]
    runs += [lifelike(cifar(10, 100), "open", s, 0.1, changed={"word": EVIL}) for s in range(3)]
    store(runs, folder / "results")
    keep_logits(runs[:9], folder / "runs")
    sources = Sources(folder / "results", folder / "runs", cards=method_cards())
    build(sources, folder / "out", options=Options(published=True), formats=["svg"])
    return folder / "out" / "index.html"


@pytest.fixture(params=[(1280, 900, "light"), (390, 800, "dark")], ids=["wide", "phone, dark"])
def page(browser: Browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, opened from disk. After the test, check for console messages, errors and network requests."""
    width, height, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    opened, problems = context.new_page(), []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "request",
        lambda request: problems.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
    )
    opened.goto(file.as_uri())
    yield opened
    assert problems == []
    assert opened.title() == "ltbench leaderboard"  # no text from a record ran as code
    context.close()


def board(page: Page, column: int, table: int = 0) -> list[str]:
    rows = page.locator("table.board").nth(table).locator("> tbody > tr.row:visible")
    return [row.locator("th, td").nth(column).inner_text() for row in rows.all()]


def test_sorting_keeps_words_last_and_says_its_direction(page: Page) -> None:
    first = page.locator("table.board").first
    names = first.locator("thead th").all_text_contents()
    at = names.index("overall")
    overall = first.locator("thead th").nth(at)
    overall.locator("button").click()
    assert overall.get_attribute("aria-sort") == "descending"
    values = [float(text.split(" ")[0]) for text in board(page, at)]
    assert values == sorted(values, reverse=True)
    overall.locator("button").click()
    assert overall.get_attribute("aria-sort") == "ascending"
    assert [float(text.split(" ")[0]) for text in board(page, at)] == values[::-1]
    first.locator("thead th").nth(0).locator("button").click()
    assert board(page, 0) == sorted(board(page, 0))
    assert overall.get_attribute("aria-sort") == "none"


def test_families_are_filtered_coloured_and_sorted_on_wide_screens(page: Page) -> None:
    page.fill("#filter", "margin")
    assert board(page, 0) == ["ldam-drw"]
    page.fill("#filter", "")
    mark = page.locator("tr[data-family=margin] .family").first
    assert mark.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(213, 94, 0)"
    header = page.locator("table.board").first.locator("thead th", has_text="family")
    if page.viewport_size == {"width": 390, "height": 800}:
        assert not header.is_visible()
        return
    header.locator("button").click()
    families = board(page, 1)
    assert families == sorted(families)
    assert {"baseline", "generation", "margin"} < set(families)


def test_rows_of_fewer_seeds_stay_below_when_sorted(page: Page) -> None:
    table = _index(page, "cifar100")
    header = page.locator("table.board").nth(table).locator("thead button").first
    for _ in range(2):
        assert board(page, 0, table) == ["rsg", "erm"]
        header.click()
    part = page.locator("table.board").nth(table).locator("tr.part")
    assert part.inner_text() == "fewer seeds: not ranked with the rows above"
    page.fill("#filter", "cifar100 rsg")
    assert not part.is_visible()


def test_sorting_understands_durations_and_signs(page: Page) -> None:
    page.locator("summary", has_text="Difference from erm").first.click()
    costs = page.locator("table.board").nth(1)
    names = costs.locator("thead th").all_inner_texts()
    costs.locator("thead th").nth(names.index("minus erm")).locator("button").click()
    texts = board(page, names.index("minus erm"), 1)
    values = [float(text.split(" ")[0].replace("−", "-")) for text in texts if text != "–"]
    assert values == sorted(values, reverse=True)
    assert texts[-1] == "–"


def test_filter_hides_rows_settings_and_links(page: Page) -> None:
    page.fill("#filter", "CIFAR100 rsg")
    assert page.locator(".setting:visible").count() == 1
    assert board(page, 0, page.locator("table.board").count() and _index(page, "cifar100")) == ["rsg"]
    assert page.locator("#count").inner_text() == "1 of 6 rows"
    assert page.locator("nav li[data-section]:visible").count() == 1
    page.fill("#filter", "nothing of that name")
    assert page.locator("#nothing").is_visible()
    page.fill("#filter", "")
    page.select_option("#dataset", "cifar10-lt")
    assert page.locator(".setting:visible").count() == 1
    assert page.locator("#count").inner_text() == "4 of 6 rows"


def _index(page: Page, word: str) -> int:
    """Index, among all tables of the page, of the leaderboard of the setting whose title contains a word."""
    sections = page.locator(".setting").all()
    k = next(k for k, section in enumerate(sections) if word in section.locator("h2").inner_text())
    return sum(section.locator("table.board").count() for section in sections[:k])


def test_a_row_unfolds_by_keyboard_to_circumstances_and_command(page: Page) -> None:
    button = page.locator(".unfold").first
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    detail = page.locator(".detail").first
    assert detail.is_visible()
    text = detail.inner_text()
    for word in ("bench run --method", "--seed 0,1,2", "data checksum", "abababab", "12345678", "hyper-parameters"):
        assert word in text
    page.locator("table.board").first.locator("thead th button", has_text="overall").click()
    assert button.locator(
        "xpath=ancestor::tr/following-sibling::tr[1]"
    ).is_visible()  # the details stay below their row
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "filter"
    button.click()
    assert not detail.is_visible()


def test_filtered_rows_take_their_details_along(page: Page) -> None:
    page.locator(".unfold", has_text="erm").first.click()
    page.fill("#filter", "balanced")
    assert page.locator(".detail:visible").count() == 0
    page.fill("#filter", "")
    assert page.locator(".detail:visible").count() == 1


def test_nothing_is_wider_than_the_screen_and_names_are_text(page: Page) -> None:
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert EVIL in page.locator("main").inner_text()
    assert page.locator("main img").count() == page.locator("main img[src^='data:image/svg']").count() > 10
    assert page.evaluate("[...document.images].every(i => i.alt.length > 5)")


def test_contrast_in_both_themes(page: Page) -> None:
    """Contrast of text is at least 4.5 to 1 (WCAG AA)."""
    script = """() => {
        const light = c => c.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        const lum = c => { const [r, g, b] = light(c); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const rgb = s => s.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const back = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
            if (!c.startsWith("rgba(0, 0, 0, 0")) return rgb(c); } return [255, 255, 255]; };
        return [...document.querySelectorAll("p, th, td, a, summary, caption, dt, dd, code, .better, .worse, .warning")]
            .filter(e => e.textContent.trim())
            .map(e => { const a = lum(rgb(getComputedStyle(e).color)), b = lum(back(e));
                return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); })
            .reduce((a, b) => Math.min(a, b));
    }"""
    assert page.evaluate(script) >= 4.5
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert page.evaluate(script) >= 4.5


def test_names_stay_whole_and_a_wide_table_shows_that_it_scrolls(page: Page) -> None:
    frame = page.locator(".wide").first
    scrolls = frame.evaluate("e => e.scrollWidth > e.clientWidth")
    hint = page.locator(".hint").first
    assert hint.is_visible() == scrolls
    if page.viewport_size == {"width": 390, "height": 800}:
        assert scrolls
    frame.evaluate("e => e.scrollTo(e.scrollWidth, 0)")
    expect(frame).not_to_have_class(re.compile(r"\bmore\b"))  # the page's policy refuses wait_for_function
    assert not hint.is_visible()
    for name in ("balanced-softmax", "ldam-drw"):
        word = page.locator(".word", has_text=name).first
        assert word.evaluate("e => e.getClientRects().length") == 1


def test_tables_are_folded_and_empty_columns_left_out(page: Page) -> None:
    tables = page.locator("details.table").first
    assert not tables.locator("table").is_visible()
    tables.locator("summary").first.click()
    assert tables.locator("table").is_visible()
    assert not [text for text in page.locator("thead").first.locator("th").all_inner_texts() if text.startswith("few")]


def test_cards_are_linked_from_rows(page: Page) -> None:
    page.locator(".unfold", has_text="ldam-drw").first.click()
    page.locator(".detail:visible a", has_text="about ldam-drw").click()
    assert page.locator("#m-ldam-drw").is_visible()
    assert "Cao et al. 2019" in page.locator("#m-ldam-drw").inner_text()
