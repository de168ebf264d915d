"""The zones for one sensor: its unit and rate are all there is to fit. numpy alone."""

from __future__ import annotations

from wheeltapper.models.iso_20816.fitted import FittedVelocityZones, velocity_bands
from wheeltapper.models.iso_20816.graph import build_graph
from wheeltapper.models.iso_20816.settings import VelocityZoneSettings


class VelocityZones(FittedVelocityZones):
    """The rule; a `wheeltapper.models.fitted.FittedSound`."""

    def onnx_bytes(self) -> bytes:
        return build_graph(self)

    def build_torchscript(self) -> bytes:
        from wheeltapper.models.iso_20816.torchscript import build_torchscript

        return build_torchscript(self)


def fit_velocity_zones(
    settings: VelocityZoneSettings, *, sample_rate: int, window: int, units: tuple[str, ...]
) -> VelocityZones:
    """
    Args:
        window: S, samples of a channel.
        units: of the channels, one each.

    Raises:
        InputError: as `velocity_bands`.
    """
    return VelocityZones(
        settings=settings,
        frontend=velocity_bands(settings, sample_rate, window, units),
        window=window,
        channels=len(units),
        warnings=(
            "a fixed limit: what stays below it is not seen, early faults of bearings among it; band-profile beside it sees changes",
        ),
    )
