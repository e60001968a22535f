"""Memory that the Space has freed goes back to the system."""

import subprocess
import sys

import pytest

# Beside each piece that is freed a small one stays, as answers stay beside the work on them.
PROGRAM = """
import os, time
from web import heap

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

heap.tend(every=0.1)
before = resident()
used, kept = [], []
for _ in range(2000):
    used.append(bytearray(100_000))
    kept.append(bytearray(1000))
most = resident() - before
used.clear()
deadline = time.monotonic() + 60
while resident() - before > most / 4 and time.monotonic() < deadline:
    time.sleep(0.1)
print(most, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_what_is_freed_between_what_is_used_goes_back_to_the_system() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120
    )
    most, left = map(int, run.stdout.split())
    assert most > 150e6
    assert left < most / 4
