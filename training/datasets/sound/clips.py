"""From files to the clips of a series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wheeltapper.training.datasets.sound.files import one_rate, read_sound
from wheeltapper.training.datasets.sound.series import Clip, Domain, SoundSeries


@dataclass(frozen=True)
class ClipFile:
    """A clip before it is read; the fields are those of `Clip`."""

    path: Path
    machine: str
    group: str = ""
    order: int = 0
    domain: Domain = ""
    anomalous: bool | None = None
    attributes: Mapping[str, float | str] = field(default_factory=dict)


def read_series(
    dataset: str,
    entity: str,
    train: Sequence[ClipFile],
    test: Sequence[ClipFile],
    *,
    first_channel: bool = True,
) -> SoundSeries:
    """Read the clips of both parts.

    Args:
        first_channel: of files with several channels, take the first alone; else every channel.

    Raises:
        InputError: a file that cannot be read, or rates or channels that differ.
    """
    rates: dict[Path, int] = {}
    channels: dict[Path, int] = {}
    parts: list[list[Clip]] = []
    for files in (train, test):
        clips = []
        for file in files:
            samples, rates[file.path] = read_sound(file.path, first_channel=first_channel)
            channels[file.path] = samples.shape[1]
            clips.append(
                Clip(
                    name=file.path.name,
                    samples=samples,
                    machine=file.machine,
                    group=file.group,
                    order=file.order,
                    domain=file.domain,
                    anomalous=file.anomalous,
                    attributes=file.attributes,
                )
            )
        parts.append(clips)
    rate, count = one_rate(rates, channels)
    return SoundSeries(dataset, entity, rate, channel_names(count), ("",) * count, parts[0], parts[1])


def channel_names(count: int) -> tuple[str, ...]:
    """('sound',) of one microphone, 'channel-1', .. of several."""
    return ("sound",) if count == 1 else tuple(f"channel-{number}" for number in range(1, count + 1))


def first_half(files: Sequence[ClipFile]) -> tuple[list[ClipFile], list[ClipFile]]:
    """Split in the order of time: neighbouring clips are pieces of one recording, so nothing is ever shuffled."""
    middle = (len(files) + 1) // 2
    return list(files[:middle]), list(files[middle:])


def in_order(files: Iterable[ClipFile]) -> list[ClipFile]:
    """By recording, then by number."""
    return sorted(files, key=lambda file: (file.group, file.order, file.path.name))
