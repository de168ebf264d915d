"""A simulated pump station: four pumps with 15 coupled channels, operating modes and six kinds of fault.

It ships with the project, so that everything can be seen and tested without downloading data. The same entity and
seed give the same numbers on every machine. One row a minute; the train part is normal operation, the test part
holds each kind of fault at least once, with the channels that it touches.

The plant: a pump with a speed drive draws through a filter from a sump and delivers through a control valve into a
tank. Per row, with n the speed as a part of nominal and Q the flow:

    head of the pump      H = n^2 H0 - a Q^2                 (affinity laws, quadratic pump curve)
    head of the system    H = Hs + (r / valve^2 + leak) Q^2  (static lift and losses)
    so                    Q = sqrt((n^2 H0 - Hs) / (a + losses)), 0 where the pump cannot lift

Power follows Q H over the efficiency, temperatures follow losses with a thermal lag, vibration follows the speed,
and low suction pressure makes the pump cavitate. Faults act on causes (a clogged filter, a leak), and the other
channels follow from the physics, or on a reading alone (a stuck or drifting sensor).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wheeltapper.training.datasets.clock import MADE_UP_INTERVAL_S, made_up_times
from wheeltapper.training.datasets.series import LabelledSegment, SensorSeries

PUMPS = ("pump-1", "pump-2", "pump-3", "pump-4")
UNITS = {
    "speed": "rpm",
    "flow": "m3/h",
    "suction_pressure": "bar",
    "discharge_pressure": "bar",
    "filter_pressure_drop": "bar",
    "valve_position": "%",
    "motor_current": "A",
    "motor_power": "kW",
    "winding_temperature": "degC",
    "bearing_temperature_drive_end": "degC",
    "bearing_temperature_free_end": "degC",
    "vibration_drive_end": "mm/s",
    "vibration_free_end": "mm/s",
    "tank_level": "m",
    "water_temperature": "degC",
}
CHANNELS = tuple(UNITS)

# Kind of fault -> the channels that it moves visibly, strongest first.
FAULTS: dict[str, tuple[str, ...]] = {
    "bearing-wear": ("vibration_drive_end", "bearing_temperature_drive_end", "vibration_free_end"),
    "clogged-filter": (
        "filter_pressure_drop",
        "suction_pressure",
        "vibration_drive_end",
        "vibration_free_end",
        "discharge_pressure",
    ),
    "stuck-sensor": ("discharge_pressure",),
    "sensor-drift": ("flow",),
    "leak": ("discharge_pressure", "tank_level", "flow", "filter_pressure_drop", "suction_pressure"),
    "valve-hunting": ("valve_position", "flow", "discharge_pressure"),
}

DAY = 1440
TRAIN_ROWS = 14 * DAY
TEST_ROWS = 7 * DAY
NOMINAL_RPM = 1480.0
BAR_PER_METRE = 0.0981
# Faults start in one of these parts of a day (minutes after midnight), when every pump runs.
_SLOTS = ((330, 780), (810, 1320))
# A sensor sticks shortly before the night stop, when no other fault is on.
_STUCK_START = (1320, 1350)
_EXTRA_FAULTS = 2


@dataclass
class _Disturbances:
    """What faults do to the plant, each [T]; the defaults are a healthy one."""

    rows: int
    bearing: np.ndarray = field(init=False)
    clogging: np.ndarray = field(init=False)
    leak: np.ndarray = field(init=False)
    hunting: np.ndarray = field(init=False)
    flow_gain: np.ndarray = field(init=False)
    stuck: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("bearing", "clogging", "leak", "hunting", "flow_gain"):
            setattr(self, name, np.zeros(self.rows))


def entities(data: Path) -> tuple[str, ...]:
    """The pumps; `data` is not used."""
    return PUMPS


def load(data: Path, entity: str) -> SensorSeries:
    """One pump of the default station; `data` is not used."""
    return simulate(entity)


def simulate(entity: str, *, seed: int = 0, train_rows: int = TRAIN_ROWS, test_rows: int = TEST_ROWS) -> SensorSeries:
    """Simulate one pump, [train_rows + test_rows] minutes without a break.

    Args:
        entity: its name; another name is another pump with other sizes, schedule and faults.
        seed: another seed is another run of the same station.
        train_rows, test_rows: minutes; the test part has room for a fault every half day.
    """
    pump = np.random.default_rng([zlib.crc32(entity.encode()), 1])
    rng = np.random.default_rng([zlib.crc32(entity.encode()), 2, seed])
    rows = train_rows + test_rows
    disturbances = _Disturbances(rows)
    segments = _place_faults(rng, disturbances, train_rows, test_rows)
    values = _plant(pump, rng, disturbances, first_minute=-train_rows % DAY)
    labels = np.zeros(test_rows, dtype=np.uint8)
    for segment in segments:
        labels[segment.start : segment.stop] = 1
    train_ts, test_ts = made_up_times(train_rows, test_rows)
    return SensorSeries(
        dataset="simulated",
        entity=entity,
        channels=CHANNELS,
        units=tuple(UNITS.values()),
        sampling_interval_s=MADE_UP_INTERVAL_S,
        train=values[:train_rows],
        train_ts=train_ts,
        test=values[train_rows:],
        test_ts=test_ts,
        test_labels=labels,
        segments=segments,
        made_up_clock=True,
    )


def _place_faults(
    rng: np.random.Generator, disturbances: _Disturbances, train_rows: int, test_rows: int
) -> tuple[LabelledSegment, ...]:
    """Write faults into `disturbances`; returns them as segments of the test part, in order."""
    slots = [(day * DAY + start, day * DAY + stop) for day in range(test_rows // DAY + 1) for start, stop in _SLOTS]
    slots = [slot for slot in slots[1:] if slot[1] <= test_rows]  # the first half day shows normal operation
    kinds = [*rng.permutation(list(FAULTS)), *rng.choice(list(FAULTS), _EXTRA_FAULTS, replace=False)]
    kinds = kinds[: len(slots)]
    chosen = sorted(rng.choice(len(slots), len(kinds), replace=False)) if slots else []
    segments = []
    for kind, slot in zip(kinds, chosen, strict=True):
        first, last = slots[slot]
        if kind == "stuck-sensor":
            # A held reading is wrong only once the plant has moved on: it begins before the night stop, and outlasts it.
            start = first // DAY * DAY + int(rng.integers(*_STUCK_START))
            length = min(int(rng.integers(180, 300)), test_rows - start)
        else:
            length = int(rng.integers(60, 240))
            start = int(rng.integers(first, last - length))
        severity = float(rng.uniform(0.75, 1.25))
        _apply(kind, disturbances, train_rows + start, length, severity, rng)
        channels = tuple(sorted(CHANNELS.index(name) for name in FAULTS[kind]))
        segments.append(LabelledSegment(start, start + length, channels, str(kind)))
    return tuple(segments)


def _apply(kind: str, plant: _Disturbances, start: int, length: int, severity: float, rng: np.random.Generator) -> None:
    rows = slice(start, start + length)
    minutes = np.arange(length)
    # Grows over the first third, lasts, and is repaired within the last tenth.
    envelope = severity * np.clip(np.minimum((minutes + 1) / (length / 3), (length - minutes) / (length / 10)), 0, 1)
    if kind == "bearing-wear":
        plant.bearing[rows] = envelope
    elif kind == "clogged-filter":
        plant.clogging[rows] = envelope
    elif kind == "leak":
        plant.leak[rows] = severity * np.clip((minutes + 1) / 5, 0, 1)  # a pipe bursts at once
    elif kind == "valve-hunting":
        period = rng.uniform(6, 12)
        plant.hunting[rows] = np.clip((minutes + 1) / 15, 0, 1) * severity * np.sin(2 * np.pi * minutes / period)
    elif kind == "sensor-drift":
        plant.flow_gain[rows] = 0.50 * severity * (minutes + 1) / length
    else:
        plant.stuck.append((start, start + length))


def _plant(pump: np.random.Generator, rng: np.random.Generator, faults: _Disturbances, first_minute: int) -> np.ndarray:
    """Readings [T, C] float32: `pump` draws what never changes of this machine, `rng` what happens to it."""
    rows = faults.rows
    minute = first_minute + np.arange(rows)
    hour = (minute % DAY) / 60.0

    size = pump.uniform(0.7, 1.4)
    flow_nominal = 320.0 * size  # m3/h
    shut_off_head = pump.uniform(48, 62)  # metres
    static_head = shut_off_head * pump.uniform(0.18, 0.24)
    filter_nominal = pump.uniform(0.10, 0.16)  # bar at nominal flow
    vibration_base = pump.uniform((0.9, 0.7), (1.6, 1.3))
    bearing_rise = pump.uniform((18, 15), (26, 22))  # K above ambient at nominal speed
    phase = pump.uniform(-0.6, 0.6)  # hours by which this machine's day is shifted

    # What the plant is asked to do: three modes by a daily schedule, trimmed by a demand that wanders.
    wander = _slow_noise(rng, rows, 180)
    demand = 0.62 + 0.20 * _bump(hour, 7.5 + phase, 1.6) + 0.24 * _bump(hour, 19.0 + phase, 2.0) + 0.025 * wander
    running = _schedule(rng, minute, phase)
    peak = _lag((demand > 0.74).astype(float), 10)
    setpoint = running * (0.80 + 0.12 * peak + 0.04 * (demand - 0.62))
    speed = _lag(setpoint, 1.5)
    speed = np.where(speed < 0.02, 0.0, speed)

    # Hydraulics.
    opening = _lag(running * (0.70 + 0.14 * peak) + 0.02, 2.0) + 0.004 * _slow_noise(rng, rows, 20)
    opening = np.clip(opening + 0.20 * faults.hunting * (speed > 0.1), 0.02, 1.0)
    curve = 0.35 * shut_off_head / flow_nominal**2
    losses = 0.28 * shut_off_head / flow_nominal**2 * (0.75 / opening) ** 2 * (1 - 0.68 * np.clip(faults.leak, 0, 1.5))
    clog = 1 + 6.0 * faults.clogging
    strainer = filter_nominal / BAR_PER_METRE / flow_nominal**2 * clog
    lift = np.maximum(speed**2 * shut_off_head - static_head, 0)
    flow = np.sqrt(lift / (curve + losses + strainer))
    head = np.where(flow > 0, static_head + losses * flow**2, np.minimum(speed**2 * shut_off_head, static_head))
    filter_drop = strainer * flow**2 * BAR_PER_METRE
    sump = 0.55 + 0.03 * _slow_noise(rng, rows, 600)  # bar
    suction = sump - filter_drop - 0.06 * (flow / flow_nominal) ** 2
    discharge = suction + filter_drop + head * BAR_PER_METRE
    part = flow / flow_nominal

    # Power, current, heat.
    efficiency = np.clip(0.80 - 0.30 * (part - 1.0) ** 2, 0.3, 0.8)
    hydraulic = flow / 3600 * 9.81 * np.maximum(head, 0)  # kW
    power = hydraulic / efficiency + 2.2 * size * speed**3 * (1 + 0.25 * faults.bearing) + 0.15
    current = power / (np.sqrt(3) * 0.4 * 0.86) + 6.0 * size * (speed > 0.05)
    current_nominal = np.quantile(current, 0.95)
    water = 13.5 + 0.8 * np.sin(2 * np.pi * (hour - 10) / 24) + 0.25 * _slow_noise(rng, rows, 900)
    ambient = 21 + 2.2 * np.sin(2 * np.pi * (hour - 9) / 24) + 0.5 * _slow_noise(rng, rows, 600)
    winding = ambient + _lag(48 * (current / current_nominal) ** 2, 35)
    bearing_drive = ambient + _lag(bearing_rise[0] * speed**1.5, 45) + 16 * faults.bearing
    bearing_free = ambient + _lag(bearing_rise[1] * speed**1.5, 45) + 2 * faults.bearing

    # Vibration: with the square of the speed, a resonance on the way up, cavitation at low suction pressure.
    cavitation = np.clip(0.20 - suction, 0, None) * 9.0 * (speed > 0.3)
    resonance = 0.8 * _bump(speed, 0.62, 0.05)
    unevenness = np.exp(0.06 * rng.standard_normal((rows, 2)))
    shape = speed**2 + resonance
    vibration_drive = (0.12 + vibration_base[0] * shape + 3.2 * faults.bearing * speed + cavitation) * unevenness[:, 0]
    vibration_free = (0.10 + vibration_base[1] * shape + 0.5 * faults.bearing * speed + cavitation) * unevenness[:, 1]

    # The tank integrates what comes in less what is used (and what leaks), and is held by its overflow.
    delivered = part * np.where(faults.leak > 0, 1 - 0.75 * np.clip(faults.leak, 0, 1.2), 1.0)
    level = 3.2 + 1.4 * (_lag(delivered, 120) - _lag(demand, 120)) * 1.5

    true = {
        "speed": speed * NOMINAL_RPM,
        "flow": flow * (1 + faults.flow_gain),
        "suction_pressure": suction,
        "discharge_pressure": discharge,
        "filter_pressure_drop": filter_drop,
        "valve_position": 100 * opening,
        "motor_current": current,
        "motor_power": power,
        "winding_temperature": winding,
        "bearing_temperature_drive_end": bearing_drive,
        "bearing_temperature_free_end": bearing_free,
        "vibration_drive_end": vibration_drive,
        "vibration_free_end": vibration_free,
        "tank_level": level,
        "water_temperature": water,
    }
    return _measure(rng, true, size, faults.stuck)


def _measure(
    rng: np.random.Generator, true: dict[str, np.ndarray], size: float, stuck: list[tuple[int, int]]
) -> np.ndarray:
    """Add each sensor's noise, cut to what its display resolves, and hold stuck readings."""
    noise = {
        "speed": 1.5,
        "flow": 1.6 * size,
        "suction_pressure": 0.004,
        "discharge_pressure": 0.015,
        "filter_pressure_drop": 0.002,
        "valve_position": 0.25,
        "motor_current": 0.35 * size,
        "motor_power": 0.18 * size,
        "winding_temperature": 0.12,
        "bearing_temperature_drive_end": 0.10,
        "bearing_temperature_free_end": 0.10,
        "vibration_drive_end": 0.015,
        "vibration_free_end": 0.015,
        "tank_level": 0.008,
        "water_temperature": 0.03,
    }
    rows = len(true["speed"])
    readings = np.empty((rows, len(CHANNELS)), dtype=np.float32)
    for position, name in enumerate(CHANNELS):
        readings[:, position] = np.round(true[name] + noise[name] * rng.standard_normal(rows), 3)
    column = CHANNELS.index("discharge_pressure")
    for start, stop in stuck:
        readings[start:stop, column] = readings[start, column]
    # A stopped drive and a closed flow meter read zero, not a little less.
    for name in ("speed", "flow", "filter_pressure_drop", "motor_current", "motor_power"):
        np.maximum(readings[:, CHANNELS.index(name)], 0, out=readings[:, CHANNELS.index(name)])
    return readings


def _schedule(rng: np.random.Generator, minute: np.ndarray, phase: float) -> np.ndarray:
    """[T] 1 while the pump runs: off at night, and for a short pause around noon on some days."""
    day = minute // DAY
    days = int(day[-1]) + 1
    of_day = minute % DAY
    wake = (4.3 + phase / 2) * 60 + rng.integers(-12, 13, days)
    sleep = (23.2 + phase / 2) * 60 + rng.integers(-12, 13, days)
    pause = 13.0 * 60 + rng.integers(0, 15, days)
    pauses = rng.random(days) < 0.4
    running = (of_day >= wake[day]) & (of_day < sleep[day])
    paused = pauses[day] & (of_day >= pause[day]) & (of_day < pause[day] + 15)
    return (running & ~paused).astype(float)


def _bump(x: np.ndarray, center: float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - center) / width) ** 2)


def _lag(x: np.ndarray, minutes: float) -> np.ndarray:
    """First-order lag y' = (x - y) / minutes, started at rest on x[0].

    The recurrence y[t] = d y[t-1] + (1 - d) x[t] is summed by doubling: after k passes each entry holds its last
    2^k terms, so log2(T) array operations do what T steps would.
    """
    decay = np.exp(-1.0 / minutes)
    y = (1 - decay) * (x - x[0])
    reach = 1
    while reach < len(y) and decay**reach > 1e-12:
        shifted = decay**reach * y[:-reach]
        y[reach:] += shifted
        reach *= 2
    return y + x[0]


def _slow_noise(rng: np.random.Generator, rows: int, minutes: float) -> np.ndarray:
    """Zero-mean wander with that correlation time and a standard deviation near 1."""
    lead = int(5 * minutes)
    noise = rng.standard_normal(rows + lead)
    noise[0] = 0.0
    return _lag(noise, minutes)[lead:] * np.sqrt(2 * minutes)
