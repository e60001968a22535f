"""Translate recordings from the command line: English speech to Japanese text and back.

    python inference.py talk.mp3 --direction en2ja
    python inference.py recordings/ --format srt --output-dir subtitles
    python inference.py recordings/ more.list --output-dir out --jobs 64 --engine-url URL

The command line itself is `speech_translation.cli`; an installed package has it under the name
speech-translation.
"""

import os
import signal

if __name__ == "__main__":
    # Ctrl-C while modules are imported would show where; from then on `main` handles it.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    try:
        from speech_translation.cli import main
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"error: The package {error.name} is missing: install the packages of "
            "requirements.txt, or use the Python of the environment that has them."
        ) from None

    raise SystemExit(main())
