"""The engine seam: segments of audio in, hypotheses out; and the engine of this machine.

`load_engine` alone chooses and caches; torch and qwen_asr are imported when a model is loaded.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from speech_translation.errors import EngineError, ModelError, first_words
from speech_translation.memory import checkpoint_bytes, need_memory
from speech_translation.replies import (
    ASR_TEXT,
    LOW_CONFIDENCE_LOGPROB,
    Cancelled,
    OnText,
    doubts,
    neutralised,
    parse_reply,
    tagged,
    token_budget,
)
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Seconds

if TYPE_CHECKING:
    import torch

PUBLISHED_MODEL = "voiceping-ai/qwen3-asr-ja-en-speech-translation"
PHRASEBOOK = "phrasebook"
PRECISIONS = ("float32", "bfloat16", "float16", "int8")
WINDOW: Seconds = 8.0
"""What the audio encoder hears at a time; closed as soon as the frame after it is there."""

_HOP, _FRAME = 160, 400  # samples from one mel frame to the next, and of one
PHRASEBOOK_FOLDER = Path(__file__).resolve().parent.parent / "examples" / "phrasebook"


class Engine(Protocol):
    """Whatever turns segments of audio into hypotheses."""

    @property
    def description(self) -> str:
        """Checkpoint, device and precision, for people."""

    @property
    def batch_size(self) -> int:
        """How many segments at a time suit this engine."""

    def generate(
        self,
        batch: Sequence[np.ndarray],
        direction: Direction,
        *,
        context: str = "",
        repetition_penalty: float = 1.0,
        on_text: OnText | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[Hypothesis]:
        """Translate each segment of `batch`, float32 (n,) at 16 kHz, 0.5 to 30 s.

        `context` holds names and terms. `on_text(index, text)` is called as text grows.
        `cancelled()` is asked before every token; once true, what there is comes back.

        Raises EngineError when the engine fails.
        """


@runtime_checkable
class WorksAhead(Protocol):
    """An engine that can begin before a segment is complete."""

    def prepare(self, samples: np.ndarray, direction: Direction, *, context: str = "") -> None:
        """Work on the beginning of a segment, float32 (n,), that is still growing.

        There is something new to work on after each `WINDOW`. What is generated later is the same
        and takes less. Does nothing while the engine is busy.
        """


class LocalEngine:
    """`qwen_asr.Qwen3ASRModel` on this machine's GPU or CPU.

    Greedy decoding. One generation at a time: the model keeps state between steps, and two would
    only halve each other's speed.
    """

    def __init__(self, asr: Any, name: str, precision: str, batch_size: int) -> None:
        self._asr = asr
        self._precision = precision
        self._lock = threading.Lock()
        self._name = name
        self.batch_size = batch_size
        config = asr.model.generation_config
        tokenizer = asr.processor.tokenizer
        # generate() hard-codes Qwen's ids; a checkpoint's own generation_config has the right ones.
        ends = config.eos_token_id if config.eos_token_id is not None else tokenizer.eos_token_id
        self._ends: list[int] = [ends] if isinstance(ends, int) else list(ends)
        pad = config.pad_token_id
        self._pad: int = tokenizer.pad_token_id if pad is None else pad
        self._tag_end: int = tokenizer.convert_tokens_to_ids(ASR_TEXT)
        self._low_confidence: float = getattr(
            config, "low_confidence_logprob", LOW_CONFIDENCE_LOGPROB
        )

    @property
    def description(self) -> str:
        """Checkpoint, device and precision, for people."""
        return f"{self._name} on {self._asr.device} in {self._precision}"

    def generate(
        self,
        batch: Sequence[np.ndarray],
        direction: Direction,
        *,
        context: str = "",
        repetition_penalty: float = 1.0,
        on_text: OnText | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[Hypothesis]:
        """See `Engine.generate`. A batch that does not fit into memory is halved until it does."""
        import torch

        try:
            with self._lock:
                return self._generate(
                    batch, direction, context, repetition_penalty, on_text, cancelled
                )
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise EngineError(f"The model failed on {self._asr.device}: {error}") from error
            if len(batch) == 1:
                seconds = len(batch[0]) / SAMPLE_RATE
                raise EngineError(
                    f"Not enough memory on {self._asr.device} for {seconds:.0f} s of audio: "
                    "use shorter segments, another device or a smaller model."
                ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(batch) // 2

        on_second = None
        if on_text is not None:

            def on_second(index: int, text: str) -> None:
                on_text(index + half, text)

        return [
            hypothesis
            for part, listener in ((batch[:half], on_text), (batch[half:], on_second))
            for hypothesis in self.generate(
                part,
                direction,
                context=context,
                repetition_penalty=repetition_penalty,
                on_text=listener,
                cancelled=cancelled,
            )
        ]

    def prepare(self, samples: np.ndarray, direction: Direction, *, context: str = "") -> None:
        """See `WorksAhead.prepare`. Closed windows of the encoder are worked on."""
        import torch

        from speech_translation.ahead import RememberedWindows

        encoder = self._asr.model.thinker.audio_tower
        if not isinstance(encoder, RememberedWindows):
            return
        closed = (len(samples) - _FRAME) // (_HOP * encoder.frames)
        if closed < 1 or not self._lock.acquire(blocking=False):
            return
        try:
            # What fails here fails in `generate` too, which says so.
            with contextlib.suppress(RuntimeError, MemoryError), torch.inference_mode():
                self._prefill(samples, direction, context, closed)
        finally:
            self._lock.release()

    def _prefill(
        self, samples: np.ndarray, direction: Direction, context: str, windows: int
    ) -> None:
        """Encode the first `windows` of the audio and read the prompt up to their end."""
        import torch

        from speech_translation.decoding import key_value_cache

        thinker = self._asr.model.thinker
        encoder = thinker.audio_tower
        inputs = self._inputs([samples], direction, context)
        inputs["feature_attention_mask"][:, windows * encoder.frames :] = 0
        sound = inputs["input_ids"][0] == thinker.config.audio_token_id
        known = int(sound.long().argmax()) + windows * encoder.tokens
        for name in ("input_ids", "attention_mask"):
            inputs[name] = inputs[name][:, :known]
        thinker(
            **inputs,
            past_key_values=key_value_cache(thinker.config.text_config.num_hidden_layers, known),
            cache_position=torch.arange(known, device=self._asr.device),
            use_cache=True,
        )

    def _generate(
        self,
        batch: Sequence[np.ndarray],
        direction: Direction,
        context: str,
        repetition_penalty: float,
        on_text: OnText | None,
        cancelled: Cancelled | None,
    ) -> list[Hypothesis]:
        import torch

        from speech_translation.decoding import (
            Confidence,
            Limits,
            TextStreamer,
            key_value_cache,
        )

        budgets = [token_budget(len(samples)) for samples in batch]
        confidence = Confidence()
        streamer = None
        if on_text is not None:
            shown = tagged(on_text) if direction is Direction.AUTO else on_text
            streamer = TextStreamer(self._asr.processor.tokenizer, len(batch), shown)
        inputs = self._inputs(batch, direction, context)
        room = inputs["input_ids"].shape[1] + max(budgets)
        layers = self._asr.model.config.thinker_config.text_config.num_hidden_layers
        with torch.inference_mode():
            output = self._asr.model.generate(
                **inputs,
                max_new_tokens=max(budgets),
                eos_token_id=self._ends,
                pad_token_id=self._pad,
                do_sample=False,
                repetition_penalty=repetition_penalty,
                logits_processor=[confidence],
                stopping_criteria=[Limits(inputs["input_ids"].shape[1], budgets, cancelled)],
                streamer=streamer,
                past_key_values=key_value_cache(layers, room),
            )
        replies = output.sequences[:, inputs["input_ids"].shape[1] :].tolist()
        logprobs = confidence.logprobs()
        return [
            self._hypothesis(reply, row, budget, direction)
            for reply, row, budget in zip(replies, logprobs, budgets, strict=True)
        ]

    def _inputs(
        self, batch: Sequence[np.ndarray], direction: Direction, context: str
    ) -> dict[str, torch.Tensor]:
        """Prompt ids (batch, tokens), padded on the left; features (batch, 128, frames).

        Features are computed clip by clip: in a batch the processor pads the audio first, and the
        last frame of a clip would depend on its neighbours.
        """
        import torch

        processor, model = self._asr.processor, self._asr.model
        features = [
            processor.feature_extractor(
                samples, sampling_rate=SAMPLE_RATE, padding=True, truncation=False
            )["input_features"][0]
            for samples in batch
        ]
        frames = torch.tensor([x.shape[1] for x in features])
        padded = torch.zeros(len(batch), features[0].shape[0], int(frames.max()))
        for row, x in zip(padded, features, strict=True):
            row[:, : x.shape[1]] = torch.from_numpy(np.asarray(x))
        prompt = self._asr._build_text_prompt(
            neutralised(context), direction.target.tag if direction.target else None
        )
        from qwen_asr.core.transformers_backend.processing_qwen3_asr import (
            _get_feat_extract_output_lengths,
        )

        prompts = processor.replace_multimodal_special_tokens(
            [prompt] * len(batch), iter(_get_feat_extract_output_lengths(frames).tolist())
        )
        tokens = processor.tokenizer(
            prompts, padding=True, padding_side="left", return_tensors="pt"
        )
        return {
            "input_ids": tokens["input_ids"].to(model.device),
            "attention_mask": tokens["attention_mask"].to(model.device),
            "input_features": padded.to(model.device, model.dtype),
            "feature_attention_mask": (torch.arange(padded.shape[2]) < frames[:, None])
            .long()
            .to(model.device),
        }

    def _hypothesis(
        self, reply: list[int], logprobs: list[float], budget: int, direction: Direction
    ) -> Hypothesis:
        reply = reply[:budget]  # what follows is padding, and may look like an end
        end = next((i for i, token in enumerate(reply) if token in self._ends), None)
        truncated = end is None
        length = len(reply) if end is None else end + 1
        reply = reply[:length]
        decoded = self._asr.processor.tokenizer.decode(
            reply, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        if direction is Direction.AUTO:
            language, text = parse_reply(decoded)
            direction = Direction.to(language) if language else Direction.AUTO
            text_start = reply.index(self._tag_end) + 1 if self._tag_end in reply else 0
        else:
            text, text_start = decoded.strip(), 0
        scored = logprobs[text_start:length]
        mean = sum(scored) / len(scored) if scored else 0.0
        flags = doubts(text, direction, mean, self._low_confidence, truncated=truncated)
        return Hypothesis(text, direction, length, mean, flags)


def _out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "can't allocate memory" in str(error)  # what torch's CPU allocator says, a RuntimeError
    )


_engines: dict[tuple[str, str, str, bool, str, int], Engine] = {}
_loading = threading.Lock()


def load_engine(
    model: str = PUBLISHED_MODEL,
    device: str = "auto",
    *,
    precision: str = "auto",
    windowed: bool = True,
    url: str = "",
    in_flight: int = 0,
) -> Engine:
    """The engine for a model, loaded once per process even when threads ask together.

    `model` is "phrasebook" (embedded), a folder, or a Hub id; `device` is auto, cpu, mps, cuda or
    cuda:N. `precision` is one of `PRECISIONS`, or auto: bfloat16 on a GPU that has it, else
    float16; float32 on a CPU, where bfloat16 is slower unless the processor multiplies in it, and
    where int8 halves the memory and is faster, at a small loss (README).
    `windowed` applies the encoder's 8 s attention window, which the base model was trained
    with; False gives the whole clip to every token, as qwen-asr does on a CPU.

    With `url`, one or several addresses of vLLM servers separated by commas, they do the work with
    the model that they serve, and the rest does not apply. They get up to `in_flight` requests at
    a time, or `remote.IN_FLIGHT` if that is more.

    Raises ModelError when the model or the device cannot be had, EngineError when no server can.
    """
    with _loading:
        key = (model, device, precision, windowed, url, in_flight if url else 0)
        if key not in _engines:
            if url:
                from speech_translation.remote import IN_FLIGHT, RemoteEngine

                _engines[key] = RemoteEngine(url.split(","), in_flight=max(in_flight, IN_FLIGHT))
            else:
                _engines[key] = _load_local(model, device, precision, windowed)
        return _engines[key]


def _load_local(model: str, device: str, precision: str, windowed: bool) -> LocalEngine:
    # Threads that wait by spinning slow each other manifold where cores are shared; to sleep at
    # once costs a tenth, since a token takes 200 products. So they spin for microseconds.
    # OpenMP reads this when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    import torch

    chosen = choose_device(device)
    precision = choose_precision(precision, chosen)
    folder = _locate(model)
    if chosen == "cpu":
        need_memory(model, folder, precision)
    try:
        _lighten_imports()
        import qwen_asr
        from transformers import AutoProcessor
        from transformers.utils import is_flash_attn_2_available

        from speech_translation.ahead import RememberedPrompt, RememberedWindows
        from speech_translation.attention import encode_together, set_encoder_window
        from speech_translation.decoding import LastPosition

        if chosen == "cpu" and precision in ("float32", "int8"):
            from speech_translation.narrow import load_narrow
            from speech_translation.step import step_layers

            lean = load_narrow(folder, int8=precision == "int8")
            step_layers(lean.thinker.model)
            asr = qwen_asr.Qwen3ASRModel("transformers", lean, None)
        else:
            flash = chosen.startswith("cuda") and is_flash_attn_2_available()
            asr = qwen_asr.Qwen3ASRModel.from_pretrained(
                str(folder),
                dtype=getattr(torch, precision),
                device_map=chosen,
                attn_implementation="flash_attention_2" if flash else "sdpa",
            )
        # Read once more without fix_mistral_regex, which replaces Qwen's splitting rule in folders
        # written by transformers 4.57.3 or later (tokenization_utils_base.py of 4.57.6).
        asr.processor = AutoProcessor.from_pretrained(str(folder), fix_mistral_regex=False)
        set_encoder_window(asr.model, windowed)
        if windowed:
            asr.model.thinker.audio_tower = RememberedWindows(asr.model.thinker.audio_tower)
            if chosen != "cpu":
                encode_together(asr.model.thinker)
        RememberedPrompt(asr.model.thinker.model)
        asr.model.thinker.lm_head = LastPosition(asr.model.thinker.lm_head)
        asr.model.eval()
        return LocalEngine(asr, model, precision, batch_size=_batch_size(chosen, folder))
    except Exception as error:  # whatever a broken checkpoint sets off in the libraries below
        raise ModelError(
            f"The checkpoint {model} cannot be loaded ({first_words(error)}): copy or train it "
            "again; it needs config.json, model.safetensors, the tokenizer and "
            "preprocessor_config.json."
        ) from error


def _batch_size(device: str, folder: Path) -> int:
    """Segments at a time. Decoding waits for the weights, and several segments read them once.

    A CPU takes fewer: their prompts are not faster together, and the first text waits for all. The
    weights of a small model stay in its cache.
    """
    if device != "cpu":
        return 8
    return 4 if checkpoint_bytes(folder) > 1 << 28 else 1


def _lighten_imports() -> None:
    """Keep out what qwen_asr and transformers import and this does not use, half of the time.

    nagisa belongs to the aligner: `import nagisa` now loads it when it is used. scikit-learn, which
    is here for librosa, serves transformers for assisted generation.
    """
    from transformers.utils import import_utils

    import_utils._sklearn_available = False
    spec = importlib.util.find_spec("nagisa")
    if "nagisa" in sys.modules or spec is None or spec.loader is None:
        return
    spec.loader = importlib.util.LazyLoader(spec.loader)
    sys.modules["nagisa"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["nagisa"])


def _locate(model: str) -> Path:
    """The folder behind a model's name; what is on the Hub is fetched first."""
    if model == PHRASEBOOK:
        return PHRASEBOOK_FOLDER
    folder = Path(model)
    if os.path.isdir(folder):  # not Path.is_dir: too long a name is no folder either
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{model} holds no checkpoint (no config.json): name the folder that the training "
                "wrote, or use --model phrasebook."
            )
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith("."):
        raise ModelError(
            f"There is no model folder {model}: give an existing folder, a Hugging Face id such as "
            f"{PUBLISHED_MODEL}, or {PHRASEBOOK}."
        )
    return _fetch(model)


def _fetch(model: str) -> Path:
    """The local copy of a model on the Hub."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    offline = constants.HF_HUB_OFFLINE
    if not offline:
        try:
            # Asked once here: the download itself would try again for a minute.
            get_session().head(constants.ENDPOINT, timeout=10)
        except OSError:
            offline = True
    try:
        return Path(snapshot_download(model, local_files_only=offline))
    except Exception as error:  # the Hub's client has no common error
        reason = "it cannot be reached" if offline else first_words(error)
        raise ModelError(
            f"The model {model} cannot be fetched from the Hugging Face Hub ({reason}). Without a "
            "network, use the embedded one: python inference.py FILE --model phrasebook"
        ) from error


def choose_device(device: str) -> str:
    """The device to use; "auto" is a GPU if there is one. ModelError when it is not there."""
    import torch

    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    present[:0] = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if device == "auto":
        return present[0]
    wanted = "cuda:0" if device == "cuda" else device
    if wanted not in present:
        raise ModelError(
            f"There is no device {device} here: use one of {', '.join(present)}, or auto."
        )
    return wanted


def choose_precision(precision: str, device: str) -> str:
    """The precision to compute in; "auto" is what suits the device. ModelError for an unknown."""
    import torch

    if precision == "int8" and device != "cpu":
        raise ModelError(
            f"The precision int8 is for a CPU, not for {device}: use bfloat16, float16, float32, "
            "or auto."
        )
    if precision in PRECISIONS:
        return precision
    if precision != "auto":
        raise ModelError(
            f"There is no precision {precision}: use one of {', '.join(PRECISIONS)}, or auto."
        )
    if device == "cpu":
        return "float32"
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported(False)
    return "bfloat16" if bf16 else "float16"
