"""Windows that a gate judges by, and a bundle's scores of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wheeltapper.models.training_rows import moving_channels
from wheeltapper.schemas.bundle import Bundle, Graph
from wheeltapper.stream.core.calibration import calibrate
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.stream.core.row_memory import usual_values
from wheeltapper.training.adaptation.gate import GateScores
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

MOST_RECENT = 20_000
"""Held-out recent windows that are scored: the newest."""


@dataclass(frozen=True)
class KnownWindows:
    """Windows that somebody said something of: operators' labels, stored faults.

    Attributes:
        normal, faults: [k, W, C] float32, raw units.
    """

    normal: np.ndarray
    faults: np.ndarray


def known_windows(parent: Bundle, labelled: LabelledWindows) -> KnownWindows:
    """Windows that operators judged, missing values filled as the stream does."""
    usual = usual_values(parent.reference_rows())
    filled = [carry_forward(window, usual) for window in labelled.windows]
    windows = (
        np.stack(filled).astype(np.float32) if filled else np.empty((0, *parent.manifest.sample_shape), np.float32)
    )
    return KnownWindows(windows[labelled.labels == NORMAL], windows[labelled.labels == ANOMALOUS])


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
        return WindowSource(self.parent, self.held_out).windows()[-MOST_RECENT:]

    @cached_property
    def normal(self) -> np.ndarray:
        """[m, W, C]: those that are disturbed."""
        return self._some(self.recent)

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
        return self._some(reference_windows(self.parent))

    def old_scores(self, graph: Graph | None = None) -> GateScores:
        """The parent's."""
        return self.scores(self.parent, graph, with_reference=True)

    def scores(self, bundle: Bundle, graph: Graph | None = None, *, with_reference: bool = False) -> GateScores:
        """A bundle's scores.

        Args:
            graph: the bundle's, where it is open already.
        """
        graph = graph or bundle.open_graph(device="cpu")
        manifest = bundle.manifest

        def scored(windows: np.ndarray) -> np.ndarray:
            return score_windows(graph, bundle, windows)

        known = self.known or KnownWindows(self.normal[:0], self.normal[:0])
        return GateScores(
            interval_s=manifest.sampling_interval_s * manifest.stride,
            recent=scored(self.recent),
            normal=scored(self.normal),
            faults={kind: scored(windows) for kind, windows in self.faults.items()},
            reference_normal=scored(self.reference) if with_reference else np.empty(0),
            reference_faults={kind: scored(windows) for kind, windows in self._disturbed(self.reference).items()}
            if with_reference and len(self.reference)
            else {},
            known_normal=scored(known.normal),
            known_faults=scored(np.concatenate([known.faults, self._golden_faults])),
        )

    @property
    def _golden_faults(self) -> np.ndarray:
        """[4, W, C]: the disturbed windows among the parent's golden vectors; none where a bundle of another kind has none."""
        windows = self.parent.golden()["window"]
        complete = windows[~np.isnan(windows).any(axis=(1, 2))]
        return complete[-4:] if len(complete) > 4 else complete[:0]

    def _some(self, windows: np.ndarray) -> np.ndarray:
        values = int(np.prod(windows.shape[1:])) * 7
        return windows[bounded_sample(len(windows), min(MOST_DISTURBED, max(1, MOST_VALUES // values)))]

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
    raw = graph.run(windows).score.astype(np.float64)
    calibration = bundle.manifest.calibration
    scores = calibrate(raw, calibration.center, calibration.alarm_level)
    return np.where(np.isfinite(raw), scores, np.nan)
