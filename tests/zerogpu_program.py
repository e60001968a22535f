"""`app.py` as a program on ZeroGPU: the real `spaces`, and a CPU that stands in for its GPU.

Real are the import order, the emulated load on cuda, the weights on the disk, fork, queues,
pickling, generators and the stop event. In place of the GPU, the forked worker reads the weights
from the disk into memory and computes there. A line of the file that SPEECH_SEEN names says which
process used the engine or began CUDA. The file `fault` beside it makes the engine fail, with a
sentence or a bug, or wait after so many calls until nobody wants the answer.

    python tests/zerogpu_program.py --model phrasebook --precision float32 --port 7860
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MAIN = os.getpid()
SEEN = Path(os.environ["SPEECH_SEEN"])
FAULT = SEEN.with_name("fault")


def seen(what: str) -> None:
    """Note what this process does."""
    where = "main" if os.getpid() == MAIN else "worker"
    with SEEN.open("a") as file:
        file.write(json.dumps([what, where, os.getpid()]) + "\n")


def pretend_to_have_cuda() -> None:
    """Give torch's build for CPUs what `spaces` looks for in one for CUDA."""
    import torch

    torch.version.cuda = "13.0"

    def begin() -> None:
        seen("cuda")
        raise RuntimeError("CUDA was begun, and there is none.")

    def in_bad_fork() -> bool:
        return False

    # As a function of torch: `spaces` sends it to another process by its name.
    in_bad_fork.__module__, in_bad_fork.__qualname__ = "torch.cuda", "_is_in_bad_fork"
    torch._C._cuda_init = begin  # type: ignore[attr-defined]
    torch.cuda._is_in_bad_fork = in_bad_fork  # type: ignore[attr-defined]


def compute_on_the_cpu() -> None:
    """Let a worker take the weights to its memory, where it would take them to a GPU."""
    import torch
    from spaces.zero import torch as zero
    from spaces.zero.torch import patching

    def move(callback: Callable[[int], Any] | None = None) -> None:
        for pack in patching.tensor_packs:
            content = Path(pack.path()).read_bytes()
            offset = 0
            for tensor, size, aligned in chain(*pack.batches, pack.big_tensors):
                taken = torch.empty(tensor.shape, dtype=tensor.dtype)
                if size:
                    part = bytearray(content[offset : offset + size])
                    raw = torch.frombuffer(part, dtype=torch.uint8)
                    taken.set_(raw.untyped_storage(), 0, tensor.shape, tensor.stride())
                for fake in pack.fakes[tensor]:
                    fake.data = taken
                offset += aligned
                if callback is not None:
                    callback(size)
        for fake, original in patching.cuda_aliases.items():
            if original is not None:
                fake.data = original
        seen("weights")

    zero.init = lambda _: None
    zero.move = move


def watch() -> None:
    """Note which process uses the engine, and whether the main process begins CUDA."""
    import torch

    from speech_translation.engine import Request
    from speech_translation.engine.local import LocalEngine
    from speech_translation.errors import EngineError

    def watched(name: str) -> None:
        real = getattr(LocalEngine, name)

        def method(engine: LocalEngine, request: Request) -> Any:
            seen(name)
            fault, _, rest = (FAULT.read_text() if FAULT.exists() else "").partition(" ")
            if fault == "sentence":
                raise EngineError(rest)
            if fault == "bug":
                raise ZeroDivisionError(rest)
            if fault == "wait" and int(rest):
                FAULT.write_text(f"wait {int(rest) - 1}")
            elif fault == "wait":
                seen("waits")
                while FAULT.exists() and not request.abandoned:
                    time.sleep(0.01)
            return real(engine, request)

        setattr(LocalEngine, name, method)

    watched("generate")
    watched("prefill")
    emulated = torch._C._cuda_init  # type: ignore[attr-defined]

    def begin() -> None:
        seen("cuda")
        emulated()

    torch._C._cuda_init = begin  # type: ignore[attr-defined]


def main() -> None:
    """Start the Space with the options of the command line."""
    os.environ["SPACES_ZERO_GPU"] = "true"
    os.environ["ZEROGPU_OFFLOAD_DIR"] = tempfile.mkdtemp(dir=SEEN.parent)
    sys.path.insert(0, str(ROOT))
    pretend_to_have_cuda()
    import app
    from web import server

    compute_on_the_cpu()
    watch()
    server.main(app.build_page, "The Space on ZeroGPU.")


if __name__ == "__main__":
    main()
