"""Translate recordings from the command line: English speech to Japanese text and back.

    python inference.py talk.mp3 --direction en2ja
    python inference.py recordings/ --format srt --output-dir subtitles
    python inference.py recordings/ more.list --output-dir out --jobs 64 --engine-url URL

The command line itself is `speech_translation.cli`; an installed package has it under the name
speech-translation.
"""

from speech_translation.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
