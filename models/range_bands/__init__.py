"""Range bands: the default sensor detector. Fitted with numpy in under a second, explains itself."""

from wheeltapper.models.range_bands.fit import DETECTOR, RangeBands, fit_range_bands
from wheeltapper.models.range_bands.settings import PRESETS, RangeBandSettings

__all__ = ["DETECTOR", "PRESETS", "RangeBandSettings", "RangeBands", "fit_range_bands"]
