"""Numbers that a program is called with, read by argparse within their bounds."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any


def bounded(
    kind: type[int] | type[float],
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: float | None = None,
    endless: bool = False,
    named: str = "",
) -> Callable[[str], Any]:
    """What reads a number from `least` to `most`, or one `above` a bound: a `type` for argparse.

    `endless` is whether it may be infinite. `named` is what a refusal ends with, behind what is
    wrong with the number; argparse names the option itself.
    """
    kinds: dict[type, str] = {int: "a whole number", float: "a number"}
    if above is not None:
        wanted = f"above {above:g}"
    elif most < math.inf:
        wanted = f"between {least:g} and {most:g}"
    else:
        wanted = f"at least {least:g}" if least > -math.inf else "a number"

    def read(text: str) -> float:
        wrong = ""
        try:
            value = kind(text)
        except ValueError:
            wrong = kinds[kind]
        else:
            if abs(value) == math.inf and not endless:  # isinf takes no large int
                wrong = "finite"
            elif not least <= value <= most or (above is not None and value <= above):
                wrong = wanted  # NaN is nowhere
        if wrong:
            raise argparse.ArgumentTypeError(f"{text!r} is not {wrong}{named}")
        return value

    return read
