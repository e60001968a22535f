"""What transformers 4.57.6 and qwen-asr 0.0.6 import and nothing here uses stays out of a program.

Their modules import, in module and class bodies, PyTorch's compiler, its distributed tensors,
SymPy, SciPy, scikit-learn and nagisa: two thirds of the time that it takes to import them. There is
no public way around it. So while they are imported, a program answers for the absent: transformers
asks whether a package is installed before it imports most of them, and the others have a stand-in
in `sys.modules` for as long. Everything is put back afterwards: whoever imports one of these
packages later gets the package. tests/engine/test_light_imports.py tells which stand-in is no
longer needed.

Only programs do so (`process.own_process`): a library must not change its host process, even for
a second. But it keeps nagisa out, whose import would change it for good.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_INDEXING = f"{_COMPILER}._trace_wrapped_higher_order_op"

_ABSENT = ("_sklearn_available", "_scipy_available")
"""Answers of transformers' `import_utils` that are "no" meanwhile.

scikit-learn serves assisted generation, and SciPy the losses of object detection.
"""

_FIRST = "accelerate"
"""It trains on several devices and remembers whether that is possible: it is told the truth."""

_NEEDED = (
    "qwen_asr.core.transformers_backend",
    "qwen_asr.inference.qwen3_asr",
    "transformers.cache_utils",
    "transformers.generation.streamers",
    "transformers.models.auto.processing_auto",
    "transformers.models.qwen2.tokenization_qwen2_fast",
    "transformers.models.whisper.feature_extraction_whisper",
)
"""What an engine imports of these libraries, sooner or later."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the search for circles of garbage: imports leave none and make a million objects."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def import_without_nagisa() -> None:
    """Import qwen-asr, and all that it imports but nagisa.

    nagisa sets the root logger to INFO, puts its folder, with modules named `model` and `tagger`,
    into `sys.path`, and its DyNet lets the thread take the smallest floats for zero.
    """
    with ExitStack() as until_done:
        if "nagisa" not in sys.modules:
            until_done.enter_context(_in_place_of(_nagisa()))
        import qwen_asr  # noqa: F401


def import_libraries() -> None:
    """Import what an engine needs of transformers and qwen-asr, and little else.

    To be called before any of it is imported; what is there already is left as it is. No other
    thread should import torch meanwhile: it would meet the stand-ins.
    """
    import torch

    if all(name in sys.modules for name in _NEEDED):
        return
    with ExitStack() as until_done:
        for module in (_compiler(), _indexing(), _nagisa()):
            if module.__name__ not in sys.modules:
                until_done.enter_context(_in_place_of(module))
        import_module(_FIRST)
        # None of those that ask from here on wants it for more than the type of its tensors.
        until_done.enter_context(_changed(torch.distributed, "is_available", _no))
        from transformers import utils
        from transformers.utils import import_utils

        for name in _ABSENT:
            until_done.enter_context(_changed(import_utils, name, False))
        # An attention of PyTorch's compiler. Both names are asked for.
        for asked in (utils, import_utils):
            until_done.enter_context(_changed(asked, "is_torch_flex_attn_available", _no))
        for name in _NEEDED:
            import_module(name)
    # Modules live as long as the process. Each later search would look through them, and the last
    # one, when the interpreter ends, takes half a second.
    gc.freeze()


def _no() -> bool:
    return False


@contextmanager
def _changed(module: ModuleType, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def _in_place_of(module: ModuleType) -> Iterator[None]:
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]


def _compiler() -> ModuleType:
    """`torch._dynamo`: transformers marks two functions for it, and nothing here is compiled."""

    def unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
        return _same if function is None else function

    module = ModuleType(_COMPILER)
    module.__path__ = []  # a package
    module.disable = module.allow_in_graph = unmarked  # type: ignore[attr-defined]
    return module


def _same(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _indexing() -> ModuleType:
    """The mode in which transformers makes attention masks.

    PyTorch's own is made of the same call; its module brings SymPy and the compiler along, for
    gradients.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class TransformGetItemToIndex(TorchFunctionMode):
        """Lets `vmap` index a tensor by tensors, which alone would make a number of them."""

        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            if func is torch.Tensor.__getitem__:
                indices = args[1] if isinstance(args[1], tuple | list) else (args[1],)
                if all(isinstance(index, torch.Tensor) for index in indices):
                    return torch.ops.aten.index(args[0], list(indices))
            return func(*args, **(kwargs or {}))

    module = ModuleType(_INDEXING)
    module.TransformGetItemToIndex = TransformGetItemToIndex  # type: ignore[attr-defined]
    return module


def _nagisa() -> ModuleType:
    """`nagisa` splits words for qwen-asr's aligner, which nothing here uses; it reads a model."""
    module = ModuleType("nagisa")

    def of_the_real_one(name: str) -> Any:
        # `inspect` asks every module for its file.
        if name.startswith("__") or sys.modules.get("nagisa") is module:
            raise AttributeError(name)
        import nagisa

        return getattr(nagisa, name)

    module.__getattr__ = of_the_real_one  # type: ignore[method-assign]
    return module
