"""A process that forks while its other threads use the engine, as on ZeroGPU."""

import os
import subprocess
import sys

import pytest
from clips import ROOT

FORKED = """
import os, sys, threading, time
import numpy as np
from speech_translation import detector
from speech_translation.engine import Request, load_engine

engine = load_engine("phrasebook", "cpu", precision="bfloat16")
sound = np.zeros(8000, np.float32)
detector.speech_probabilities(sound)
held, forked = threading.Event(), threading.Event()

def hold():
    with engine._lock, detector._session_lock:
        held.set()
        forked.wait()

threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    def use():
        detector.speech_probabilities(sound)
        engine.generate(Request([sound]))
        os._exit(7)
    threading.Thread(target=use).start()
    time.sleep(3600)  # until `use` has ended the process
forked.set()
deadline = time.monotonic() + 120
while time.monotonic() < deadline:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        print("ended with", os.waitstatus_to_exitcode(status))
        break
    time.sleep(0.05)
else:
    os.kill(child, 9)
    print("hangs")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_lock_that_is_held_during_a_fork_does_not_hang_the_new_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "ended with 7", done.stdout + done.stderr
