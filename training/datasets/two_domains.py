"""One generated process under two conditions: source and target, with labels, for tests of domain adaptation.

Both domains run the same process: the same swings, with the same periods, in the same mixture of channels. What differs
is stated by `Shift` and nothing else. A trend, which would carry the last rows out of what training saw, is off unless
it is asked for.

Anomalies fill segments that do not overlap until the wanted share of rows is reached, so that the share is that of rows,
not a number of segments. The segments are long compared with the gaps that windows need, so that a share of 4 % of the
rows makes 10 to 20 % of the 64-row windows anomalous.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.schemas.errors import InputError

CHANNELS = 6
ANOMALOUS_SHARE = 0.04
KINDS = ("spike", "level", "noise", "frequency")
# Rows of a segment, and the least number of normal rows between two.
SEGMENT_ROWS = (12, 40)
SEGMENT_GAP = 16
_TREND = 0.0005
_ATTEMPTS = 10_000


@dataclass(frozen=True)
class Shift:
    """How the target differs from the source; the defaults are no shift.

    Attributes:
        gain, offset: by which every channel is multiplied and moved, times (1 + a number of its own below 1/2).
        noise: standard deviation of the noise.
        speed: factor of the swings' frequencies.
        trend: slope a row, as a multiple of 0.0005; 0 has none.
    """

    gain: float = 1.0
    offset: float = 0.0
    noise: float = 0.1
    speed: float = 1.0
    trend: float = 0.0


TARGET_SHIFT = Shift(gain=1.8, offset=1.5, noise=0.2, speed=1.25)


@dataclass(frozen=True)
class MadeDomain:
    """
    Attributes:
        values: [n, 6] float32.
        labels: [n] uint8, 1 = anomalous row.
    """

    values: np.ndarray
    labels: np.ndarray


def make_domain(
    rows: int,
    shift: Shift | None = None,
    *,
    seed: int = 0,
    process_seed: int = 42,
    anomalous_share: float = ANOMALOUS_SHARE,
) -> MadeDomain:
    """Rows of one domain.

    Args:
        seed: of noise and anomalies.
        process_seed: of the process itself; equal in domains that belong together.
        anomalous_share: of the rows.

    Raises:
        InputError: a share that leaves no room between segments.
    """
    if not 0 <= anomalous_share <= 0.25:
        raise InputError(f"anomalous_share is {anomalous_share}, expected 0 to 0.25 of the rows")
    shift = shift or Shift()
    process, random = np.random.default_rng(process_seed), np.random.default_rng(seed)
    time = np.arange(rows)[:, None]
    periods = np.array([24.0, 61.0, 160.0]) / shift.speed
    phases = process.uniform(0, 2 * np.pi, 3)
    mixing = process.normal(size=(3, CHANNELS))
    own = process.uniform(-0.5, 0.5, (2, CHANNELS))
    values = np.sin(2 * np.pi * time / periods + phases) @ mixing
    spread = values.std(axis=0)
    labels = np.zeros(rows, dtype=np.uint8)
    values = values + shift.noise * random.standard_normal((rows, CHANNELS))
    for index, part in enumerate(_segments(rows, anomalous_share, random)):
        channels = random.choice(CHANNELS, size=int(random.integers(1, 4)), replace=False)
        values[part, channels] = _disturbed(values[part, channels], KINDS[index % len(KINDS)], spread[channels], random)
        labels[part] = 1
    gain = 1 + (shift.gain - 1) * (1 + own[0])
    values = values * gain + shift.offset * (1 + own[1]) + shift.trend * _TREND * time
    return MadeDomain(values.astype(np.float32), labels)


def _segments(rows: int, share: float, random: np.random.Generator) -> list[slice]:
    """Segments, apart from each other, that hold `share` of the rows to the row."""
    wanted, taken = round(rows * share), np.zeros(rows + 2 * SEGMENT_GAP, dtype=bool)
    found: list[slice] = []
    for _ in range(_ATTEMPTS):
        if wanted <= 0:
            return found
        length = min(int(random.integers(SEGMENT_ROWS[0], SEGMENT_ROWS[1] + 1)), wanted, rows)
        start = int(random.integers(0, rows - length + 1))
        # Rows and their surroundings: `taken` is shifted by one gap.
        if not taken[start : start + length + 2 * SEGMENT_GAP].any():
            taken[start + SEGMENT_GAP : start + SEGMENT_GAP + length] = True
            found.append(slice(start, start + length))
            wanted -= length
    raise InputError(
        f"{share:.0%} of {rows} rows do not fit as segments with {SEGMENT_GAP} rows between them; ask for fewer anomalous rows"
    )


def _disturbed(part: np.ndarray, kind: str, spread: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[n, c] rows of a segment; sizes are multiples of a channel's own spread [c]."""
    sign = random.choice([-1.0, 1.0], len(spread))
    if kind == "spike":
        hit = random.random(part.shape) < 0.3
        hit[random.integers(len(part))] = True
        return part + hit * 3.0 * spread * sign
    if kind == "level":
        return part + 2.0 * spread * sign
    if kind == "noise":
        return part + 1.0 * spread * random.standard_normal(part.shape)
    # Every channel swings about where it was, faster than the process does.
    swing = np.sin(2 * np.pi * np.arange(len(part)) / 7.0)[:, None]
    return np.broadcast_to(part.mean(axis=0), part.shape) + 1.5 * spread * swing
