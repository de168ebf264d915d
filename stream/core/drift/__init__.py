"""Drift: has the normal of a machine changed? Blocks of event time against the blocks of a bundle's own train part.

Three families of evidence, each a number a block that is 1.0 where it speaks: calibrated scores (ADWIN, Page-Hinkley, a smoothed shift), summaries
of every channel, and embeddings (MMD). Their levels come from the bundle's own blocks. Pure numpy, but for ADWIN, which is river's.
"""

from wheeltapper.stream.core.drift.finding import DriftFinding, MovedChannel
from wheeltapper.stream.core.drift.reference import DriftReference, drift_reference
from wheeltapper.stream.core.drift.watch import DRIFT, DriftWatch
from wheeltapper.stream.core.policies import DriftPolicy, DriftRules

__all__ = [
    "DRIFT",
    "DriftFinding",
    "DriftPolicy",
    "DriftReference",
    "DriftRules",
    "DriftWatch",
    "MovedChannel",
    "drift_reference",
]
