"""Floors of sound: simple scores in every report. A bundle that scores below them adds nothing.

| name | score of a clip |
|---|---|
| random | uniform noise; metrics are means over seeds |
| loudness | distance of its level in dB from the train clips' median, the largest over channels |
| knn_mel | distance of its mean log-mel spectrum to the nearest train window's |

All are fitted on the train clips alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wheeltapper.models.sound.frontend import FrontEnd
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.fitting.sound_windows import ClipWindows

RANDOM_SEEDS = 3
_FLOOR = 1e-10
_BANDS = 64


def sound_floor_scores(series: SoundSeries, window: int, hop: int) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    """Name, and one [n] array a seed, of the clips of the test part.

    Args:
        window, hop: samples, as the bundle's.
    """
    generators = (np.random.default_rng(seed) for seed in range(RANDOM_SEEDS))
    yield "random", tuple(generator.random(len(series.test)) for generator in generators)
    usual = np.median([_level(clip) for clip in series.train], axis=0)
    yield "loudness", (np.array([float(np.abs(_level(clip) - usual).max()) for clip in series.test]),)
    train = np.concatenate([_spectra(series, clip, window, hop) for clip in series.train])
    scores = []
    for clip in series.test:
        mine = _spectra(series, clip, window, hop)
        scores.append(float(np.linalg.norm(mine[:, None] - train[None], axis=2).min(axis=1).mean()))
    yield "knn_mel", (np.array(scores),)


def _level(clip: Clip) -> np.ndarray:
    """[C] dB."""
    return np.asarray(10 * np.log10(np.mean(np.square(clip.samples, dtype=np.float64), axis=0) + _FLOOR))


def _spectra(series: SoundSeries, clip: Clip, window: int, hop: int) -> np.ndarray:
    """[windows, C * bands]: mean over time of the log-mel spectrum."""
    frontend = FrontEnd(series.sample_rate, n_fft=min(1024, 2 * (window // 4)), hop=min(512, window // 4), bands=_BANDS)
    windows = ClipWindows.of([clip], np.zeros(1, dtype=np.int64), series.sample_rate, window, hop)
    channels = len(series.channels)
    rows = (row for batch, _ in windows.batches() for row in batch)
    return np.stack([frontend.levels(row.reshape(channels, -1)).mean(axis=1).ravel() for row in rows])
