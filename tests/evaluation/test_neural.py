"""Neural metrics of hypotheses: a dry run with a tiny mT5 and a stand-in for the package comet."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from evaluation import neural, run
from evaluation.hypotheses import Line
from speech_translation.types import Direction

ROOT = Path(__file__).resolve().parents[2]
JA_EN = Direction.JA_EN


def write(path: Path, system: str, texts: list[str]) -> Path:
    rows = [
        asdict(Line(f"{i}", JA_EN, f"Reference number {i}.", f"話{i}", text))
        for i, text in enumerate(texts)
    ]
    head = {"system": system, "title": system, "engine": "e", "data": "d"}
    path = path / f"{system}.jsonl"
    path.write_text("\n".join(map(json.dumps, [head, *rows, {"samples": len(rows)}])), "utf-8")
    return path


@pytest.fixture
def fake_comet(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A model that likes what is long; the package needs its weights and numpy 1."""
    asked: list[Any] = []

    class Model:
        def predict(self, data: list[dict[str, str]], batch_size: int, gpus: int) -> Any:
            asked.append(data)
            return SimpleNamespace(scores=[len(x["mt"]) / 100 for x in data])

    comet = ModuleType("comet")
    loaded = list[str]()

    def load(name: str) -> Model:
        assert name not in loaded, "a model of gigabytes is loaded once"
        loaded.append(name)
        return Model()

    vars(comet).update(download_model=lambda name: name, load_from_checkpoint=load)
    monkeypatch.setitem(sys.modules, "comet", comet)
    real = neural.importlib.metadata.version
    monkeypatch.setattr(
        neural.importlib.metadata,
        "version",
        lambda name: "2.2.7" if name == "unbabel-comet" else real(name),
    )
    return asked


def scored(tmp_path: Path, *files: Path) -> dict[str, Any]:
    output = tmp_path / "scores.json"
    assert run.main(["score", *map(str, files), "--output", str(output)]) == 0
    return json.loads(output.read_text("utf-8"))  # type: ignore[no-any-return]


def test_hypotheses_get_scores_with_intervals_p_and_a_signature(
    tmp_path: Path, fake_comet: list[Any]
) -> None:
    long = [f"Translation number {i}" + "!" * (i % 3) for i in range(40)]
    files = [
        write(tmp_path, "long", long),
        write(tmp_path, "short", [text[:15] for text in long]),
        write(tmp_path, "poor", [*long[:38], "", "駅は左にあります。" * 5]),
    ]
    assert neural.main([*map(str, files), "--metrics", "comet22"]) == 0
    assert fake_comet[0][3] == {"src": "話3", "mt": long[3], "ref": "Reference number 3."}
    results = scored(tmp_path, *files)
    first, _, poor = (x["scores"]["ja2en"]["metrics"]["COMET-22"] for x in results["systems"])
    assert first["score"] == pytest.approx(sum(map(len, long)) / 40)
    low, high = first["interval"]
    assert first["score"] - 2 < low < first["score"] < high < first["score"] + 2
    assert "|Comet2.2.7|fp32|Unbabel/wmt22-comet-da|r1" in first["signature"]
    assert results["compared"]["ja2en"]["short"]["COMET-22"] < 0.01
    # Empty text and text in another language have the least, whatever the model thinks.
    assert poor["score"] == pytest.approx(sum(map(len, long[:38])) / 40)


def test_scores_of_another_version_of_the_file_are_refused(
    tmp_path: Path, fake_comet: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "ours", ["One.", "Two."])
    assert neural.main([str(path), "--metrics", "comet22"]) == 0
    write(tmp_path, "ours", ["One.", "Three."])
    assert run.main(["score", str(path)]) == 1
    assert "run evaluation.neural again" in capsys.readouterr().err


@pytest.fixture(scope="module")
def tiny_metricx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mT5's class with random weights, and a tokenizer of letters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import MT5Config, MT5ForConditionalGeneration, T5TokenizerFast

    folder = tmp_path_factory.mktemp("metricx")
    letters = sorted(set("source: candidate: reference: Reference number0123456789.話OnTwhe"))
    pieces = ["<pad>", "</s>", "<unk>", "▁", *(x for x in letters if x != " ")]
    raw = Tokenizer(models.Unigram([(piece, 0.0) for piece in pieces], unk_id=2))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    T5TokenizerFast(tokenizer_object=raw, extra_ids=0).save_pretrained(folder)
    torch.manual_seed(0)
    config = MT5Config(
        vocab_size=len(pieces),
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        initializer_factor=20.0,
        decoder_start_token_id=0,
        tie_word_embeddings=False,
    )
    model = MT5ForConditionalGeneration(config)
    start = torch.zeros((1, 1), dtype=torch.long)
    with torch.inference_mode():
        end = model(input_ids=start + 4, decoder_input_ids=start, output_hidden_states=True)
    # The score is how far the decoder's end is along that of another text: 12.5 for the same.
    along = end.decoder_hidden_states[-1][0, 0]
    model.lm_head.weight.data[-1] = 12.5 * along / along.square().sum()
    model.save_pretrained(folder)
    return folder


def test_metricx_reads_source_candidate_and_reference(
    tmp_path: Path, tiny_metricx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "ours", ["One.", "Two and three.", "When"])
    command = [str(path), "--metrics", "metricx24", "--model", str(tiny_metricx)]

    def scores() -> list[float]:
        assert neural.main(command) == 0
        record = json.loads(path.with_suffix(".neural.json").read_text("utf-8"))
        return list(record["metrics"]["MetricX-24"]["scores"].values())

    together = scores()
    assert all(0 <= x <= 25 for x in together)
    assert len(set(together)) == 3
    monkeypatch.setattr(neural, "BATCH", 1)  # padding changes nothing
    assert scores() == pytest.approx(together, abs=1e-4)
    (reached,) = scored(tmp_path, path)["systems"]
    metric = reached["scores"]["ja2en"]["metrics"]["MetricX-24"]
    assert metric["score"] == pytest.approx(sum(together) / 3, abs=1e-4)


@pytest.mark.parametrize(
    ("transcript", "complaint"), [(None, "No such file"), ("", "0 has no transcript")]
)
def test_what_is_missing_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], transcript: str | None, complaint: str
) -> None:
    path = write(tmp_path, "ours", ["One."])
    if transcript is None:
        path.unlink()
    else:
        path.write_text(path.read_text("utf-8").replace("\\u8a710", transcript), "utf-8")
    assert neural.main([str(path), "--metrics", "comet22"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert complaint in error


def test_nothing_of_the_project_is_needed() -> None:
    """Its environment has neither the runtime's packages nor this one's."""
    command = [sys.executable, "-I", "-S", ROOT / "evaluation" / "neural.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--metrics" in done.stdout
