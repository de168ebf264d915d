"""UAV propellers (TII): flights of a drone with whole and broken propellers, four missions, clips of about 10 s.

Layouts: compact, `{normal,broken}/<config>_<direction>_<shape>_<rep>.flac`; as published,
`Dataset/normal/<direction>_<shape>/<rep>/ch1.wav` and `Dataset/<n>_broken/<config>/<direction>_<shape>/<rep>/ch1.wav`.
A mission is a direction (cw, ccw) and a shape (f8, square). Repetitions were flown one after the other.

Entities: 'uav' learns from the first half of the normal flights of every mission, by repetition, and is tested on the rest; 'square-to-f8' and
'f8-to-square' learn from all normal flights of one shape and are tested on the other. Domain: square is the source, f8 the target.
"""

from __future__ import annotations

import re
from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.sound.clips import ClipFile, in_order, read_series
from wheeltapper.training.datasets.sound.files import sound_files
from wheeltapper.training.datasets.sound.series import SoundSeries

DATASET = "uav"
ENTITIES = ("uav", "square-to-f8", "f8-to-square")
_COMPACT = re.compile(r"^(?P<config>[01]{4}|normal|\w+?)_(?P<direction>cw|ccw)_(?P<shape>f8|square)_(?P<rep>\d+)$")
_MISSION = re.compile(r"^(?P<direction>cw|ccw)_(?P<shape>f8|square)$")


def entities(data: Path) -> tuple[str, ...]:
    """
    Raises:
        InputError: no flights.
    """
    _flights(data)
    return ENTITIES


def load(data: Path, entity: str) -> SoundSeries:
    """
    Raises:
        InputError: a file that cannot be read.
    """
    flights = _flights(data)
    if entity == "uav":
        train, test = [], []
        for mission in sorted({flight.group for flight in flights}):
            normal = [flight for flight in flights if flight.group == mission and not flight.anomalous]
            # Whole repetitions: flights of one lie beside each other in time.
            reps = sorted({flight.order for flight in normal})
            early = set(reps[: (len(reps) + 1) // 2])
            train += [flight for flight in normal if flight.order in early]
            test += [flight for flight in normal if flight.order not in early]
    else:
        learnt, _, judged = entity.partition("-to-")
        train = [flight for flight in flights if not flight.anomalous and flight.attributes["shape"] == learnt]
        test = [flight for flight in flights if not flight.anomalous and flight.attributes["shape"] == judged]
        flights = [flight for flight in flights if flight.attributes["shape"] == judged]
    test += [flight for flight in flights if flight.anomalous]
    return read_series(DATASET, entity, in_order(train), in_order(test))


def _flights(data: Path) -> list[ClipFile]:
    if not data.is_dir():
        raise InputError(f"{data} is a file, expected the folder of UAV flights; correct --data")
    found = [
        flight
        for folder in sorted({data, *(path for path in data.rglob("*") if path.is_dir())})
        for path in sound_files(folder)
        if (flight := _flight(path)) is not None
    ]
    if not any(not flight.anomalous for flight in found):
        raise InputError(
            f"{data} holds no normal flights; expected normal/0000_cw_f8_01.flac, or Dataset/normal/cw_f8/1/ch1.wav: correct --data"
        )
    return in_order(found)


def _flight(path: Path) -> ClipFile | None:
    named = _COMPACT.match(path.stem)
    if named:
        broken, rep = path.parent.name == "broken", int(named["rep"])
    elif path.stem == "ch1" and len(path.parts) > 4 and path.parents[0].name.isdigit():
        named = _MISSION.match(path.parents[1].name)
        broken, rep = path.parents[2].name != "normal", int(path.parents[0].name)
    if not named:
        return None
    direction, shape = named["direction"], named["shape"]
    return ClipFile(
        path,
        "uav",
        group=f"{direction}_{shape}",
        order=rep,
        domain="source" if shape == "square" else "target",
        anomalous=broken,
        attributes={"direction": direction, "shape": shape},
    )
