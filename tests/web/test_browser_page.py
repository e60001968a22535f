"""The page around the results: the microphone, languages, layout, keyboard, programs."""

import base64
import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from browsing import (
    Open,
    assert_accessible,
    assert_targets,
    cards,
    expect_text,
    photograph,
    sideways,
    text,
    translate,
    until,
)
from clips import EXAMPLES, ROOT, reference
from playwright.sync_api import Page, expect

from app import FIGURES
from speech_translation.audio import load_audio
from speech_translation.types import SAMPLE_RATE
from web.html import PAGE

pytestmark = pytest.mark.slow

# Counts the microphones that are open, and can refuse one as a browser does.
MICROPHONES = """
    window.microphones = [];
    window.refusal = null;
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        if (window.refusal) throw new DOMException("English words", window.refusal);
        const stream = await open(wanted);
        window.microphones.push(...stream.getTracks());
        return stream;
    };
"""
OPEN = "microphones.filter((x) => x.readyState === 'live').length"


def press_and_speak(page: Page, seconds: float) -> None:
    def passed() -> int:
        minutes, _, rest = page.locator("#microphone-time").inner_text().partition(":")
        return 60 * int(minutes or 0) + int(rest or 0)

    page.click("#microphone")
    until(lambda: passed() >= int(seconds))


def test_press_speak_press_and_it_is_translated(visit: Open) -> None:
    page = visit(script=MICROPHONES)
    press_and_speak(page, len(load_audio(EXAMPLES / "en_two_sentences.flac")) / SAMPLE_RATE + 2)
    drawn = "document.querySelector('#microphone-level').toDataURL()"
    before = page.evaluate(drawn)
    until(lambda: page.evaluate(drawn) != before)  # it shows that it hears
    photograph(page, "hearing")
    page.click("#microphone")
    card = cards(page).first
    expect(card).to_have_attribute("data-state", "done")
    # A busy machine drops some of the microphone's sound, which changes a number in the second.
    first, _ = reference("en_two_sentences").split("。", 1)
    assert text(card).startswith(first)
    assert text(card).endswith("かかります。")
    assert page.evaluate(OPEN) == 0
    expect(card.locator("h3")).to_contain_text("Recording")


def test_the_microphone_is_let_go_in_every_way_out(visit: Open) -> None:
    page = visit(script=MICROPHONES)
    page.dblclick("#microphone")  # the second click comes before the microphone
    until(lambda: page.evaluate("microphones.length") == 1)
    until(lambda: page.evaluate(OPEN) == 0)
    expect(page.locator("#microphone-words")).to_have_text("Press and speak")
    press_and_speak(page, 1)
    page.get_by_role("button", name="Discard").click()
    until(lambda: page.evaluate(OPEN) == 0)
    press_and_speak(page, 1)
    page.evaluate("microphones.at(-1).dispatchEvent(new Event('ended'))")
    expect(page.locator("#microphone-problem")).to_contain_text("was disconnected")
    until(lambda: page.evaluate(OPEN) == 0)
    expect(cards(page)).to_have_count(1)  # what was said until then


@pytest.mark.parametrize(
    ("name", "english", "japanese"),
    [
        ("NotFoundError", "No microphone was found", "マイクが見つかりません"),
        ("NotAllowedError", "may not use the microphone", "許可されていません"),
    ],
)
def test_without_a_microphone_a_sentence_says_why(
    visit: Open, name: str, english: str, japanese: str
) -> None:
    page = visit(script=MICROPHONES)
    page.evaluate(f"window.refusal = '{name}'")
    for button, problem in (("#microphone", "#microphone-problem"), ("#live-audio", "#live-note")):
        if button == "#live-audio":
            page.click("#tab-live")
        page.click("[data-language=en]")
        page.click(button)
        expect(page.locator(problem)).to_contain_text(english)
        page.click("[data-language=ja]")
        expect(page.locator(problem)).to_contain_text(japanese)
        assert "English words" not in page.inner_text("body")


def shown_words(page: Page) -> str:
    return str(page.evaluate("document.body.innerText"))


@pytest.mark.parametrize(
    ("locale", "header", "language"),
    [("ja-JP", "", "ja"), ("en-GB", "", "en"), ("fr-FR", "fr,ja;q=0.8", "en")],
)
def test_one_language_decides_everything(
    visit: Open, locale: str, header: str, language: str
) -> None:
    options = {"extra_http_headers": {"accept-language": header}} if header else {}
    page = visit(locale=locale, **options)
    card = translate(page, "en_1")
    card.get_by_text("Details" if language == "en" else "詳細").click()
    spoken = [reference("en_1"), *page.locator("#examples button").all_inner_texts()]
    for chosen in (language, "ja" if language == "en" else "en"):
        page.click(f"[data-language={chosen}]")
        assert page.evaluate("document.documentElement.lang") == chosen
        ours = {"en": "Press and speak", "ja": "押して話す"}
        expect(page.locator("#microphone-words")).to_have_text(ours[chosen])
        for tab in ("translate", "live", "programs", "benchmark"):
            page.click(f"#tab-{tab}")
            foreign = "[ぁ-ん]" if chosen == "en" else r"\b(the|and|of|Press|Settings)\b"
            lines = shown_words(page).splitlines()
            assert [x for x in lines if re.search(foreign, x) and x not in spoken] == []
        page.click("#tab-translate")
    page.reload()  # it is remembered
    expect(page.locator(f"[data-language={chosen}]")).to_have_attribute("aria-pressed", "true")
    page.wait_for_function("window.gradio_config !== undefined")
    assert page.evaluate("navigator.language") == chosen


@pytest.mark.parametrize("locale", ["en-US", "ja-JP"])
def test_figures_of_the_machine_stand_under_details(visit: Open, locale: str) -> None:
    page = visit(locale=locale)
    card = translate(page, "en_1")
    jargon = re.compile("float32|cpu|real time|実時間|token|トークン")
    for tab in ("translate", "live"):
        page.click(f"#tab-{tab}")
        assert jargon.findall(shown_words(page)) == []
    page.click("#tab-translate")
    card.get_by_text("Details" if locale == "en-US" else "詳細").click()
    page.click("#model summary")
    found = set(jargon.findall(shown_words(page)))
    machine = {"cpu", "float32"}
    assert found == machine | (
        {"real time", "token"} if locale == "en-US" else {"実時間", "トークン"}
    )


@pytest.mark.parametrize(
    ("locale", "limits", "kept"),
    [
        (
            "en-US",
            "up to 200 MB and 10 minutes each.",
            "The server deletes recordings after an hour",
        ),
        ("ja-JP", "1件あたり 200 MB、10 分まで。", "録音はサーバーから1時間で削除され"),
    ],
)
def test_what_may_be_given_and_what_becomes_of_it_is_said(
    visit: Open, locale: str, limits: str, kept: str
) -> None:
    page = visit(locale=locale)
    expect(page.locator("#limits")).to_have_text(limits)
    expect(page.locator("[data-text=privacy]")).to_contain_text(kept)
    accepted = page.locator("#picker").get_attribute("accept") or ""
    assert {"audio/*", "video/*"} <= set(accepted.split(","))


def test_settings_of_gradio_are_not_offered(visit: Open) -> None:
    page = visit()
    assert "Settings" not in shown_words(page)
    assert "pwa" not in shown_words(page)


@pytest.mark.parametrize(("path", "width"), [("#programs", 1100), ("?view=api", 390)])
def test_the_panel_of_the_endpoints_opens_and_closes(visit: Open, path: str, width: int) -> None:
    page = visit(path=path, width=width)
    button = page.get_by_role("button", name="All parameters of the endpoints")
    button.click()
    until(lambda: "translate_segments" in shown_words(page))
    photograph(page, f"endpoints_{width}")
    page.keyboard.press("Escape")
    expect(page.locator(".api-docs")).to_have_count(0)
    expect(button).to_be_focused()
    button.click()  # again
    expect(page.locator(".api-docs")).to_be_visible()


def test_the_chart_speaks_the_language_of_the_page(visit: Open) -> None:
    page = visit(path="#benchmark")
    charts = {}
    for language in ("en", "ja"):
        page.click(f"[data-language={language}]")
        (shown,) = page.locator(".chart img:visible").all()
        charts[language] = base64.b64decode((shown.get_attribute("src") or "").split(",")[1])
    assert "tokens per second" in charts["en"].decode()
    texts = re.findall(r"<text[^>]*>([^<]*)", charts["ja"].decode())
    names = [system["title"] for system in json.loads(FIGURES.read_text("utf-8"))["systems"]]
    english = [text for text in texts if re.search("[a-z]{4}", text) and text not in names]
    assert english == []
    assert any("品質" in text for text in texts)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "locale"), [(390, "ja-JP"), (320, "en-US")])
def test_a_phone_shows_the_microphone_first_and_needs_no_sideways_scrolling(
    visit: Open, scheme: str, width: int, locale: str
) -> None:
    page = visit(locale=locale, width=width, height=844, color_scheme=scheme)
    box = page.locator("#microphone").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 600
    photograph(page, f"phone_{width}_{scheme}")
    card = translate(page, "en_two_sentences")
    expect(card).to_be_in_viewport()  # nobody has to look for the result
    card.get_by_text("詳細" if locale == "ja-JP" else "Details").click()
    for tab in ("translate", "live", "programs", "benchmark"):
        page.click(f"#tab-{tab}")
        assert sideways(page) == 0
        assert_targets(page)
        assert_accessible(page)
        photograph(page, f"phone_{width}_{scheme}_{tab}")
    parameters = "パラメータ数" if locale == "ja-JP" else "Params"
    expect(page.get_by_role("columnheader", name=parameters)).to_be_visible()


def words_broken_over_lines(page: Page) -> list[str]:
    """Words of headers, buttons and choices that are not whole in one line."""
    found: list[str] = page.evaluate(
        r"""() => [...document.querySelectorAll("th, button:not(.chip), legend, .choice span")]
            .filter((x) => x.offsetParent).flatMap((x) => [...x.childNodes])
            .filter((x) => x.nodeType === Node.TEXT_NODE)
            .flatMap((text) => [...text.data.matchAll(/\S+/g)].filter(({ 0: word, index }) => {
                const range = document.createRange();
                range.setStart(text, index);
                range.setEnd(text, index + word.length);
                return new Set([...range.getClientRects()].map((x) => Math.round(x.top))).size > 1;
            }).map(([word]) => word))"""
    )
    return found


@pytest.mark.parametrize(("width", "locale"), [(390, "en-US"), (320, "en-US"), (320, "ja-JP")])
def test_nothing_is_cut_off_on_a_phone_and_the_parts_stay_where_they_are(
    visit: Open, width: int, locale: str
) -> None:
    page = visit(locale=locale, width=width, height=500)
    translate(page, "en_long")
    tops = set()
    for tab in ("translate", "live", "programs", "benchmark"):
        page.click(f"#tab-{tab}")
        tops.add(page.locator(f"#panel-{tab}").evaluate("x => x.offsetTop"))
        cut = page.locator(".scroll, .snippet pre, .card .lines").evaluate_all(
            """all => all.filter((x) => x.offsetParent).filter((x) => x.scrollWidth > x.clientWidth
                || x.matches(".lines") && x.scrollHeight > x.clientHeight).map(x => x.className)"""
        )
        assert cut == []
        assert words_broken_over_lines(page) == []
    assert len(tops) == 1
    (chart,) = page.locator(".chart img:visible").all()
    drawn = base64.b64decode((chart.get_attribute("src") or "").split(",")[1]).decode()
    assert ">4.2<" in drawn
    points = re.search(r'width="([\d.]+)pt"', drawn)
    assert points
    letters = 9 * chart.evaluate("x => x.clientWidth") / float(points[1])  # they have 9 points
    assert letters >= 8  # pixels


def test_arrow_keys_go_through_the_directions_and_the_parts(visit: Open) -> None:
    page = visit()
    page.locator("[name=direction]:checked").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#speak").get_by_label("English → 日本語")).to_be_checked()
    page.locator("#tab-translate").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-live")).to_be_focused()
    expect(page.locator("#panel-live")).to_be_visible()


def test_the_keyboard_is_enough(visit: Open) -> None:
    page = visit()
    expect(page.locator("#examples button")).to_have_count(4)
    page.locator("[name=direction]:checked").focus()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "example-en_1":
            break
    page.keyboard.press("Enter")
    card = cards(page).first
    expect_text(card, reference("en_1"))
    lines = card.locator(".lines")
    assert lines.get_attribute("aria-live") == "polite"
    lines.focus()  # a long text can be scrolled by the keyboard
    expect(lines).to_be_focused()
    page.locator("#microphone").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#speak")).to_have_attribute("data-state", "hearing")
    expect(page.locator("#microphone")).to_be_focused()  # the next press ends it
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#speak")).to_have_attribute("data-state", "idle")


SNIPPETS = {"python": "en_1", "javascript": "ja_1", "curl": "ja_2"}


@pytest.mark.parametrize("language", SNIPPETS)
def test_the_snippets_of_the_page_work_as_they_stand_there(
    visit: Open, space: str, tmp_path: Path, language: str
) -> None:
    page = visit(path="#programs", width=390)
    code = page.locator(f"#snippet-{language}").inner_text()
    assert space.rstrip("/") in code
    name = SNIPPETS[language]
    (tmp_path / "recording.wav").write_bytes((EXAMPLES / f"{name}.flac").read_bytes())
    script = tmp_path / ("snippet.mjs" if language == "javascript" else "snippet")
    script.write_text(unescape(code))
    (tmp_path / "node_modules").symlink_to(ROOT / ".cache/node/node_modules")
    command = {"python": sys.executable, "javascript": "node", "curl": "sh"}[language]
    run = subprocess.run(
        [command, script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    wanted = reference(name)
    assert (json.dumps([wanted]) if language == "curl" else wanted) in run.stdout, run.stderr


def test_the_address_for_mcp_is_the_pages_own(visit: Open, space: str) -> None:
    page = visit(path="#programs")
    settings = json.loads(page.locator("#snippet-mcp").inner_text())
    assert settings["mcpServers"]["speech-translation"]["url"] == f"{space}gradio_api/mcp/"


def test_no_script_is_larger_than_a_subject() -> None:
    for path in PAGE.glob("*.js"):
        assert len(path.read_text("utf-8").splitlines()) <= 300, path.name
