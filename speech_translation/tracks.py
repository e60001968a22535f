"""Choose the sound track that is translated: a film may have one for each language."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from speech_translation.errors import AudioError, one_line
from speech_translation.types import Language, Remark, RemarkKind

# ISO 639-1, both codes of ISO 639-2, and what people write: of the pair, and what films often have.
_NAMES = (
    "en eng english",
    "ja jpn jp jap japanese",
    "ar ara arabic",
    "de deu ger german",
    "es spa spanish",
    "fr fra fre french",
    "hi hin hindi",
    "id ind indonesian",
    "it ita italian",
    "ko kor korean",
    "nl nld dut dutch",
    "pl pol polish",
    "pt por portuguese",
    "ru rus russian",
    "th tha thai",
    "tr tur turkish",
    "uk ukr ukrainian",
    "vi vie vietnamese",
    "zh zho chi chinese",
)
_CODES = {name: names.split()[0] for names in _NAMES for name in names.split()}


class Track(NamedTuple):
    """A sound track of a file."""

    language: str
    """As its metadata have it, or nothing."""
    aside: bool = False
    """Whether it is a commentary or describes the pictures."""
    best: bool = False
    """Whether a player would take it."""
    unread: bool = False
    """Whether nothing here can decode it."""


class Wanted(NamedTuple):
    """Which track is asked for."""

    track: int | str | None = None
    """The number of a sound track, from 1, or a language; None for the best."""
    language: Language | None = None
    """What is spoken, if that is known."""
    say: Callable[[Remark], object] = lambda _: None
    """Hears which one is taken of several, and that the only one may not be in the language."""


def choose(tracks: Sequence[Track], wanted: Wanted, name: str) -> int:
    """The index of the wanted one of `tracks`, which are those of the file `name`.

    Without a number or a language it is the first in the language that is spoken, commentaries
    last, or else the one that a player takes. Where either language may be spoken, and that one is
    in a third, it is the first in one of them. One that nothing decodes is taken only if it is
    asked for. The only track is the wanted one if it does not say its language. Raises AudioError
    if there is no such track.
    """
    asked = wanted.track
    if isinstance(asked, str) and asked.isdecimal():
        asked = int(asked)
    if isinstance(asked, int):
        if not 1 <= asked <= len(tracks):
            raise AudioError(f"{name} has no sound track {asked}: it has {_listed(tracks)}.")
        index = asked - 1
    else:
        best = min(range(len(tracks)), key=lambda i: (tracks[i].unread, not tracks[i].best))
        language = asked or wanted.language
        if language:
            in_it = [i for i, track in enumerate(tracks) if _same(track, language)]
        elif _known(tracks[best].language) and not language_of(tracks[best].language):
            in_it = [i for i, track in enumerate(tracks) if language_of(track.language)]
        else:
            in_it = []
        in_it.sort(key=lambda i: (tracks[i].unread, tracks[i].aside))
        if in_it and tracks[in_it[0]].unread and not asked:
            in_it = []
        unknown = len(tracks) == 1 and not _known(tracks[0].language)
        if asked and not in_it and not unknown:
            raise AudioError(
                f"{name} has no sound track in {one_line(str(asked))!r}: it has {_listed(tracks)}."
            )
        if asked and unknown:
            wanted.say(Remark(RemarkKind.UNTAGGED))
        index = in_it[0] if in_it else best
    if len(tracks) > 1:
        wanted.say(_taken(tracks, index))
    return index


def _known(language: str) -> bool:
    return language not in ("", "und", "mul", "zxx")


def language_of(tag: str) -> Language | None:
    """Which language of the pair a track is in by what its metadata say; None for another."""
    code = _code(tag)
    return Language(code) if code in tuple(Language) else None


def _same(track: Track, language: str) -> bool:
    """Whether a track is in `language`, however both write it: en, eng, en-US, English."""
    return _known(track.language) and _code(track.language) == _code(language)


def _code(language: str) -> str:
    name = language.lower().replace("_", "-").split("-")[0]
    return _CODES.get(name, name)


def _taken(tracks: Sequence[Track], index: int) -> Remark:
    """Which one is taken, in which languages they are where one of them says it."""
    said = [one_line(track.language[:20]) if _known(track.language) else "?" for track in tracks]
    languages = tuple(said[:20]) if set(said) != {"?"} else ()
    return Remark(RemarkKind.TRACK, number=index + 1, of=len(tracks), languages=languages)


def _listed(tracks: Sequence[Track]) -> str:
    """How many there are and, where one of them says it, in which language each is."""
    return f"{len(tracks)}{_taken(tracks, 0).listed}"
