"""What a program sets for its process, and a library leaves alone."""

import pytest
import scripts


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("pass", ""),
        (
            "own_process()",
            "warning: a?.wav: from 1.0 to 2.0 s sound is missing or could not be decoded\n",
        ),
        ("own_process(); own_process(quiet=True)", ""),
    ],
    ids=["library", "program", "quiet program"],
)
def test_warnings_are_said_by_programs_and_by_no_library(before: str, said: str) -> None:
    heard = scripts.run(
        f"""
        import io, sys
        sys.stderr = sys.stdout
        import numpy as np, soundfile
        from speech_translation.audio import load_audio
        from speech_translation.process import own_process

        {before}
        file = io.BytesIO()
        soundfile.write(file, np.full(32000, 0.1), 16000, format="WAV")
        load_audio(file.getvalue()[:-32000], name="a\\x1b.wav")
        """
    )
    assert heard == said
