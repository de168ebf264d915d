"""PCA error: the floor that other detectors are measured against."""

from wheeltapper.models.pca.fit import DETECTOR, PcaError, PcaSettings, fit_pca

__all__ = ["DETECTOR", "PcaError", "PcaSettings", "fit_pca"]
