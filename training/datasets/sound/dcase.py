"""DCASE challenge task 2: machine sounds with a shift of domain, normal clips alone for training.

Two schemes of file names: `section_00_source_train_normal_0001_<attributes>.wav` (2021 on, with `attributes_00.csv` beside `train/`) and
`normal_id_01_00000000.wav` (2020). Folders: `<machine>/train/*.wav` and `<machine>/test/*.wav`. An entity is a section or id of a machine, 'fan/section_00'
or 'fan/id_01'; 'fan/all' is all of them.

Where a machine's folder holds clips and no train/ (a part of the data set), an id is judged by a model of the normal clips of the machine's other
ids: one clip of an id leaves nothing to learn from. 'fan/halves' learns from the first half of each normal clip and is tested on the second
halves of all: in the order of time, but of the same recordings, so it is easier than a machine is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.places import natural_order
from wheeltapper.training.datasets.sound.clips import ClipFile, in_order, read_series
from wheeltapper.training.datasets.sound.files import need_clips, read_attributes, sound_files, value_of
from wheeltapper.training.datasets.sound.series import Domain, SoundSeries

DATASET = "dcase"
ALL = "all"
HALVES = "halves"
PARTS = ("train", "test", "supplemental")
_SECTION = re.compile(
    r"^section_(?P<section>\d+)(?:_(?P<domain>source|target))?(?:_(?P<part>train|test|supplemental))?"
    r"(?:_(?P<label>normal|anomaly))?_(?P<number>\d+)(?:_(?P<attributes>.+))?$"
)
_ID = re.compile(r"^(?:(?P<label>normal|anomaly)_)?id_(?P<id>\d+)_(?P<number>\d+)$")
NO_ATTRIBUTES = frozenset({"noAttribute", "noAttributes"})


@dataclass(frozen=True)
class Name:
    """What a file name says.

    Attributes:
        unit: 'section_00' or 'id_01'.
        part: 'train', 'test', 'supplemental', or '' where only the folder says.
        anomalous: None where the name does not tell, as in evaluation sets.
    """

    unit: str
    number: int
    domain: Domain = ""
    part: str = ""
    anomalous: bool | None = None
    attributes: tuple[tuple[str, float | str], ...] = ()


def parse_name(stem: str) -> Name | None:
    """A file's name without ending; None where it follows neither scheme."""
    found = _SECTION.match(stem)
    if found:
        label = found["label"]
        return Name(
            unit=f"section_{found['section']}",
            number=int(found["number"]),
            domain=cast(Domain, found["domain"] or ""),
            part=found["part"] or "",
            anomalous=None if label is None else label == "anomaly",
            attributes=_attributes_of(found["attributes"] or ""),
        )
    found = _ID.match(stem)
    if found:
        label = found["label"]
        return Name(f"id_{found['id']}", int(found["number"]), anomalous=None if label is None else label == "anomaly")
    return None


def entities(data: Path) -> tuple[str, ...]:
    """
    Raises:
        InputError: no machine folder with clips of either scheme.
    """
    found: list[str] = []
    for machine, files in sorted(_machines(data).items()):
        units = sorted({name.unit for name in files.values()}, key=natural_order)
        found += [f"{machine}/{unit}" for unit in units]
        if not any(part == "train" for part in _parts(files)):
            found.append(f"{machine}/{HALVES}")
        elif len(units) > 1:
            found.append(f"{machine}/{ALL}")
    return tuple(found)


def load(data: Path, entity: str) -> SoundSeries:
    """
    Raises:
        InputError: a file that cannot be read, or no normal clip to learn from.
    """
    machine, _, unit = entity.rpartition("/")
    files = _machines(data)[machine]
    said = _attribute_files(files)
    parts = dict(zip(files, _parts(files), strict=True))
    clips = {
        path: ClipFile(
            path,
            f"{machine}/{name.unit}",
            group=f"{name.unit} {name.domain}".strip(),
            order=name.number,
            domain=name.domain,
            anomalous=False if parts[path] == "train" and name.anomalous is None else name.anomalous,
            attributes={**dict(name.attributes), **said.get(path.name, {})},
        )
        for path, name in files.items()
    }
    if unit == HALVES:
        normal = [clip for clip in clips.values() if not clip.anomalous]
        return _halves(read_series(DATASET, entity, in_order(normal), in_order(clips.values())))
    mine = {path for path, name in files.items() if unit in (ALL, name.unit)}
    if any(part == "train" for part in parts.values()):
        train = [clips[path] for path in files if path in mine and parts[path] in ("train", "supplemental")]
        test = [clips[path] for path in files if path in mine and parts[path] == "test"]
    else:
        train = [clips[path] for path in files if path not in mine]
        test = [clips[path] for path in mine]
    train = [clip for clip in train if not clip.anomalous]
    need_clips(DATASET, entity, data / machine, [clip.path for clip in train], "normal clips for training")
    return read_series(DATASET, entity, in_order(train), in_order(test))


def _halves(series: SoundSeries) -> SoundSeries:
    """The first half of each train clip, and the second half of each test clip."""
    return replace(
        series,
        train=[replace(clip, samples=clip.samples[: len(clip.samples) // 2]) for clip in series.train],
        test=[replace(clip, samples=clip.samples[len(clip.samples) // 2 :]) for clip in series.test],
    )


def _machines(data: Path) -> dict[str, dict[Path, Name]]:
    """Machine -> its files; a machine's folder holds train/ and test/, or the clips themselves."""
    if not data.is_dir():
        raise InputError(f"{data} is a file, expected the folder of DCASE's machines; correct --data")
    found: dict[str, dict[Path, Name]] = {}
    for folder in sorted({data, *(path for path in data.rglob("*") if path.is_dir())}):
        for path in sound_files(folder):
            name = parse_name(path.stem)
            if name is None:
                continue
            home = folder.parent if folder.name in PARTS else folder
            found.setdefault(home.name, {})[path] = name
    if not found:
        raise InputError(
            f"{data} holds no clips named as section_00_source_train_normal_0001.wav or normal_id_01_00000000.wav; expected "
            "<machine>/train/ and <machine>/test/: correct --data"
        )
    return found


def _parts(files: Mapping[Path, Name]) -> list[str]:
    return [name.part or (path.parent.name if path.parent.name in PARTS else "") for path, name in files.items()]


def _attribute_files(files: Mapping[Path, Name]) -> dict[str, dict[str, float | str]]:
    """What the attributes_*.csv of a machine say, by file name."""
    homes = {path.parent.parent if path.parent.name in PARTS else path.parent for path in files}
    found: dict[str, dict[str, float | str]] = {}
    for table in sorted(table for home in homes for table in home.glob("attributes_*.csv")):
        found.update(read_attributes(table, pairs=True))
    return found


def _attributes_of(text: str) -> tuple[tuple[str, float | str], ...]:
    """'vel_31_loc_A' to (('vel', 31.0), ('loc', 'A')); an odd word at the end is left out."""
    if not text or text in NO_ATTRIBUTES:
        return ()
    words = text.split("_")
    return tuple((name, value_of(value)) for name, value in zip(words[::2], words[1::2], strict=False))
