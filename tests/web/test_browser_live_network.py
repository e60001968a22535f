"""A talk over a bad network, and its last words: nothing is lost, and what is cleared is gone."""

import re
from collections.abc import Iterator

import pytest
from browsing import SENTENCES, SOON, Open, captions, clear_captions, until
from clips import reference
from playwright.sync_api import Page, Response, Route, expect

pytestmark = pytest.mark.slow

CHUNK = re.compile(r"/live/[^/]+\?seq=")
LAST = re.compile("last=1")

LAST_WORDS_COME_LATE = """
    const fetched = window.fetch;
    window.fetch = async (...asked) => {
        if (String(asked[0]).includes("last=1")) await new Promise((go) => setTimeout(go, 1500));
        return fetched(...asked);
    };
"""


@pytest.fixture
def speak(visit: Open) -> Iterator[Open]:
    """Opens the Live tab. In the end the talk is cleared and takes no place on the server."""
    pages = list[Page]()

    def open_page(**options: str) -> Page:
        pages.append(visit(path="#live", **options))
        return pages[-1]

    yield open_page
    for page in pages:
        page.unroute_all()
        if page.locator("#live-clear").is_visible():
            clear_captions(page)


def begin(page: Page) -> None:
    """Speak a sentence and the beginning of another."""
    page.click("#live-audio")
    expect(page.locator("#live-fixed p")).to_have_count(1)
    expect(page.locator("#live-line")).not_to_have_text("")


def texts(answer: Response) -> str:
    """The captions in an answer of the server."""
    return "".join(segment["text"] for segment in answer.json()["segments"])


def assert_last_words(page: Page, first: str, last: Response) -> None:
    """The last words of a talk stand between its first ones and those of the next talk."""
    assert texts(last)
    assert captions(page).startswith(first)
    assert captions(page).endswith(reference("en_two_sentences"))
    assert texts(last) in captions(page).removesuffix(reference("en_two_sentences"))


def forget_talk(page: Page) -> None:
    """Let the server know nothing of the talk any more, as after a restart."""
    sent = page.evaluate("performance.getEntriesByType('resource').map((x) => x.name)")
    talk = [url.split("?")[0] for url in sent if CHUNK.search(url)][-1]
    page.evaluate("address => fetch(address, { method: 'DELETE' })", talk)


def test_a_server_that_has_forgotten_a_talk_takes_no_words_back(speak: Open) -> None:
    live = speak(expected="404")
    begin(live)
    first = captions(live)
    address = live.locator("#live-link").get_attribute("href")
    audience = live.context.new_page()
    audience.goto(str(address))
    expect(audience.locator(".fixed")).to_have_count(1)
    forget_talk(live)
    expect(live.locator("#live-fixed p")).to_have_count(SENTENCES)
    expect(audience.locator(".fixed")).to_have_count(SENTENCES)
    assert "".join(audience.locator(".fixed").all_inner_texts()) == captions(live)
    assert live.locator("#live-link").get_attribute("href") == address
    live.click("#live-audio")
    expect(live.locator("#live-audio")).to_have_text("Go on speaking")
    expect(live.locator("#live-note")).to_have_text("")
    assert captions(live).startswith(first)
    assert captions(live) == reference("en_two_sentences")


def test_captions_keep_their_time_when_the_server_has_forgotten_the_talk(speak: Open) -> None:
    live = speak(expected="404")
    times = list[list[float]]()
    for forgets in (False, True):
        live.click("#live-audio")
        expect(live.locator("#live-line")).not_to_have_text("")
        if forgets:
            forget_talk(live)
        expect(live.locator("#live-fixed p")).to_have_count(SENTENCES)
        live.click("#live-audio")
        expect(live.locator("#live-audio")).to_have_text("Go on speaking")
        segments = live.evaluate("JSON.parse(localStorage['speech-live']).segments")
        times.append([time for segment in segments for time in (segment["start"], segment["end"])])
        clear_captions(live)
    assert times[1] == pytest.approx(times[0], abs=0.3)


def test_the_end_of_a_talk_that_the_server_has_forgotten_goes_to_a_new_one(speak: Open) -> None:
    live = speak(expected="404")
    begin(live)
    first = captions(live)
    live.route(LAST, lambda route: route.fulfill(status=404, json={}), times=1)
    with (
        live.expect_response(lambda reply: "after=" in reply.url) as opened,
        live.expect_request(lambda request: "seq=0&" in request.url) as end,
    ):
        live.click("#live-audio")
    assert f"/live/{opened.value.json()['id']}?" in end.value.url
    assert "last=1" in end.value.url
    expect(live.locator("#live-fixed p")).to_have_count(SENTENCES)
    expect(live.locator("#live-note")).to_have_text("")
    assert captions(live).startswith(first)
    assert live.locator("#live-fixed p .text").last.inner_text()


def test_what_a_proxy_does_not_let_through_is_sent_again(speak: Open) -> None:
    live = speak(expected="50[02]|40[89]|429")
    # None of them is the server's own.
    answers = iter([500, 502, 408, 429, 429, 429, 429, 200, 409])

    def lose(route: Route) -> None:
        status = next(answers, None) if "seq=1&" in route.request.url else None
        if status:
            route.fulfill(status=status, body="<p>Please log in")
        else:
            route.continue_()

    live.route(CHUNK, lose)
    live.click("#live-audio")
    expect(live.locator("#live-note")).to_contain_text("The connection is gone")
    expect(live.locator("#live-fixed p")).to_have_count(SENTENCES)
    expect(live.locator("#live-note")).to_contain_text("still changing")
    live.click("#live-audio")
    expect(live.locator("#live-audio")).to_have_text("Go on speaking")
    assert captions(live) == reference("en_two_sentences")


def test_a_server_that_cannot_be_reached_is_said_before_anybody_speaks(speak: Open) -> None:
    live = speak(expected="ERR_INTERNET_DISCONNECTED")
    live.context.set_offline(True)
    live.click("#live-audio")
    expect(live.locator("#live-note")).to_contain_text("The server does not answer")
    live.click("[data-language=ja]")
    expect(live.locator("#live-note")).to_contain_text("サーバーが応答しません")
    expect(live.locator("#live-audio")).to_have_text("話し始める")


def test_a_login_page_in_place_of_the_server_is_no_beginning(speak: Open) -> None:
    live = speak()
    live.route("**/live?*", lambda route: route.fulfill(body="<p>Please log in"))
    live.click("#live-audio")
    expect(live.locator("#live-note")).to_contain_text("The server does not answer")
    expect(live.locator("#live-audio")).to_have_text("Start speaking")


def test_a_talk_goes_on_after_a_chunk_that_never_came_and_says_what_is_missing(
    speak: Open,
) -> None:
    live = speak(expected="409")

    def mislay(route: Route) -> None:  # the page takes chunk 0 for delivered
        if "seq=0&" in route.request.url:
            empty = {"from": 0, "segments": [], "settled": "", "tentative": "", "next": 1}
            route.fulfill(status=200, json=empty)
        else:
            route.continue_()

    live.route(CHUNK, mislay, times=1)
    live.click("#live-audio")
    expect(live.locator("#live-note")).to_contain_text("is missing from the captions")
    live.click("[data-language=ja]")
    expect(live.locator("#live-note")).to_contain_text("字幕から抜けています")
    live.click("[data-language=en]")
    expect(live.locator("#live-fixed p")).to_have_count(SENTENCES)
    live.click("#live-audio")
    expect(live.locator("#live-audio")).to_have_text("Go on speaking")
    assert captions(live).endswith(reference("en_two_sentences").split("。")[1] + "。")
    expect(live.locator("#live-note")).to_contain_text("is missing from the captions")


def test_what_is_missing_is_said_until_the_captions_are_cleared(speak: Open) -> None:
    live = speak(expected="404")
    begin(live)
    live.route(LAST, lambda route: route.fulfill(status=404, json={}), times=1)
    live.reload()
    missing = "is missing from the captions"
    expect(live.locator("#live-note")).to_contain_text(missing)
    with live.expect_response(CHUNK):
        live.click("#live-audio")
    expect(live.locator("#live-note")).to_contain_text(missing)
    live.click("#live-audio")
    expect(live.locator("#live-audio")).to_have_text("Go on speaking")
    live.reload()
    expect(live.locator("#live-note")).to_contain_text(missing)
    clear_captions(live)
    expect(live.locator("#live-note")).to_have_text("")


def test_a_server_that_does_not_answer_is_said_and_asked_again(speak: Open) -> None:
    live = speak(script=SOON)
    live.route(CHUNK, lambda route: None, times=1)
    live.click("#live-audio")
    expect(live.locator("#live-note")).to_contain_text("The server takes long")
    expect(live.locator("#live-fixed p")).to_have_count(SENTENCES)
    live.click("#live-audio")
    expect(live.locator("#live-audio")).to_have_text("Go on speaking")
    assert captions(live) == reference("en_two_sentences")


def test_a_tab_behind_the_slides_is_captioned_all_the_same(speak: Open) -> None:
    live = speak()
    live.evaluate(  # browsers let nobody's timers come once a minute; here they never come
        "() => { const later = setTimeout; window.setTimeout = (work) => later(work, 3600e3); }"
    )
    live.click("#live-audio")
    expect(live.locator("#live-fixed p")).to_have_count(SENTENCES)


def test_who_goes_on_at_once_loses_none_of_the_last_words(speak: Open) -> None:
    live = speak(script=LAST_WORDS_COME_LATE)
    begin(live)
    first = captions(live)
    with live.expect_response(LAST) as answer:
        for words in ("Go on speaking", "Stop"):
            live.click("#live-audio")
            expect(live.locator("#live-audio")).to_have_text(words)
    expect(live.locator("#live-fixed p")).to_have_count(2 * SENTENCES)
    live.click("#live-audio")
    expect(live.locator("#live-audio")).to_have_text("Go on speaking")
    assert_last_words(live, first, answer.value)


def test_who_goes_on_at_once_after_a_reload_loses_none_of_the_last_words(speak: Open) -> None:
    live = speak(script=LAST_WORDS_COME_LATE)
    begin(live)
    first = captions(live)
    live.reload()
    with live.expect_response(LAST) as answer:
        live.click("#live-audio")
        expect(live.locator("#live-audio")).to_have_text("Stop")
    expect(live.locator("#live-fixed p")).to_have_count(2 * SENTENCES)
    live.click("#live-audio")
    expect(live.locator("#live-audio")).to_have_text("Go on speaking")
    assert_last_words(live, first, answer.value)


def test_the_last_words_after_a_reload_are_asked_for_until_they_come(speak: Open) -> None:
    live = speak(expected="50[02]")
    begin(live)
    live.route(LAST, lambda route: None, times=1)
    with live.expect_request(LAST):
        live.reload()
    answers = iter([500, 502])

    def fail(route: Route) -> None:
        status = next(answers, None)
        if status:
            route.fulfill(status=status, json={})
        else:
            route.continue_()

    live.route(LAST, fail)
    with live.expect_response(lambda reply: "last=1" in reply.url and reply.ok) as answer:
        live.reload()
    expect(live.locator("#live-fixed p")).to_have_count(SENTENCES)
    assert captions(live) == texts(answer.value)
    expect(live.locator("#live-note")).to_have_text("")


def test_last_words_that_the_server_has_forgotten_are_said_to_be_missing(speak: Open) -> None:
    live = speak(expected="404")
    begin(live)
    live.route(LAST, lambda route: route.fulfill(status=404, json={}))
    live.reload()
    expect(live.locator("#live-note")).to_contain_text("is missing from the captions")
    expect(live.locator("#live-fixed p")).to_have_count(1)


def test_what_was_said_without_a_network_is_captioned_in_order(speak: Open) -> None:
    live = speak(expected="ERR_INTERNET_DISCONNECTED")
    begin(live)
    first = captions(live)
    live.context.set_offline(True)
    for words in ("Go on speaking", "Stop", "Go on speaking", "Stop"):
        live.click("#live-audio")
        expect(live.locator("#live-audio")).to_have_text(words)
    expect(live.locator("#live-note")).to_contain_text("The connection is gone")
    with live.expect_response(LAST) as answer:
        live.context.set_offline(False)
    until(lambda: live.locator("#live-fixed p").count() >= 2 * SENTENCES)
    until(lambda: captions(live).endswith(reference("en_two_sentences")))
    live.click("#live-audio")
    expect(live.locator("#live-audio")).to_have_text("Go on speaking")
    assert_last_words(live, first, answer.value)


def assert_forgotten(page: Page) -> None:
    """Nothing of a talk is on the page or in the browser, nor after a reload."""
    expect(page.locator("#live-empty")).to_be_visible()
    assert page.evaluate("localStorage['speech-live']") is None
    page.reload()
    expect(page.locator("#live-empty")).to_be_visible()


def test_captions_are_cleared_while_an_answer_is_under_way(speak: Open) -> None:
    live = speak()
    begin(live)
    live.route(CHUNK, lambda route: None)
    with live.expect_request(CHUNK):
        pass
    clear_captions(live)
    expect(live.locator("#live-audio")).to_have_text("Start speaking")
    assert_forgotten(live)


def test_last_words_do_not_bring_cleared_captions_back(speak: Open) -> None:
    live = speak(script=LAST_WORDS_COME_LATE)
    begin(live)
    live.reload()
    clear_captions(live)
    live.wait_for_timeout(3000)  # the last words would have come
    assert_forgotten(live)
