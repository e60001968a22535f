"""Videos with captions among recordings: which of them runs have made.

They lie below the folder that a run reads when it writes there, too.
"""

from __future__ import annotations

import re
from pathlib import Path

from speech_translation.audio import EXTENSIONS
from speech_translation.journal import JOURNAL, outputs
from speech_translation.video import CAPTIONED, VIDEO_FORMATS

_RESULT = re.compile(rf"(.+?)(?:-\d+)?{re.escape(CAPTIONED)}\.(?:{'|'.join(VIDEO_FORMATS)})")
_ENDINGS = [ending for name in EXTENSIONS for ending in (name, name.upper())]


class Results:
    """The results of runs below `root`, a folder of recordings."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._named = dict[Path, frozenset[str]]()  # what the journal of a folder names

    def holds(self, path: Path) -> bool:
        """Whether a run made a file: a journal says so, or its recording lies where it should.

        That is beside it or, as a run under way names its results only later, at the same place
        below the root as the result below the folder of a journal.
        """
        if not (parts := _RESULT.fullmatch(path.name)):
            return False
        stems = {path.name.rpartition(CAPTIONED)[0], parts[1]}
        if _recorded(path.parent, stems):
            return True
        for folder in path.parents:
            if (folder / JOURNAL).is_file():
                if folder not in self._named:
                    self._named[folder] = frozenset(outputs(folder))
                below = path.relative_to(folder)
                if str(below) in self._named[folder] or _recorded(self._root / below.parent, stems):
                    return True
            if folder == self._root:
                break
        return False


def _recorded(folder: Path, stems: set[str]) -> bool:
    return any((folder / f"{stem}{ending}").is_file() for stem in stems for ending in _ENDINGS)
