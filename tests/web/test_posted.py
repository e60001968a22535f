"""Results that a browser gives back for a file: what is none, and what is too long."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette

from speech_translation.captions import as_data
from speech_translation.types import Direction, Segment, Translation
from web.loading import Loading
from web.pages import routes
from web.posted import LONGEST, translation_of
from web.service import Service
from web.settings import Settings


@pytest.mark.parametrize(
    "change",
    [
        {"segments": [{"start": 2, "end": 1, "text": "a", "direction": "en2ja"}]},
        {"segments": [{"start": 0, "end": 1, "text": 5, "direction": "en2ja"}]},
        {"segments": [{"start": 0, "end": 1, "text": "a" * 5001, "direction": "en2ja"}]},
        {"segments": [{"start": 0, "end": 1e300, "text": "a", "direction": "en2ja"}]},
        {"segments": [{"start": 0, "end": 1, "text": "a", "direction": "up"}]},
        {"segments": [{"start": 0, "end": 1, "text": "a", "direction": "auto", "flags": ["x"]}]},
        {"segments": "none"},
        {
            "segments": [
                {"start": 0, "end": 1, "text": "a", "direction": "auto", "regions": [(0, 1)] * 101}
            ]
        },
        {"remarks": [{"kind": "spoilt"}]},
        {"duration": "nan"},
        {"duration": None},
    ],
    ids=range(11),
)
def test_what_is_no_translation_makes_no_file(change: dict[str, object]) -> None:
    whole = as_data(Translation([Segment(0, 1, "駅です。", Direction.EN_JA)], Direction.EN_JA, 1.0))
    assert as_data(translation_of(whole)) == whole
    with pytest.raises((ValueError, TypeError)):
        translation_of({**whole, **change})


def test_a_result_longer_than_any_talk_makes_no_file() -> None:
    segments = [Segment(n, n + 1, "a" * 5000, Direction.EN_JA) for n in range(LONGEST // 5000 + 1)]
    body = as_data(Translation(segments, Direction.EN_JA, 100.0))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(
            Starlette(routes=routes(Service(Settings(), Loading(pytest.fail, "none"))))
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            return await client.post("/captions/txt", json=body)

    assert asyncio.run(ask()).status_code == 413
    body["segments"].pop()  # type: ignore[attr-defined]
    assert asyncio.run(ask()).status_code == 200
