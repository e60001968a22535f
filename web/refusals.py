"""What a visitor is told when a request fails, and what the log is told."""

from __future__ import annotations

import sys
import traceback

import gradio as gr


def refusal(message: str) -> gr.Error:
    """An error that shows `message` to the visitor and leaves no trace in the log."""
    return gr.Error(message, print_exception=False)


def log_place(error: BaseException) -> None:
    """Log where `error` was raised, without its message: that may quote the visitor."""
    print(*traceback.format_tb(error.__traceback__), type(error).__name__, file=sys.stderr)
