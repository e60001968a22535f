"""A login page of a network, or a proxy's, in place of the server's answers."""

import httpx
import pytest
from browsing import Open, expect_text, upload
from clips import EXAMPLES, reference
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.slow


def login(page: Page, url: str) -> None:
    """The next request for this is answered by somebody else."""

    def answer(route: Route) -> None:
        route.fulfill(status=200, content_type="text/html", body="<p>Please log in")

    page.route(url, answer, times=1)


def test_a_login_page_in_place_of_an_upload_is_said_and_tried_again(visit: Open) -> None:
    page = visit(locale="ja-JP")
    login(page, "**/gradio_api/upload")
    card = upload(page, EXAMPLES / "en_1.flac")
    expect(card.locator(".message")).to_contain_text("サーバーへ送信できませんでした")
    card.get_by_role("button", name="もう一度").click()
    expect_text(card, reference("en_1"))
    login(page, "**/captions/srt*")
    card.locator("[data-format=srt]").click()
    expect(card.locator(".message")).to_contain_text("ファイルを作成できませんでした")


def test_a_proxy_that_lets_no_such_file_pass_is_not_taken_for_the_spaces_limit(visit: Open) -> None:
    page = visit(expected="413")
    page.route("**/gradio_api/upload", lambda route: route.fulfill(status=413, body="<h1>413</h1>"))
    card = upload(page, EXAMPLES / "en_1.flac")
    expect(card.locator(".message")).to_contain_text("Something between this page and the server")


def test_a_login_page_in_place_of_what_the_space_says_of_itself_is_not_believed(
    visit: Open,
) -> None:
    page = visit()
    login(page, "**/about")
    page.reload()
    expect(page.locator("#limits")).to_contain_text("MB")
    expect(page.locator("#model-description")).to_contain_text("phrasebook on")


def test_an_audience_reads_on_after_a_login_page(visit: Open, space: str) -> None:
    talk = httpx.post(f"{space}live").json()
    page = visit(expected="404")
    login(page, "**/captions?known=*")
    page.goto(f"{space}watch/{talk['watch']}")
    expect(page.locator("#watched")).to_contain_text("as soon as somebody speaks")
    httpx.delete(f"{space}live/{talk['id']}")
    expect(page.locator("#watched")).to_contain_text("The talk is over")
