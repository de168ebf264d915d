"""A folder of one's own recordings, WAV or FLAC.

| layout | train part | test part |
|---|---|---|
| `train/`, `test/normal/`, `test/abnormal/` | `train/` | both folders of `test/` |
| `normal/`, `abnormal/` | first half of `normal/`, by name | the rest of it, and `abnormal/` |
| sound files alone | all of them, taken as normal | none |
| folders of the above, one a machine | each an entity | |

Files count in the order of their names, numbers by value, which should be that of time. `attributes.csv` beside them (`file`, then a column an
attribute) says the operating point. All files of an entity share one rate and one number of channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.places import natural_order
from wheeltapper.training.datasets.sound.clips import ClipFile, first_half, read_series
from wheeltapper.training.datasets.sound.files import read_attributes, sound_files
from wheeltapper.training.datasets.sound.series import SoundSeries

DATASET = "wav"
ATTRIBUTES = "attributes.csv"
ABNORMAL = ("abnormal", "anomaly", "anomalous", "faulty")


def entities(data: Path) -> tuple[str, ...]:
    """
    Raises:
        InputError: no sound file where one is expected.
    """
    return tuple(_homes(data))


def load(data: Path, entity: str) -> SoundSeries:
    """
    Raises:
        InputError: a file that cannot be read, or files that differ in rate or channels.
    """
    home = _homes(data)[entity]
    if home.is_file():
        return read_series(DATASET, entity, [ClipFile(home, entity, anomalous=False)], [], first_channel=False)
    attributes = {}
    for table in sorted(home.rglob(ATTRIBUTES)):
        attributes.update(read_attributes(table, pairs=False))

    def clips(folder: Path, anomalous: bool) -> list[ClipFile]:
        return [
            ClipFile(path, entity, folder.name, number, "", anomalous, attributes.get(path.name, {}))
            for number, path in enumerate(sound_files(folder))
        ]

    train, test = _split(home, clips)
    if not train:
        raise InputError(f"{home}: no normal recording to learn from; put .wav or .flac files into train/")
    return read_series(DATASET, entity, train, test, first_channel=False)


def _split(home: Path, clips: Callable[[Path, bool], list[ClipFile]]) -> tuple[Sequence[ClipFile], Sequence[ClipFile]]:
    below = home / "test" if (home / "train").is_dir() else home
    abnormal = [clip for name in ABNORMAL for clip in clips(below / name, True)]
    if (home / "train").is_dir():
        train = clips(home / "train", False) or clips(home / "train" / "normal", False)
        return train, [*clips(below / "normal", False), *abnormal]
    if (home / "normal").is_dir():
        train, rest = first_half(clips(home / "normal", False))
        return train, [*rest, *abnormal]
    return clips(home, False), []


def _homes(data: Path) -> dict[str, Path]:
    if data.is_file():
        return {data.stem: data}
    if _is_home(data):
        return {data.resolve().name: data}
    found = [folder for folder in data.iterdir() if folder.is_dir() and _is_home(folder)]
    if not found:
        raise InputError(
            f"{data} holds no sound; expected .wav or .flac files, or folders train/ and test/normal, test/abnormal, or one folder a "
            "machine: correct --data"
        )
    return {folder.name: folder for folder in sorted(found, key=lambda folder: natural_order(folder.name))}


def _is_home(folder: Path) -> bool:
    return bool(sound_files(folder)) or any(sound_files(folder / name) for name in ("train", "train/normal", "normal"))
