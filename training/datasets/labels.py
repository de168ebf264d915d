"""Point labels and segments: from one to the other."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from wheeltapper.stream.core.alert_life import runs
from wheeltapper.training.datasets.series import LabelledSegment

__all__ = ["runs", "segments_of"]


def segments_of(labels: np.ndarray, described: Iterable[LabelledSegment] = ()) -> tuple[LabelledSegment, ...]:
    """Segments of a [T] label array; `described` says which channels (and what kind) belong to which rows.

    The labels decide which rows are anomalous. A description is cut to the labelled run that it touches; the first
    and the last of a run reach to its edges, as sources disagree with themselves about inclusive ends. A run
    without a description has no channels; a description without a labelled row is dropped.
    """
    described = sorted(described, key=lambda segment: (segment.start, segment.stop))
    found: list[LabelledSegment] = []
    for start, stop in runs(labels):
        inside = [segment for segment in described if segment.start < stop and segment.stop > start]
        if not inside:
            found.append(LabelledSegment(start, stop, ()))
            continue
        last = max(inside, key=lambda segment: segment.stop)
        for position, segment in enumerate(inside):
            found.append(
                LabelledSegment(
                    start if position == 0 else max(segment.start, start),
                    stop if segment is last else min(segment.stop, stop),
                    segment.channels,
                    segment.kind,
                )
            )
    return tuple(found)
