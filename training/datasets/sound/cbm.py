"""Motor vibration (Analog Devices, SpectraQuest rig) as clips of three axes at 20 kHz; `speed` (rpm) and `load` (lb) are attributes.

Files and names: `wheeltapper.training.datasets.cbm_motor`. One recording of a second each of every state, at four speeds and two loads. Entities:

- 'same': learns from the first half of every healthy recording, is tested on the second half of all.
- 'other-load': learns from the healthy motor without load, is tested under load.
- 'speed-600', ..: learns from the healthy motor at the other speeds, is tested at this one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.cbm_motor import AXES, RATE_HZ, SPEEDS_RPM, Recording, recordings
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries

DATASET = "cbm"
UNIT = "V"
ENTITIES = ("same", "other-load", *(f"speed-{speed}" for speed in SPEEDS_RPM))


def entities(data: Path) -> tuple[str, ...]:
    """
    Raises:
        InputError: no recordings.
    """
    if not data.is_dir() or not any(data.glob("*.npz")):
        recordings(data)  # says what was expected
    return ENTITIES


def load(data: Path, entity: str) -> SoundSeries:
    """
    Raises:
        InputError: a file that cannot be read, or nothing healthy to learn from.
    """
    found = recordings(data)
    healthy = [recording for recording in found if not recording.faulty]
    if entity == "same":
        train, test = _clips(healthy, 0.0, 0.5), _clips(found, 0.5, 1.0)
    elif entity == "other-load":
        train = _clips((recording for recording in healthy if not recording.load_lb), 0.0, 1.0)
        test = _clips((recording for recording in found if recording.load_lb), 0.0, 1.0)
    else:
        speed = int(entity.removeprefix("speed-"))
        train = _clips((recording for recording in healthy if recording.speed_rpm != speed), 0.0, 1.0)
        test = _clips((recording for recording in found if recording.speed_rpm == speed), 0.0, 1.0)
    if not train:
        raise InputError(
            f"{data}: no healthy recording for '{entity}'; expected files such as 0600_GoB_GS_BaLo_WA_00lb.npz"
        )
    return SoundSeries(DATASET, entity, RATE_HZ, AXES, (UNIT,) * len(AXES), train, test)


def _clips(found: Iterable[Recording], start: float, stop: float) -> list[Clip]:
    """The share from `start` to `stop` of every recording."""
    clips = []
    for order, recording in enumerate(found):
        length = len(recording.signal)
        condition = f"{recording.speed_rpm:04}_{recording.load_lb:02}lb"
        clips.append(
            Clip(
                name=f"{condition}_{recording.state}",
                samples=recording.signal[round(start * length) : round(stop * length)],
                machine="motor",
                group=f"{condition}_{recording.state}",
                order=order,
                anomalous=recording.faulty,
                attributes={"speed": float(recording.speed_rpm), "load": float(recording.load_lb)},
            )
        )
    return clips
