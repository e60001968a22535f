"""Translate recordings from the command line: English speech to Japanese text and back.

    python inference.py FILE --direction en2ja
    python inference.py FILE --direction ja2en

The program is `speech_translation.cli`; `--help` lists its options.
"""

from speech_translation.cli import main, parser

__all__ = ["main", "parser"]

if __name__ == "__main__":
    raise SystemExit(main())
