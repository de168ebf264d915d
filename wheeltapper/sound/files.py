"""Sound files, read block by block: a file of a day costs no more memory than one of a second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import first_names
from wheeltapper.training.datasets.places import natural_order

SUFFIXES = (".wav", ".flac", ".ogg", ".aiff", ".aif", ".w64", ".rf64")
_LEAST_RATE, _MOST_RATE = 100, 1_000_000


@dataclass(frozen=True)
class SoundFile:
    """One file, described.

    Attributes:
        frames: samples of each channel; 0 where the header does not say.
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.frames / self.sample_rate

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """[n, channels] float32 blocks of `frames`, the last one shorter; integers are scaled to [-1, 1).

        Raises:
            InputError: the file is damaged, or has samples that are no finite numbers.
        """
        library = soundfile()
        done = 0
        try:
            with library.SoundFile(self.path) as opened:
                while True:
                    block: np.ndarray = opened.read(frames, dtype="float32", always_2d=True)
                    if not len(block):
                        break
                    if not np.isfinite(block).all():
                        raise InputError(
                            f"{self.path}: samples from second {done / self.sample_rate:.1f} on are not finite numbers, expected "
                            "finite ones; repair or leave out the file"
                        )
                    done += len(block)
                    yield block
        except library.LibsndfileError as error:
            raise InputError(
                f"{self.path}: cannot be read after {done / self.sample_rate:.1f} s ({error}); copy or convert it again"
            ) from error
        if done < self.frames:
            raise InputError(
                f"{self.path}: ends after {done} samples where its header says {self.frames}; it was cut short: copy it again"
            )


def soundfile() -> ModuleType:
    """The library, which workers and other commands do without.

    Raises:
        InputError: it is not installed.
    """
    try:
        import soundfile as library
    except (ImportError, OSError) as error:  # OSError: libsndfile itself is missing
        raise InputError(f"sound files need soundfile ({error}): pip install 'wheeltapper[audio]'") from error
    return library


def describe(path: Path) -> SoundFile:
    """
    Raises:
        InputError: not a sound file, an empty one, or one with an impossible rate.
    """
    library = soundfile()
    try:
        info: Any = library.info(str(path))
    except (library.LibsndfileError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as a sound file ({error}); expected one of {', '.join(SUFFIXES)}"
        ) from error
    if not info.frames:
        raise InputError(f"{path}: has no samples; leave the file out or record it again")
    if not _LEAST_RATE <= info.samplerate <= _MOST_RATE:
        raise InputError(
            f"{path}: the sample rate is {info.samplerate} Hz, expected {_LEAST_RATE} to {_MOST_RATE}; convert it"
        )
    return SoundFile(path, int(info.samplerate), int(info.channels), int(info.frames))


def find_files(place: Path) -> list[SoundFile]:
    """A file, or all sound files of a folder and those below it, in natural order of their names (2 before 10).

    Raises:
        InputError: nothing there, or files that differ in rate or channels.
    """
    if not place.exists():
        raise InputError(f"{place} does not exist; expected a sound file or a folder of them")
    paths = [place] if place.is_file() else [path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise InputError(f"{place}: holds no sound file; expected files that end in {', '.join(SUFFIXES)}")
    files = [describe(path) for path in sorted(paths, key=lambda path: natural_order(str(path)))]
    _check_alike(files)
    return files


def _check_alike(files: Sequence[SoundFile]) -> None:
    first = files[0]
    others = [file for file in files if (file.sample_rate, file.channels) != (first.sample_rate, first.channels)]
    if others:
        raise InputError(
            f"{len(others)} of {len(files)} files differ from {first.path.name} ({first.sample_rate} Hz, {first.channels} "
            f"channels): {first_names([f'{file.path.name} ({file.sample_rate} Hz, {file.channels} channels)' for file in others])}; "
            "one microphone has one rate: replay them apart, or convert them"
        )
