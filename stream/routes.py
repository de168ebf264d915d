"""Which bundles score which machines."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wheeltapper.schemas.bundle import Bundle, Graph, Manifest, open_bundle
from wheeltapper.schemas.bundle.store import REFERENCE
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.settings import Settings

LARGEST_SCORE = 1e9
"""Calibrated; 1.0 is the alarm level."""


@dataclass(frozen=True)
class Rule:
    """One bundle at work on a route: several may stand side by side, each with alerts of its own.

    Attributes:
        name: unique within its route; the detector's name where that is unique.
        stride: rows between scored windows, the setting's or the bundle's.
    """

    name: str
    bundle: Bundle
    graph: Graph
    stride: int

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    def calibrate(self, raw: np.ndarray) -> np.ndarray:
        """Raw scores [n] to calibrated ones [n] float64: 1.0 is the alarm level, never below 0."""
        calibration = self.manifest.calibration
        span = calibration.alarm_level - calibration.center
        scores = (raw.astype(np.float64) - calibration.center) / span
        # Beyond LARGEST_SCORE no threshold makes a difference, and JSON knows no infinity. A score that is no number
        # raises nothing: fmax takes the 0.
        bounded: np.ndarray = np.minimum(np.fmax(scores, 0.0), LARGEST_SCORE)
        return bounded

    @cached_property
    def calibration_scores(self) -> np.ndarray:
        """[n] float64: calibrated scores of held-out normal windows."""
        return self.calibrate(self.bundle.calibration_scores())


@dataclass(frozen=True)
class Route:
    """The rules of the machines that match `pattern`; they agree on the channels.

    Attributes:
        channels: C names, the columns of the machine's window.
        window: rows kept: the longest window of the rules.
        blank: rows of NaN before a machine's first: what the rules' windows reach back to while it warms up.
        fill: [C] float32, raw units: what a channel counts as until its first value has come
            (the median of the training data).
    """

    pattern: str
    rules: tuple[Rule, ...]
    channels: tuple[str, ...]
    window: int
    interval_us: int
    fill: np.ndarray
    blank: int = 0

    @property
    def signature(self) -> list[str]:
        return [rule.manifest.bundle_id for rule in self.rules]


class Routes:
    """All routes; the first whose pattern matches a machine serves it."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._known: dict[str, Route | None] = {}

    def of(self, machine: str) -> Route | None:
        """The machine's route; None where no pattern matches."""
        try:
            return self._known[machine]
        except KeyError:
            route = next((route for route in self.routes if fnmatch.fnmatchcase(machine, route.pattern)), None)
            if len(self._known) > 1_000_000:  # made-up machine ids must not fill the memory
                self._known.clear()
            self._known[machine] = route
            return route

    @property
    def rules(self) -> list[Rule]:
        return [rule for route in self.routes for rule in route.rules]


def load_routes(words: Sequence[str], settings: Settings) -> Routes:
    """Open, check and warm up the bundles named as `[MACHINE-PATTERN=]BUNDLE`.

    Bundles under the same pattern score the same machines side by side.

    Raises:
        InputError: a bundle that is refused, or bundles of one pattern whose channels differ.
    """
    if not words:
        raise InputError("no bundle given; name at least one with --bundle [MACHINE-PATTERN=]BUNDLE")
    by_pattern: dict[str, list[Bundle]] = {}
    for word in words:
        pattern, location = split_route(word)
        by_pattern.setdefault(pattern, []).append(open_bundle(location))
    # Patterns without wildcards are more specific than any other, '*' is the least.
    ordered = sorted(by_pattern, key=lambda pattern: (any(c in pattern for c in "*?["), pattern == "*", -len(pattern)))
    return Routes([_build_route(pattern, by_pattern[pattern], settings) for pattern in ordered])


def split_route(word: str) -> tuple[str, str]:
    """`pump-*=bundles/pumps` -> ('pump-*', 'bundles/pumps'); an existing path stands alone, for every machine: '*'."""
    pattern, equals, location = word.partition("=")
    if not equals or os.path.exists(word):  # unlike Path.exists it takes names of any length
        return "*", word
    if not pattern or not location:
        raise InputError(f"--bundle '{word}': expected [MACHINE-PATTERN=]BUNDLE, e.g. 'pump-*=bundles/pumps'")
    return pattern, location


def _build_route(pattern: str, bundles: Sequence[Bundle], settings: Settings) -> Route:
    first = bundles[0].manifest
    for bundle in bundles:
        manifest = bundle.manifest
        if manifest.kind != "sensors":
            raise InputError(f"{bundle.location}: is a bundle for {manifest.kind}, expected one for sensors")
        if manifest.channel_names != first.channel_names:
            odd = sorted(set(manifest.channel_names) ^ set(first.channel_names)) or "their order"
            raise InputError(
                f"bundles {bundles[0].location} and {bundle.location} both serve machines '{pattern}' but differ in "
                f"channels ({odd}); give each its own pattern, or train them on the same channels"
            )
    rules: list[Rule] = []
    detectors = [bundle.manifest.detector for bundle in bundles]
    for bundle in bundles:
        manifest = bundle.manifest
        name = manifest.detector if detectors.count(manifest.detector) == 1 else manifest.bundle_id
        if any(rule.name == name for rule in rules):
            raise InputError(f"--bundle: {bundle.location} is named twice for machines '{pattern}'; name it once")
        graph = bundle.open_graph(device=settings.scoring.device, threads=settings.scoring.threads)
        graph.warm_up()
        rules.append(Rule(name, bundle, graph, settings.windows.stride or manifest.stride))
    return Route(
        pattern=pattern,
        rules=tuple(rules),
        channels=first.channel_names,
        window=max(rule.manifest.window for rule in rules),
        interval_us=round(first.sampling_interval_s * 1e6),
        fill=_fill_values(bundles[0]),
        blank=max(rule.manifest.window - rule.manifest.rows_before_scoring for rule in rules),
    )


def _fill_values(bundle: Bundle) -> np.ndarray:
    manifest = bundle.manifest
    table = pq.read_table(pa.BufferReader(bundle.files[REFERENCE]), columns=["window"])
    rows = table["window"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    values = np.asarray(rows, dtype=np.float32).reshape(-1, len(manifest.channels))
    with np.errstate(all="ignore"):
        medians = np.nanmedian(values, axis=0) if len(values) else np.zeros(len(manifest.channels))
    return np.nan_to_num(medians).astype(np.float32)
