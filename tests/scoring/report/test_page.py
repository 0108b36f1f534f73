"""The page in a real browser: Debian's chromium, headless."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.report.page import write_html
from tests.scoring.trees import write_tree

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")

TIMES = {"slow": 3.0, "<b>fast": 1.0, "middling": 1.5}
TRIALS = {
    (name, workload, study, trial): seconds * trial + study / 10
    for name, seconds in TIMES.items()
    for workload in ("v", "w_with_a_long_name")
    for study in range(3)
    for trial in (1, 2)
}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    board = make_leaderboard(read([write_tree(folder / "tree", TRIALS)]), resamples=200)
    write_html(board, folder / "page.html")
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser, url):
    """The page, which at the end of a test must have made no request and no error."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    faults, requests = [], []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(url)
    yield page
    page.wait_for_timeout(50)
    page.close()
    assert (faults, requests) == ([], [url])


def names(page) -> list[str]:
    """The submissions of the first table that can be seen, from top to bottom."""
    cells = page.locator("#standings tbody tr:visible th").all_inner_texts()
    return [cell.strip() for cell in cells]


def test_it_loads_without_error_or_request(page):
    assert page.title() == "Leaderboard: mini, external tuning"
    assert names(page) == ["<b>fast", "middling", "slow"]


def test_a_click_sorts_and_another_turns_round(page):
    heading = page.locator("#standings thead th", has_text="submission")
    heading.get_by_role("button").click()
    assert names(page) == ["<b>fast", "middling", "slow"]
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").click()
    assert names(page) == ["slow", "middling", "<b>fast"]
    assert heading.get_attribute("aria-sort") == "descending"
    page.locator("#standings thead th", has_text="rank").first.get_by_role("button").click()
    assert names(page) == ["<b>fast", "middling", "slow"]
    assert heading.get_attribute("aria-sort") is None


def test_numbers_sort_as_numbers_and_misses_last(browser, tmp_path):
    trials = {(f"s{t}", "w", 0, 1): float(t) for t in (9, 10, 2)}
    trials["never", "w", 0, 1] = []
    board = make_leaderboard(read([write_tree(tmp_path / "tree", trials)]), resamples=10)
    write_html(board, tmp_path / "page.html")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("table.heat thead th", has_text="w").get_by_role("button").click()
    rows = page.locator("table.heat tbody th").all_inner_texts()
    page.close()
    assert [row.strip() for row in rows] == ["s2", "s9", "s10", "never"]


def test_sorting_works_by_keyboard(page):
    page.locator("#standings thead th", has_text="hours").get_by_role("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert names(page) == ["slow", "middling", "<b>fast"]


def test_the_filter_hides_rows_in_every_table(page):
    page.get_by_label("Show submissions named").fill("MIDD")
    assert names(page) == ["middling"]
    shown = page.locator("tr[data-submission]:visible")
    tables = page.locator("tbody").filter(has=page.locator("tr[data-submission]"))
    assert shown.count() >= tables.count() >= 6
    assert {row.get_attribute("data-submission") for row in shown.all()} == {"middling"}
    page.get_by_label("Show submissions named").fill("")
    assert len(names(page)) == 3


def test_what_a_reader_chose_is_in_the_address(browser, page, url):
    page.get_by_label("Show submissions named").fill("i")
    page.get_by_role("checkbox", name="slow").uncheck()
    page.get_by_role("slider").fill("1.25")
    page.get_by_label("curves of all trials").check()
    other = browser.new_page()
    other.goto(page.url)
    assert names(other) == ["middling"]
    assert not other.get_by_role("checkbox", name="slow").is_checked()
    assert other.locator("svg .submission-2:visible").count() == 0
    assert shares(other) == ["100.0%", "0.0%", ""]
    assert other.locator("#tau-value").inner_text() == "1.25"
    assert other.get_by_label("curves of all trials").is_checked()
    other.close()
    page.get_by_label("Show submissions named").fill("")
    assert "filter" not in page.url


def test_the_first_click_on_a_heading_puts_the_best_on_top(page):
    for heading in ("rank", "score", "hours"):
        column = page.locator("#standings thead th", has_text=heading).first
        column.get_by_role("button").click()
        assert names(page)[0] == "<b>fast", heading
        column.get_by_role("button").click()
    column = page.locator("#standings thead th", has_text="score").first
    column.get_by_role("button").click()
    column.get_by_role("button").click()
    assert names(page) == ["slow", "middling", "<b>fast"]


def test_files_can_be_downloaded(page):
    files = {}
    for link in page.locator("a[download]").all():
        with page.expect_download() as download:
            link.click()
        files[download.value.suggested_filename] = Path(download.value.path()).read_text()
    assert list(files) == ["leaderboard.csv", "pairs.csv", "leaderboard.json", "trials.csv"]
    scores = json.loads(files["leaderboard.json"])
    assert [entry["name"] for entry in scores["submissions"]] == ["<b>fast", "middling", "slow"]
    rows = list(csv.DictReader(io.StringIO(files["trials.csv"])))
    assert len(rows) == len(TRIALS)
    assert {row["hparams.learning_rate"] for row in rows} == {"0.1"}
    assert files["leaderboard.csv"].startswith("rank,submission,score")


def test_rows_and_figures_have_addresses(browser, url):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    for place in ("scores-middling", "times-slow", "curves-v", "submission-b-fast", "profiles"):
        page.goto(f"{url}#{place}")
        target = page.locator(f"[id='{place}']")
        assert target.count() == 1
        assert target.evaluate("(node) => node.matches(':target')")
    page.close()


def test_curves_show_the_deciding_trials_and_the_others_on_demand(page):
    before = drawn(page)
    hidden = page.locator("svg .others")
    assert hidden.count() > 0
    assert not any(line.is_visible() for line in hidden.all())
    page.get_by_label("curves of all trials").check()
    assert all(line.is_visible() for line in hidden.all())
    assert drawn(page) == before + hidden.count()


def test_the_pointer_highlights_a_submission_and_a_click_enlarges(page):
    dimmed = ".plot.focus .submission-0:not(.focus)"
    page.locator(".legend li", has_text="slow").hover()
    assert page.locator(dimmed).count() > 0
    assert page.locator(".submission-2.focus").count() > 0
    page.locator("h1").hover()
    assert page.locator(dimmed).count() == 0
    figure = page.locator("figure#curves-v")
    width = figure.bounding_box()["width"]
    figure.get_by_role("button").click()
    assert figure.bounding_box()["width"] > 1.3 * width
    assert figure.get_by_role("button").get_attribute("aria-pressed") == "true"
    figure.locator(".plot").click()
    assert figure.bounding_box()["width"] == pytest.approx(width, abs=1)


def test_the_switches_stay_in_view(page):
    page.locator("figure#curves-v").scroll_into_view_if_needed()
    page.mouse.wheel(0, 300)
    page.wait_for_timeout(100)
    assert page.locator("details.legend summary").evaluate(
        "(node) => { const box = node.getBoundingClientRect();"
        " return box.top >= 0 && box.bottom <= innerHeight; }"
    )


@pytest.mark.parametrize(("width", "more"), [(360, True), (1400, False)])
def test_a_table_that_is_too_wide_says_that_it_scrolls(page, width, more):
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_timeout(50)
    box = page.locator(".wide").filter(has=page.locator("#standings"))
    assert ("more" in (box.get_attribute("class") or "").split()) == more
    hint = box.locator("xpath=following-sibling::p[1]")
    assert hint.is_visible() == more


def drawn(page) -> int:
    return page.locator("svg g[class^=submission]:visible").count()


def test_a_submission_can_be_switched_off_in_every_figure(page):
    before = drawn(page)
    box = page.get_by_role("checkbox", name="slow")
    box.uncheck()
    assert 0 < drawn(page) < before
    assert page.locator("svg .submission-2:visible").count() == 0
    box.check()
    assert drawn(page) == before
    page.get_by_role("button", name="none").click()
    assert drawn(page) == 0
    page.get_by_role("button", name="all").click()
    assert drawn(page) == before


def shares(page) -> list[str]:
    return page.locator(".legend output").all_inner_texts()


def test_values_can_be_read_off_the_profiles(page):
    """Medians 1.1, 1.6 and 3.1 s: ratios 1, 1.4545 and 2.818."""
    page.get_by_role("slider").fill("1.45")
    assert shares(page) == ["100.0%", "0.0%", "0.0%"]
    page.get_by_role("slider").fill("1.46")
    assert shares(page) == ["100.0%", "100.0%", "0.0%"]
    svg = page.locator("#profiles-plot svg").bounding_box()
    page.mouse.move(svg["x"] + svg["width"] * 0.97, svg["y"] + svg["height"] / 2)
    assert shares(page) == ["100.0%"] * 3
    assert page.locator("#profiles-plot .ruler").is_visible()
    page.mouse.move(svg["x"] + svg["width"] * 0.02, svg["y"] + svg["height"] / 2)
    assert shares(page) == ["100.0%", "0.0%", "0.0%"]


def test_the_ruler_is_at_its_value_on_the_axis(page):
    page.get_by_role("slider").fill("4")
    page.locator("#profiles-plot").scroll_into_view_if_needed()
    ruler = page.locator("#profiles-plot .ruler").bounding_box()
    label = page.locator("#profiles-plot svg text", has_text=re.compile(r"^4\.0$")).bounding_box()
    assert ruler["x"] == pytest.approx(label["x"] + label["width"] / 2, abs=2)


@pytest.mark.parametrize("width", [360, 1200])
def test_only_tables_scroll_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def contrast(page, selector) -> float:
    """The least contrast of text against its background among all elements of a selector."""
    return page.evaluate(
        """(selector) => {
          const canvas = document.createElement("canvas")
            .getContext("2d", {willReadFrequently: true});
          const rgb = (color, under) => {
            canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
            canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
          };
          const luminance = (color) => color.map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
          const behind = (node) => {
            for (let e = node; e; e = e.parentElement) {
              const color = getComputedStyle(e).backgroundColor;
              if (rgb(color, "#000").join() === rgb(color, "#fff").join()) return color;
            }
            return "white";
          };
          const ratios = [...document.querySelectorAll(selector)].map((node) => {
            const back = behind(node);
            const [a, b] = [rgb(getComputedStyle(node).color, back), rgb(back, "#fff")]
              .map(luminance).sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05);
          });
          return Math.min(...ratios);
        }""",
        selector,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(page, scheme):
    page.emulate_media(color_scheme=scheme)
    for selector in ("p", "h2", "a", "li", "td", "td small", "th", "label", "figcaption"):
        assert contrast(page, selector) >= 4.5, selector  # WCAG 2.1, 1.4.3


def test_figures_follow_the_scheme(page):
    text = page.locator("#profiles-plot svg text").first

    def color():
        return text.evaluate("(node) => getComputedStyle(node).fill")

    page.emulate_media(color_scheme="light")
    light = color()
    page.emulate_media(color_scheme="dark")
    assert color() != light


def test_a_screen_reader_finds_headings_tables_and_images(page):
    images = page.locator("[role=img]").all()
    assert len(images) == 3
    assert all(len(image.get_attribute("aria-label")) > 30 for image in images)
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("rowheader", name="middling").count() >= 4
    assert page.get_by_role("columnheader", name="score").count() >= 1
    for region in page.get_by_role("region").all():
        assert region.get_attribute("aria-labelledby")


def test_it_prints_without_controls(page):
    page.emulate_media(media="print")
    assert not page.get_by_label("Show submissions named").is_visible()
    assert page.locator("#standings").is_visible()
    assert page.pdf().startswith(b"%PDF")
