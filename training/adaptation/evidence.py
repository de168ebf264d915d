"""Windows that a gate judges by, and a bundle's scores of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from wheeltapper.models.training_rows import moving_channels
from wheeltapper.schemas.bundle import Bundle, Graph
from wheeltapper.stream.core.calibration import calibrate
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.stream.core.row_memory import usual_values
from wheeltapper.training.adaptation.gate import GateScores, ProbeScores
from wheeltapper.training.adaptation.recent import RecentRows, WindowSource, reference_windows
from wheeltapper.training.fitting.calibration import bounded_sample
from wheeltapper.training.fitting.disturbances import disturbed_copies
from wheeltapper.training.fitting.labels import ANOMALOUS, NORMAL, LabelledWindows

MOST_DISTURBED = 256
"""Windows that are disturbed, each once by every kind of fault."""

PLAIN = 5.0
"""How much larger every other disturbance is."""

MOST_VALUES = 24_000_000
"""float32 values of the disturbed windows: 96 MB; of wide or long windows fewer are disturbed."""

PROBES = (4.0, 8.0)
"""Standard deviations of the faults that are put into one channel alone, up and down."""

MOST_PROBED, LEAST_PROBED = 32, 12
"""Windows in which a channel is disturbed alone; of many channels, fewer each."""

MOST_PROBES = 4_096
"""Windows of that kind in all, as long as each channel has LEAST_PROBED."""

ROUGHER = 1.5
"""A channel whose steps from row to row have grown that much, beside its spread, is noisier than it was."""

MOST_RECENT = 20_000
"""Held-out recent windows that are scored: the newest."""


@dataclass(frozen=True)
class KnownWindows:
    """Windows that somebody said something of: operators' labels, stored faults.

    Attributes:
        normal, faults: [k, W, C] and [f, W, C] float32, raw units.
        blocks: [f] stretches of time that the faults lie in; None: each in its own.
    """

    normal: np.ndarray
    faults: np.ndarray
    blocks: np.ndarray | None = None


def known_windows(parent: Bundle, labelled: LabelledWindows) -> KnownWindows:
    """Windows that operators judged, missing values filled as the stream does."""
    usual = usual_values(parent.reference_rows())
    filled = [carry_forward(window, usual) for window in labelled.windows]
    windows = (
        np.stack(filled).astype(np.float32) if filled else np.empty((0, *parent.manifest.sample_shape), np.float32)
    )
    faults = labelled.labels == ANOMALOUS
    return KnownWindows(windows[labelled.labels == NORMAL], windows[faults], blocks_of(parent, labelled.times[faults]))


def blocks_of(bundle: Bundle, times: np.ndarray) -> np.ndarray:
    """Windows that end at [k] event times (us) to the stretches of one window's length that they lie in: [k] numbers."""
    length = round(bundle.manifest.window * bundle.manifest.sampling_interval_s * 1e6)
    blocks: np.ndarray = times // length
    return blocks


@dataclass(frozen=True)
class Evidence:
    """What both bundles are asked about.

    Attributes:
        parent: the bundle that serves.
        held_out: recent rows that nothing was fitted on.
        known: besides the faults that the parent's golden vectors hold.
        seed: of the disturbances.
    """

    parent: Bundle
    held_out: RecentRows
    known: KnownWindows | None = None
    seed: int = 0

    @cached_property
    def recent(self) -> np.ndarray:
        """[n, W, C]: held-out recent windows, in time order."""
        return self._source.windows()[-MOST_RECENT:]

    @cached_property
    def normal(self) -> np.ndarray:
        """[m, W, C]: those that are disturbed."""
        return self.recent[self._some(len(self.recent))]

    @cached_property
    def faults(self) -> Mapping[str, np.ndarray]:
        """Kind -> [m, W, C]."""
        return self._disturbed(self.normal)

    @cached_property
    def blamed(self) -> Mapping[str, np.ndarray]:
        """Kind -> [m, C] bool: the channels that each fault is in."""
        return {kind: blamed for kind, (_, blamed) in self._copies(self.normal).items()}

    @cached_property
    def reference(self) -> np.ndarray:
        """[r, W, C]: reference windows of the parent."""
        windows = reference_windows(self.parent)
        return windows[self._some(len(windows))]

    def old_scores(self, graph: Graph | None = None) -> GateScores:
        """The parent's: of the recent windows, and of its reference windows."""
        graph = graph or self.parent.open_graph(device="cpu")
        scores = self.scores(self.parent, graph)
        if not len(self.reference):
            return scores
        times = self.parent.reference_times()
        blocks = blocks_of(self.parent, times[self._some(len(times))])

        def scored(windows: np.ndarray) -> np.ndarray:
            return score_windows(graph, self.parent, windows)

        return replace(
            scores,
            reference_normal=scored(self.reference),
            reference_faults={kind: scored(windows) for kind, windows in self._disturbed(self.reference).items()},
            reference_blocks=blocks,
            reference_probes=self._probes(scored, self.reference + self._noise, blocks, np.zeros(self._width)),
        )

    def scores(self, bundle: Bundle, graph: Graph | None = None, *, probed: bool = True) -> GateScores:
        """A bundle's scores of the recent windows.

        Args:
            graph: the bundle's, where it is open already.
            probed: with faults in each channel alone.
        """
        graph = graph or bundle.open_graph(device="cpu")
        manifest = bundle.manifest

        def scored(windows: np.ndarray) -> np.ndarray:
            return score_windows(graph, bundle, windows)

        known = self.known or KnownWindows(self.normal[:0], self.normal[:0])
        golden = self._golden_faults
        labelled = np.arange(len(known.faults)) if known.blocks is None else known.blocks
        after = int(labelled.max(initial=0)) + 1
        blocks = blocks_of(self.parent, self._source.ends()[-MOST_RECENT:][self._some(len(self.recent))])
        return GateScores(
            interval_s=manifest.sampling_interval_s * manifest.stride,
            recent=calibrated(bundle, self._source.scored(graph).score[-MOST_RECENT:]),
            normal=scored(self.normal),
            faults={kind: scored(windows) for kind, windows in self.faults.items()},
            blocks=blocks,
            probes=self._probes(scored, self.normal, blocks, self._recent_spread)
            if probed and len(self.reference) and len(self.normal)
            else ProbeScores(),
            known_normal=scored(known.normal),
            known_faults=scored(np.concatenate([known.faults, golden])),
            known_blocks=np.concatenate([labelled, after + np.arange(len(golden))]),
        )

    def _probes(
        self, scored: Callable[[np.ndarray], np.ndarray], windows: np.ndarray, blocks: np.ndarray, spread: np.ndarray
    ) -> ProbeScores:
        """Scores of windows as they are, and with each channel moved alone from the window's middle on.

        Args:
            spread: [C] of the windows' regime: faults are as large as that, or as the reference's where that is larger.
        """
        _, scale, moving = self._units
        channels = np.flatnonzero(moving & self._asked)
        count = min(MOST_PROBED, max(LEAST_PROBED, MOST_PROBES // max(1, 2 * len(PROBES) * len(channels))))
        places = bounded_sample(len(windows), count)
        middle = self.parent.manifest.window // 2
        # The scored row may lie before the last one.
        start = min(middle, self.parent.manifest.window - 1 - self.parent.manifest.lag)
        found: dict[tuple[str, float], np.ndarray] = {}
        for channel in channels:
            name = self.parent.manifest.channel_names[channel]
            for size in (sign * size for size in PROBES for sign in (1.0, -1.0)):
                probed = windows[places].astype(np.float32)
                probed[:, start:, channel] += size * max(scale[channel], spread[channel])
                found[name, size] = scored(probed)
        normal = scored(windows.astype(np.float32))
        return ProbeScores(normal, normal[places], found, blocks[places])

    @cached_property
    def _source(self) -> WindowSource:
        return WindowSource(self.parent, self.held_out)

    @property
    def _width(self) -> int:
        return len(self.parent.manifest.channels)

    @cached_property
    def _asked(self) -> np.ndarray:
        """[C] bool: channels whose faults are asked for one by one; not those that died and that somebody accepted so."""
        still = np.ones(self._width, np.bool_)
        return still if not self.held_out.accepted else moving_channels(self.held_out.values)

    @cached_property
    def _recent_spread(self) -> np.ndarray:
        """[C] standard deviation of the recent windows' rows."""
        rows = self.recent.reshape(-1, self._width).astype(np.float64)
        spread: np.ndarray = rows.std(axis=0)
        return spread

    @cached_property
    def _noise(self) -> np.ndarray:
        """[r, W, C] that makes the reference windows as rough as the recent ones, where those are noisier.

        Faults in a channel that has become noisier are harder to see for every bundle: the old one is asked under the same noise.
        """
        _, scale, _ = self._units
        before, now = (
            np.sqrt((np.diff(windows.astype(np.float64), axis=1) ** 2).mean(axis=(0, 1)))
            for windows in (self.reference, self.normal)
        )
        spread = self._recent_spread
        before = before / scale
        now = np.divide(now, spread, out=np.zeros_like(now), where=spread > 0)
        extra = np.where(now > ROUGHER * before, np.sqrt(np.maximum(now**2 - before**2, 0) / 2), 0.0)
        drawn = np.random.default_rng(self.seed).standard_normal(self.reference.shape)
        noise: np.ndarray = (extra * scale * drawn).astype(np.float32)
        return noise

    @property
    def _golden_faults(self) -> np.ndarray:
        """[4, W, C]: the disturbed windows among the parent's golden vectors; none where a bundle of another kind has none."""
        windows = self.parent.golden()["window"]
        complete = windows[~np.isnan(windows).any(axis=(1, 2))]
        return complete[-4:] if len(complete) > 4 else complete[:0]

    def _some(self, count: int) -> np.ndarray:
        """Which of so many windows are disturbed."""
        values = int(np.prod(self.parent.manifest.sample_shape)) * 7
        return bounded_sample(count, min(MOST_DISTURBED, max(1, MOST_VALUES // values)))

    def _disturbed(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        mean, scale, _ = self._units
        return {kind: (copies * scale + mean).astype(np.float32) for kind, (copies, _) in self._copies(windows).items()}

    def _copies(self, windows: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        mean, scale, moving = self._units
        scaled = (windows - mean) / scale
        copies = disturbed_copies(scaled, moving, np.random.default_rng(self.seed))
        for disturbed, _ in copies.values():  # every other one is plain to see: recall is asked where there is some
            disturbed[1::2] = scaled[1::2] + PLAIN * (disturbed[1::2] - scaled[1::2])
        return copies

    @cached_property
    def _units(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and scale [C] of the reference, and which channels move: a fault has the same size for both bundles."""
        rows = self.parent.reference_rows()
        moving = moving_channels(rows)
        scale = np.where(moving, np.nan_to_num(np.nanstd(rows.astype(np.float64), axis=0)), 1.0)
        mean = np.nan_to_num(np.nanmean(rows.astype(np.float64), axis=0))
        return mean, np.where(scale > 0, scale, 1.0), moving if moving.any() else np.ones_like(moving)


def score_windows(graph: Graph, bundle: Bundle, windows: np.ndarray) -> np.ndarray:
    """[k, W, C] to [k] float64 calibrated scores; a score that is no number stays NaN, so that a gate sees it."""
    if not len(windows):
        return np.empty(0)
    return calibrated(bundle, graph.run(windows).score)


def calibrated(bundle: Bundle, raw: np.ndarray) -> np.ndarray:
    """[k] raw scores to [k] float64 calibrated ones; a score that is no number stays NaN."""
    raw = raw.astype(np.float64)
    calibration = bundle.manifest.calibration
    scores = calibrate(raw, calibration.center, calibration.alarm_level)
    return np.where(np.isfinite(raw), scores, np.nan)
