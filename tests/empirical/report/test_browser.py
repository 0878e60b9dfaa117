"""The report in a real browser: offline, themes, phone width, keyboard, formulas, print."""

import base64
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from empirical.report import write_report
from empirical.report.render import drawing
from tests.support.results.momentum import sweep, write_sweep
from tests.support.results.report import full_folder

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
MISSING = "expected {0} on the PATH, got none; install Debian's packages chromium, chromium-driver"
WIDE, PHONE = 1280, 390


def found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.fail(MISSING.format(program))
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = Options()
    options.binary_location = found("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = full_folder(tmp_path_factory.mktemp("report"), seeds=(1, 2), tasks=("agnews", "cb"))
    with pytest.MonkeyPatch.context() as patch:  # files of figures are no matter of browsers
        patch.setattr(drawing, "save", lambda figure, folder: [])
        return write_report(folder)[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of trained models alone."""
    folder = write_sweep(tmp_path_factory.mktemp("trained"), sweep((1, 2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "save", lambda figure, folder: [])
        return write_report(folder)[0]


def look(browser: webdriver.Chrome, page: Path, width: int = WIDE, theme: str = "light") -> None:
    """Open the page at a width and in a theme, whatever was open before."""
    browser.get("about:blank")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())


def run(browser: webdriver.Chrome, script: str) -> Any:
    return browser.execute_script(script)


def requests(browser: webdriver.Chrome) -> list[str]:
    """Everything that the browser asked for since the log was last read."""
    events = [json.loads(x["message"])["message"] for x in browser.get_log("performance")]
    return [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]


def test_the_page_asks_for_nothing_and_the_console_is_silent(browser, report) -> None:
    requests(browser), browser.get_log("browser")
    for width in (WIDE, PHONE):
        for theme in ("light", "dark"):
            look(browser, report, width, theme)
    asked = [x for x in requests(browser) if not x.startswith(("about:", "data:"))]
    assert set(asked) == {report.as_uri()} and len(asked) == 4
    assert [x for x in browser.get_log("browser") if x["level"] in ("SEVERE", "WARNING")] == []


def test_these_logs_see_a_request_and_an_error(browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<!DOCTYPE html><title>x</title><img src='none.png'><script>x.y()</script>")
    requests(browser), browser.get_log("browser")
    look(browser, bad)
    assert any(x.endswith("none.png") for x in requests(browser))
    assert any(x["level"] == "SEVERE" for x in browser.get_log("browser"))


def test_the_page_opens_in_less_than_two_seconds(browser, report) -> None:
    look(browser, report)
    begin = time.perf_counter()
    browser.get(report.as_uri())
    spent = time.perf_counter() - begin
    loaded = run(browser, "return performance.getEntriesByType('navigation')[0].duration")
    assert 0 < loaded < 2000 and spent < 2


@pytest.mark.parametrize("width", [PHONE, WIDE])
def test_the_page_is_never_wider_than_the_window(browser, report, width: int) -> None:
    look(browser, report, width)
    run(browser, "document.querySelectorAll('details').forEach(d => d.open = true)")
    page = run(browser, "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]")
    assert page[0] == page[1] and width - 20 < page[1] <= width  # less the bar that scrolls
    tables = run(
        browser,
        "return [...document.querySelectorAll('.scroll')].map(e => [e.scrollWidth, e.clientWidth])",
    )
    assert all(client <= width for _, client in tables)
    if width == PHONE:  # some table scrolls, inside its own frame
        assert any(inner > client for inner, client in tables)


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` (WCAG 2.2)."""
    parts = [int(x) / 255 for x in colour[4:-1].split(",")]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_paper_words_and_figures_follow_the_theme(browser, report, theme: str) -> None:
    look(browser, report, theme=theme)
    paper, ink = run(
        browser,
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]",
    )
    lines = run(
        browser,
        "return [...new Set([...document.querySelectorAll('.panel svg path')].map(p => "
        "getComputedStyle(p).stroke))]",
    )
    words = run(
        browser,
        "return [...document.querySelectorAll('.panel svg text')].map(t => "
        "getComputedStyle(t).fill)",
    )
    dark = theme == "dark"
    assert (luminance(paper) < 0.05) == dark and (luminance(ink) > 0.7) == dark
    assert set(words) == {ink}
    series = run(
        browser, "return getComputedStyle(document.body).getPropertyValue('--series-1').trim()"
    )
    assert series == ("#6cb6ff" if dark else "#0b5fa5")
    assert f"rgb({', '.join(str(int(series[k : k + 2], 16)) for k in (1, 3, 5))})" in lines


def test_a_page_of_trained_models_is_as_quiet_narrow_and_in_its_theme(browser, trained) -> None:
    test_the_page_asks_for_nothing_and_the_console_is_silent(browser, trained)
    for width in (PHONE, WIDE):
        test_the_page_is_never_wider_than_the_window(browser, trained, width)
    for theme in ("light", "dark"):
        test_paper_words_and_figures_follow_the_theme(browser, trained, theme)


def test_formulas_are_rendered(browser, report) -> None:
    look(browser, report, PHONE)
    boxes = run(
        browser,
        "return [...document.querySelectorAll('math')].map(m => {"
        "const b = m.getBoundingClientRect();"
        "return [b.width, b.height, m.querySelector('mi, mn') !== null]})",
    )
    assert len(boxes) >= 10 and all(w > 20 and h > 10 and filled for w, h, filled in boxes)
    fractions = run(
        browser,
        "return [...document.querySelectorAll('mfrac')].map(f => [...f.children].map(c => "
        "c.getBoundingClientRect().top))",
    )
    assert fractions and all(top < below for top, below in fractions)  # one over the other


def test_every_figure_has_a_name_and_a_description(browser, report) -> None:
    look(browser, report)
    drawn = run(
        browser,
        "return [...document.querySelectorAll('svg')].filter(s => !s.ariaHidden).map(s => [s.role,"
        " s.ariaLabelledByElements?.map(e => e.textContent).join(''),"
        " document.getElementById(s.getAttribute('aria-describedby'))?.textContent,"
        " s.closest('figure')?.querySelector('figcaption')?.textContent])",
    )
    assert len(drawn) > 20
    for role, name, description, caption in drawn:
        assert role == "img" and len(name) > 5 and len(description) > 20 and len(caption) > 40
    hidden = run(
        browser,
        "return [...document.querySelectorAll('svg')].filter(s => s.ariaHidden)"
        ".every(s => s.closest('.legend li').textContent.trim().length > 1)",
    )
    assert hidden  # the words of a legend stand beside its pieces


FOCUSABLE = (
    "return [...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')]"
    ".filter(e => e.checkVisibility({contentVisibilityAuto: true})).length"
)
ACTIVE = (
    "const e = document.activeElement; const b = e.getBoundingClientRect();"
    "const all = [...document.querySelectorAll('*')];"
    "return [e.tagName, e.className, all.indexOf(e), getComputedStyle(e).outlineStyle,"
    " b.left >= -1 && b.left < innerWidth && b.width > 0]"
)


def test_tab_reaches_everything_in_order_and_shows_where_it_is(browser, report) -> None:
    look(browser, report)
    expected = run(browser, FOCUSABLE)
    body = browser.find_element(By.TAG_NAME, "body")
    seen = []
    for _ in range(expected):
        body.send_keys(Keys.TAB) if not seen else browser.switch_to.active_element.send_keys(
            Keys.TAB
        )
        seen.append(run(browser, ACTIVE))
    assert seen[0][:2] == ["A", "skip"]
    places = [place for _, _, place, _, _ in seen]
    assert places == sorted(set(places))  # each once, in the order of the page
    assert {"A", "SUMMARY", "DIV", "PRE"} <= {tag for tag, *_ in seen}
    assert all(outline == "solid" and visible for *_, outline, visible in seen)


def test_the_skip_link_leads_to_the_verdicts_and_enter_opens_details(browser, report) -> None:
    look(browser, report)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert run(browser, "return location.hash") == "#verdicts"
    summary = browser.find_element(By.TAG_NAME, "summary")
    run(browser, "document.querySelector('summary').focus()")
    summary.send_keys(Keys.ENTER)
    assert run(browser, "return document.querySelector('details').open")


def test_a_card_opens_the_details_that_it_points_to(browser, report) -> None:
    look(browser, report)
    link = browser.find_element(By.CSS_SELECTOR, ".card .more a")
    target = link.get_attribute("href").split("#")[1]
    shown = f"return document.getElementById({target!r}).checkVisibility()"
    inside = f"return document.getElementById({target!r}).closest('details').open"
    assert not run(browser, inside)
    link.click()
    assert run(browser, inside) and run(browser, shown)
    place = run(browser, f"return document.getElementById({target!r}).getBoundingClientRect().top")
    assert -5 <= place < 900


def test_it_prints_in_light_colours_with_what_was_closed(browser, report) -> None:
    look(browser, report, theme="dark")
    inside = "return document.querySelector('details > :not(summary)').checkVisibility()"
    assert not run(browser, inside)
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    paper = run(browser, "return getComputedStyle(document.body).backgroundColor")
    shown = run(browser, inside)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    content = base64.b64decode(printed["data"])
    assert paper == "rgb(255, 255, 255)" and shown
    assert content.startswith(b"%PDF-") and content.count(b"/Type /Page\n") > 2


def test_without_a_browser_the_tests_fail_and_say_what_to_install() -> None:
    with pytest.raises(pytest.fail.Exception, match="chromium-driver"):
        found("no-such-browser")
