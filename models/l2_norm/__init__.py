"""L2 norm: how far a standardised row is from the mean of training. The floor of floors."""

from wheeltapper.models.l2_norm.fit import DETECTOR, L2Norm, L2NormSettings, fit_l2_norm

__all__ = ["DETECTOR", "L2Norm", "L2NormSettings", "fit_l2_norm"]
