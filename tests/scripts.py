"""Python in a process of its own: what it imports, keeps in memory or dies of is its own affair."""

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def run(script: str) -> str:
    """Standard output of a script, which must end well and say nothing on standard error.

    It works in an empty folder and can import the repository and the modules of the tests.
    """
    places = [TESTS.parent, TESTS, TESTS / "library"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))},
        )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout
