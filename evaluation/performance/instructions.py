"""Lower sets of instructions than the processor has, for a process that starts with them.

What is slow on another machine can then be found on this one. Each library has a switch of its own,
which it reads when it is loaded: numba compiles for a processor that is named to it; torch, oneDNN
and MKL choose among the code that they bring.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from speech_translation.engine.cpu.processor import compiled_for, processor_features


@dataclass(frozen=True)
class Level:
    """A set of instructions: the processor that numba compiles for, and what the libraries call it.

    `without` are the beginnings of LLVM's names for the instructions that it lacks. `onednn` and
    `mkl` are also words of the sentences in which these libraries say what they use.
    """

    processor: str
    without: tuple[str, ...]
    torch: str
    onednn: str
    mkl: str
    said: str


_NEWER = ("avx10", "amx", "avxvnni", "avxifma", "avxneconvert")

LEVELS = {
    "native": None,
    "avx512": Level(
        "cascadelake",
        (*_NEWER, "avx512bf16", "avx512fp16", "avx512ifma", "avx512vp", "avx512vbmi", "avx512bit"),
        "avx512",
        "AVX512_CORE_VNNI",
        "AVX512",
        "AVX-512 with Intel DL Boost",
    ),
    "avx2": Level("haswell", (*_NEWER, "avx512"), "avx2", "AVX2", "AVX2", "AVX2"),
}
"""`avx512` is a Xeon of 2019 (Cascade Lake): AVX512 and VNNI without BF16. `avx2` has neither."""

# In a process of its own, since oneDNN and MKL say it only once and on standard output.
_ASK = """
import torch
torch.mm(torch.ones(8, 64), torch.ones(64, 8))
torch.ops.mkldnn._linear_pointwise(torch.ones(8, 64), torch.ones(8, 64), None, "none", [], "")
"""


def environment(level: str) -> dict[str, str]:
    """The variables with which a process has no more than the instructions of `level`.

    Raises ValueError where the processor itself lacks them.
    """
    chosen = LEVELS[level]
    if chosen is None:
        return {}
    host = processor_features()
    if (level == "avx512" and not host.get("avx512vnni")) or not host.get("avx2"):
        raise ValueError(f"This processor has no {level}: measure with --instructions native.")
    features = ",".join(
        ("+" if has and not name.startswith(chosen.without) else "-") + name
        for name, has in sorted(host.items())
    )
    return {
        "NUMBA_CPU_NAME": chosen.processor,
        "NUMBA_CPU_FEATURES": features,
        "ATEN_CPU_CAPABILITY": chosen.torch,
        "ONEDNN_MAX_CPU_ISA": chosen.onednn,
        "MKL_ENABLE_INSTRUCTIONS": chosen.mkl,
    }


def run_again(
    module: str, level: str, argv: Sequence[str] | None, stdout: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program once more with `--here`, with no more than the instructions of `level`.

    In a process of its own: the libraries read their switches when they are loaded. `argv` are the
    program's own arguments, None for those of this process. Raises ValueError where the processor
    itself lacks the instructions.
    """
    command = [sys.executable, "-m", module, "--here", level]
    command += sys.argv[1:] if argv is None else argv
    forced = os.environ | environment(level)
    return subprocess.run(command, env=forced, stdout=stdout, text=True, check=False)


def require(level: str) -> dict[str, str]:
    """What numba, torch, oneDNN and MKL say that this process uses.

    Raises RuntimeError where a switch of `level` did not take. MKL names a set of instructions on
    Intel's processors only; elsewhere it cannot be checked.
    """
    import torch

    answer = subprocess.run(
        [sys.executable, "-c", _ASK],
        env=os.environ | {"MKL_VERBOSE": "1", "ONEDNN_VERBOSE": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    used = {
        "numba": " ".join(sorted(name for name in compiled_for() if name.startswith("avx"))),
        "torch": torch.backends.cpu.get_cpu_capability(),
        "onednn": _found(r"cpu,isa:(.*)", answer),
        "mkl": _found(r"MKL_VERBOSE .*?architecture (.*?)(?:,| Lnx)", answer),
    }
    chosen = LEVELS[level]
    if chosen is None:
        return used
    took = {
        "numba": not any(name.startswith(chosen.without) for name in compiled_for()),
        "torch": used["torch"].lower() == chosen.torch,
        "onednn": used["onednn"].endswith(chosen.said),
        "mkl": level != "avx2" or "512" not in used["mkl"],
    }
    for name, yes in took.items():
        if not yes:
            raise RuntimeError(f"{name} does not keep to {level}: it uses {used[name]}.")
    return used


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1].strip() if match else "not told"
