"""Reading sound files; needs soundfile, which is imported on use."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.places import natural_order

ENDINGS = (".wav", ".flac")
MAX_CLIP_S = 4 * 3_600
"""Longest file that is read as one clip: 230 MB an hour at 16 kHz."""
SHORTEST_CLIP_S = 0.1


def sound_files(folder: Path) -> list[Path]:
    """The sound files right in a folder, in natural order of their names: that of time, as recorders count on."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.is_file()]
    return sorted(found, key=lambda path: natural_order(path.name))


def read_sound(path: Path, *, first_channel: bool = False) -> tuple[np.ndarray, int]:
    """A file's samples [n, channels] float32, integers scaled to [-1, 1), and its rate in Hz.

    Args:
        first_channel: of several, take the first alone.

    Raises:
        InputError: soundfile is not installed; not a sound file, cut off, shorter than 0.1 s, longer than 4 hours, or samples
            that are not finite.
    """
    try:
        import soundfile
    except ModuleNotFoundError as error:
        raise InputError("reading sound files needs soundfile: pip install 'wheeltapper[audio]'") from error
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate, frames = int(file.samplerate), int(file.frames)
            if frames > MAX_CLIP_S * rate:
                raise InputError(
                    f"{path}: {frames / rate / 3600:.3g} hours long, expected at most {MAX_CLIP_S // 3600}; cut it into shorter files"
                )
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read as sound ({error}); expected a whole WAV or FLAC file") from error
    if len(samples) < frames:
        raise InputError(f"{path}: {len(samples)} of {frames} samples are there; the file was cut off: copy it again")
    if len(samples) < SHORTEST_CLIP_S * rate:
        raise InputError(
            f"{path}: {len(samples) / rate:.3g} s long, expected at least {SHORTEST_CLIP_S:g} s; leave it out"
        )
    if not np.isfinite(samples).all():
        bad = int(np.count_nonzero(~np.isfinite(samples)))
        raise InputError(f"{path}: {bad} samples are not finite numbers; record it again or leave it out")
    return (samples[:, :1] if first_channel else samples), rate


def one_rate(rates: Mapping[Path, int], channels: Mapping[Path, int]) -> tuple[int, int]:
    """Rate and channels that all files share.

    Raises:
        InputError: they differ; names two of the files.
    """
    for what, found, advice in (
        ("Hz", rates, "resample one of them, or keep them in folders of their own"),
        ("channel(s)", channels, "keep them in folders of their own"),
    ):
        first, value = next(iter(found.items()))
        other = next((path for path in found if found[path] != value), None)
        if other is not None:
            raise InputError(
                f"{other}: {found[other]} {what}, {first.name} has {value}; expected the same of all: {advice}"
            )
    return next(iter(rates.values())), next(iter(channels.values()))


def value_of(text: str) -> float | str:
    """A number where the text is one, else the text."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if np.isfinite(number) else text


def read_attributes(path: Path, *, pairs: bool) -> dict[str, dict[str, float | str]]:
    """Attributes by file name without folder.

    Args:
        pairs: columns after the first come in pairs of name and value, as DCASE's d1p, d1v, ..; else their heads are the names.

    Raises:
        InputError: no header, or a line of another length.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); expected file names and attributes") from error
    if not rows:
        raise InputError(f"{path}: is empty, expected a header and a line a file")
    head, *lines = rows
    found: dict[str, dict[str, float | str]] = {}
    for number, line in enumerate(lines, start=2):
        if len(line) > len(head):
            raise InputError(f"{path}, line {number}: {len(line)} values, the header has {len(head)}; correct the line")
        cells = line[1:] + [""] * (len(head) - len(line))
        named = list(zip(cells[::2], cells[1::2], strict=False)) if pairs else list(zip(head[1:], cells, strict=True))
        # Only the last part of a path: sources write 'fan/train/x.wav' or 'x.wav'.
        found[line[0].replace("\\", "/").rpartition("/")[2]] = {
            name: value_of(value) for name, value in named if name and value
        }
    return found


def need_clips(dataset: str, entity: str, folder: Path, files: Sequence[Path], expected: str) -> None:
    """
    Raises:
        InputError: no files.
    """
    if not files:
        raise InputError(
            f"{folder}: holds no {expected} of {dataset} {entity}; expected .wav or .flac files: correct --data"
        )
