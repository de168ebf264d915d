"""KMeansAD: how far a window is from the nearest of a few typical windows."""

from wheeltapper.models.kmeans_ad.fit import DETECTOR, KMeansAD, KMeansSettings, fit_kmeans_ad

__all__ = ["DETECTOR", "KMeansAD", "KMeansSettings", "fit_kmeans_ad"]
