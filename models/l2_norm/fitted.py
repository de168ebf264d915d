"""L2 norm once it is fitted: settings and scaling, of which graph and TorchScript twin are built."""

from __future__ import annotations

from dataclasses import dataclass

from wheeltapper.models.l2_norm.settings import L2NormSettings
from wheeltapper.models.numpy_detector import RowDetector


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedL2Norm(RowDetector[L2NormSettings]):
    """What L2 norm computes with."""
