"""Isolation forest: how few random cuts set a row apart from the others."""

from wheeltapper.models.isolation_forest.fit import DETECTOR, ForestSettings, IsolationForest, fit_isolation_forest

__all__ = ["DETECTOR", "ForestSettings", "IsolationForest", "fit_isolation_forest"]
