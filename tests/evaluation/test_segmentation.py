"""Segmentation is measured right: cuts, document scores, data of all forms, the command."""

import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sacrebleu.metrics import CHRF

from evaluation import long_data
from evaluation.document_scores import compare_documents, drawn
from evaluation.long_recordings import (
    PEOPLE_RECORDINGS,
    PEOPLE_ROUNDS,
    Recording,
    Spoken,
    joined,
    people,
    read_recordings,
    segment_list,
)
from evaluation.resegmentation import boundaries, resegment
from evaluation.samples import DataError, read_samples
from evaluation.segmentation import cuts_inside, main, table
from evaluation.systems import SYSTEMS, System
from speech_translation.audio import load_audio
from speech_translation.engine import Engine, Request
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Language

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
EN, JA = Language.ENGLISH, Language.JAPANESE
EN_JA, JA_EN = Direction.EN_JA, Direction.JA_EN


def edits(first: Sequence[str], second: Sequence[str]) -> int:
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, row[0] = row[:], i
        for j, b in enumerate(second, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
    return row[-1]


@pytest.mark.parametrize(
    ("text", "references", "language", "parts"),
    [
        (
            "I have a dog. It is big and He runs. Fast.",
            ["I own a dog.", "It is large.", "He runs fast."],
            EN,
            ["I have a dog.", "It is big and", "He runs. Fast."],
        ),
        (
            "犬がいます。大きいです。速い。",
            ["犬を飼っています。", "大きいです。", "とても速い。"],
            JA,
            ["犬がいます。", "大きいです。", "速い。"],
        ),
        # What no sentence accounts for goes where a sentence ends.
        ("He left. Oh no. She stayed.", ["He left.", "She stayed."], EN, None),
        ("“Go!” SHE said", ["'Stop,' she said.", "He went."], EN, ["“Go!” SHE said", ""]),
        ("", ["One.", "Two."], EN, ["", ""]),
        ("One. Two.", ["", ""], EN, None),
    ],
)
def test_a_document_is_divided_at_the_sentences_of_its_reference(
    text: str, references: list[str], language: Language, parts: list[str] | None
) -> None:
    found = resegment(text, references, language)
    assert len(found) == len(references)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(part == "" or part[-1] in ".。!" for part in found) if parts is None else True
    assert parts is None or found == parts


def test_no_division_has_fewer_edits_and_no_equal_one_ends_more_sentences() -> None:
    rng = random.Random(1)
    for _ in range(300):
        tokens = rng.choices("abc.", k=rng.randint(0, 7))
        sentences = [rng.choices("abc.", k=rng.randint(0, 4)) for _ in range(rng.randint(1, 4))]

        def cost(ends: Sequence[int], tokens: Any = tokens, sentences: Any = sentences) -> Any:
            pieces = [tokens[a:b] for a, b in itertools.pairwise([0, *ends])]
            unfinished = sum(end > 0 and tokens[end - 1] != "." for end in ends[:-1])
            return sum(map(edits, pieces, sentences)), unfinished

        places = itertools.combinations_with_replacement(range(len(tokens) + 1), len(sentences) - 1)
        ends = boundaries(tokens, sentences)
        assert ends == sorted(ends)
        assert cost(ends) == min(cost([*inner, len(tokens)]) for inner in places)


def test_a_cut_counts_where_it_parts_a_sentence() -> None:
    sentences = [Spoken(0.5, 4.0), Spoken(5.0, 9.0)]
    assert cuts_inside([(0.4, 4.1), (4.9, 9.1)], sentences) == 0
    assert cuts_inside([(0.4, 3.95), (4.0, 9.1)], sentences) == 0  # a soft ending is no cut
    assert cuts_inside([(0.4, 2.0), (2.8, 9.1)], sentences) == 1
    assert cuts_inside([(0.4, 2.0), (2.8, 6.0), (6.0, 9.1)], sentences) == 2
    assert cuts_inside([(0.4, 9.1)], sentences) == 0


def test_document_scores_are_sacrebleus_and_their_intervals_hold_them() -> None:
    rng = random.Random(1)
    words = [
        "the",
        "a",
        "dog",
        "cat",
        "runs",
        "sleeps",
        "in",
        "on",
        "house",
        "garden",
        "big",
        "small",
    ]
    references = [[" ".join(rng.choices(words, k=8)) for _ in range(10)] for _ in range(5)]

    def worse(share: float) -> list[list[str]]:
        def spoilt(text: str) -> str:
            return " ".join("x" if rng.random() < share else word for word in text.split())

        return [[spoilt(text) for text in document] for document in references]

    systems = {"hand": worse(0.1), "sentence": worse(0.12), "pause": worse(0.6)}
    found = compare_documents(systems, references, EN, base="hand", resamples=200)["chrF2"]
    flat = [text for document in references for text in document]
    for name, documents in systems.items():
        score = found["scores"][name]
        texts = [text for document in documents for text in document]
        assert score["score"] == pytest.approx(CHRF().corpus_score(texts, [flat]).score)
        low, high = score["interval"]
        assert low < score["score"] < high
    assert found["scores"]["hand"]["share_interval"] == (1.0, 1.0)
    assert found["scores"]["pause"]["share_interval"][1] < 0.9
    assert found["at_least"]["sentence pause"] == 1.0
    assert found["signature"].startswith("nrefs:1")


def test_a_draw_takes_talks_and_then_their_sentences() -> None:
    counts = drawn([2, 30], resamples=500)
    assert set(counts[:, :2].sum(axis=1)) == {0, 2, 4}  # a talk comes as a whole or not
    assert counts[:, :2].sum(axis=1).mean() == pytest.approx(2, abs=0.2)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    """The phrasebook's first sentences in Japanese, joined."""
    samples = read_samples(ROOT / "evaluation" / "data" / "phrasebook.jsonl")
    chosen = itertools.islice((s for s in samples if s.direction is JA_EN), 8)
    return list(joined(chosen, "phrasebook", each=5))


def test_joined_sentences_stand_where_they_are_said_to_be(sentences: list[Recording]) -> None:
    assert [len(recording.sentences) for recording in sentences] == [5, 3]
    for recording in sentences:
        sound = recording.load()
        assert recording.scored
        speech = [sound[x.span.start : x.span.end] for x in recording.sentences]
        assert all(np.abs(piece).max() > 0.1 for piece in speech)
        pauses = [(a.end, b.start) for a, b in itertools.pairwise(recording.sentences)]
        for start, end in pauses:
            assert 0.39 < end - start < 3.6
            silence = sound[round(start * SAMPLE_RATE) + 800 : round(end * SAMPLE_RATE) - 800]
            assert np.abs(silence).max() < 0.05
    (again, *_) = joined(
        itertools.islice(
            (
                s
                for s in read_samples(ROOT / "evaluation" / "data" / "phrasebook.jsonl")
                if s.direction is JA_EN
            ),
            5,
        ),
        "phrasebook",
        each=5,
    )
    assert np.array_equal(again.load(), sentences[0].load())


class Fluent:
    """Says a word for each second of speech; a piece of a sentence makes no sense to it."""

    description = "a fluent engine"
    batch_size = 2

    def __init__(self) -> None:
        self.calls = 0

    def generate(self, request: Request) -> list[Hypothesis]:
        self.calls += 1
        return [
            Hypothesis(f"It lasts {round(len(x) / SAMPLE_RATE)} seconds.", request.direction)
            for x in request.batch
        ]


@pytest.fixture
def fluent(monkeypatch: pytest.MonkeyPatch) -> Fluent:
    engine = Fluent()
    load: Callable[[str, str, str], Engine] = lambda *_: engine  # noqa: E731
    monkeypatch.setitem(SYSTEMS, "phrasebook", System("Fluent", "fluent", "0", load))
    return engine


@pytest.fixture
def talk(tmp_path: Path, sentences: list[Recording]) -> Path:
    """A manifest with one recording in Japanese."""
    (recording, *_) = sentences
    soundfile.write(tmp_path / "talk.flac", recording.load(), SAMPLE_RATE)
    row = {
        "recording": "talk.flac",
        "direction": "ja2en",
        "sentences": [
            {"start": x.start, "end": x.end, "reference": "It lasts 2 seconds."}
            for x in recording.sentences
        ],
    }
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps(row) + "\n", "utf-8")
    return manifest


def test_the_command_measures_policies_and_writes_table_and_figures(
    tmp_path: Path, talk: Path, fluent: Fluent, capsys: pytest.CaptureFixture[str]
) -> None:
    document, output = tmp_path / "document.md", tmp_path / "figures.json"
    document.write_text("# Here\n\n<!-- segmentation -->\n<!-- /segmentation -->\nend\n", "utf-8")
    command = [
        *("--data", str(talk), "--system", "phrasebook", "--kept", str(tmp_path / "kept")),
        *("--policies", "whole", "pause", "sentence", "hand", "hand-joined"),
        *("--output", str(output), "--document", str(document)),
    ]
    assert main(command) == 0
    figures = json.loads(output.read_text("utf-8"))
    (entry,) = figures["measurements"]
    assert entry["policies"]["hand"]["segments"] == entry["sentences"] == 5
    assert entry["policies"]["hand"]["cuts_inside"] == 0
    assert entry["metrics"]["chrF2"]["scores"]["hand"]["share"] == 1.0
    text = document.read_text("utf-8")
    assert table(figures) in text
    assert text.startswith("# Here")
    assert text.endswith("-->\nend\n")
    assert str(tmp_path) not in text
    assert "nrefs:1" in capsys.readouterr().out

    calls = fluent.calls
    assert main(command) == 0  # what was translated is not translated again
    assert fluent.calls == calls
    assert json.loads(output.read_text("utf-8")) == figures


def test_live_captions_are_measured_as_a_policy(
    tmp_path: Path, talk: Path, fluent: Fluent, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", str(talk), "--system", "phrasebook", "--kept", str(tmp_path)]
    assert main([*command, "--policies", "punctuation", "hand"]) == 0
    assert "`punctuation`" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--data", "nowhere.jsonl"], "nowhere.jsonl is no manifest of recordings"),
        (["--people"], "SPEECH_HUMAN"),
        (["--policies", "punctuation"], "--system"),
        (["--system", "phrasebook", "--policies", "whole"], "hand"),
        (["--segment-list", "acl.yaml"], "--references"),
        (["--system", "whisper-base", "--direction", "en2ja"], "direction"),
    ],
)
def test_a_command_that_cannot_be_is_answered_in_one_sentence(
    options: list[str],
    says: str,
    talk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(long_data, "PEOPLE", Path())
    if "whisper-base" in options:
        monkeypatch.setitem(SYSTEMS, "whisper-base", System("W", "w", "0", lambda *_: Fluent()))
        options = [*options, "--data", str(talk)]
    assert main(options) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error


def test_peoples_clips_become_long_recordings(tmp_path: Path) -> None:
    clips = {"a": ("ja_1", "ja"), "b": ("ja_two_sentences", "ja"), "c": ("ja_long", "ja")}
    rows = list[dict[str, Any]]()
    for name, (clip, language) in clips.items():
        sound = load_audio(EXAMPLES / f"{clip}.flac")
        soundfile.write(tmp_path / f"{name}.flac", sound, SAMPLE_RATE)
        rows.append({"path": f"{name}.flac", "language": language, "text": "何か。"})
    two = load_audio(EXAMPLES / "ja_two_sentences.flac")
    rows[1] |= {"ends": [2.0, len(two) / SAMPLE_RATE - 0.4], "translations": ["One.", "Two."]}
    (tmp_path / "manifest.json").write_text(json.dumps(rows), "utf-8")

    long, *short = people(tmp_path)
    assert long.name == "c.flac"
    assert len(long.sentences) == 1
    assert len(short) == len({x.load().tobytes() for x in short}) == PEOPLE_RECORDINGS
    for recording in short:
        assert len(recording.sentences) == 3 * PEOPLE_ROUNDS
        assert all(a.end < b.start for a, b in itertools.pairwise(recording.sentences))
        assert not recording.scored
        assert [x.reference for x in recording.sentences if x.reference] == [
            *(["One.", "Two."] * PEOPLE_ROUNDS)
        ]


def test_a_test_set_of_iwslt_is_read(tmp_path: Path) -> None:
    (tmp_path / "set.yaml").write_text(
        "- {duration: 2.5, offset: 0.5, speaker_id: a, wav: a.wav}\n"
        "- {duration: 1.0, offset: 4.0, speaker_id: a, wav: a.wav}\n"
        "- {duration: 1.0, offset: 0.0, speaker_id: b, wav: b.wav}\n",
        "utf-8",
    )
    (tmp_path / "en.txt").write_text("One.\nTwo.\nThree.\n", "utf-8")
    (tmp_path / "ja.txt").write_text("一。\n二。\n三。\n", "utf-8")
    paths = tmp_path / "set.yaml", tmp_path, tmp_path / "en.txt", tmp_path / "ja.txt"
    first, second = segment_list(*paths, EN_JA)
    assert first.audio == tmp_path / "a.wav"
    assert first.sentences == [Spoken(0.5, 3.0, "One.", "一。"), Spoken(4.0, 5.0, "Two.", "二。")]
    assert second.sentences == [Spoken(0.0, 1.0, "Three.", "三。")]
    (tmp_path / "ja.txt").write_text("一。\n二。\n", "utf-8")
    with pytest.raises(DataError, match="does not fit"):
        list(segment_list(*paths, EN_JA))


def test_a_manifest_of_recordings_is_read(talk: Path) -> None:
    (recording,) = read_recordings(talk)
    assert recording.direction is JA_EN
    assert recording.scored
    assert len(recording.load()) > 5 * SAMPLE_RATE


def test_the_document_has_the_table_of_the_figures() -> None:
    figures = json.loads((ROOT / "evaluation" / "results" / "segmentation.json").read_text("utf-8"))
    document = (ROOT / "docs" / "segmentation.md").read_text("utf-8")
    found = document.split("<!-- segmentation -->\n")[1].split("<!-- /segmentation -->")[0]
    assert found == table(figures), "run: make segmentation"
