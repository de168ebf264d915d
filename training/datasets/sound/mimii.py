"""MIMII: fans, pumps, sliders and valves of several ids in factory noise, clips of 10 s.

Layouts: as published, `<machine>/id_00/{normal,abnormal}/00000000.wav` (8 channels, of which the first is taken), also below folders such as
`6_dB_fan`; compact, `<machine>_id_00/{normal,abnormal}/00000000.flac`. An entity is a machine, 'fan_id_00'.

Clips are numbered through recordings, so neighbours are pieces of one: the first half of the normal ones, by number, is the train part, the rest
and the abnormal ones are the test part. 'fan_id_00/all' takes every normal clip for training: for a model that is judged on other clips.
"""

from __future__ import annotations

from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.places import natural_order
from wheeltapper.training.datasets.sound.clips import ClipFile, first_half, read_series
from wheeltapper.training.datasets.sound.files import need_clips, sound_files
from wheeltapper.training.datasets.sound.series import SoundSeries

DATASET = "mimii"
ALL = "all"
_DEPTH = 4


def entities(data: Path) -> tuple[str, ...]:
    """
    Raises:
        InputError: no folder with `normal` and sound files in it.
    """
    names = sorted(_machines(data), key=natural_order)
    return (*names, *(f"{name}/{ALL}" for name in names))


def load(data: Path, entity: str) -> SoundSeries:
    """
    Raises:
        InputError: a file that cannot be read.
    """
    name = entity.removesuffix(f"/{ALL}")
    folder = _machines(data)[name]
    normal, abnormal = (
        [
            ClipFile(path, name, group=label, order=number, anomalous=label == "abnormal")
            for number, path in enumerate(sound_files(folder / label))
        ]
        for label in ("normal", "abnormal")
    )
    need_clips(DATASET, entity, folder / "normal", [file.path for file in normal], "normal clips")
    train, rest = (normal, []) if entity != name else first_half(normal)
    return read_series(DATASET, entity, train, [*rest, *abnormal])


def _machines(data: Path) -> dict[str, Path]:
    if not data.is_dir():
        raise InputError(f"{data} is a file, expected the folder of MIMII; correct --data")
    found = {}
    for folder in sorted(data.glob("**/normal")):
        parts = folder.parent.relative_to(data).parts
        if len(parts) > _DEPTH or not sound_files(folder):
            continue
        # id_00 alone does not say of which machine.
        named = "_".join(parts[-2:]) if parts and parts[-1].startswith("id_") else (parts[-1] if parts else data.name)
        above = parts[:-2] if parts and parts[-1].startswith("id_") else parts[:-1]
        above = tuple(part for part in above if part not in ("mimii", "MIMII"))
        found["/".join((*above, named))] = folder.parent
    if not found:
        raise InputError(
            f"{data} holds no folder 'normal' with .wav or .flac files; expected <machine>/id_00/normal/ and abnormal/: correct --data"
        )
    return found
