"""Spectral bands as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.spectral_bands.settings import SpectralBandSettings
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset

SPEC = DetectorSpec(
    name="spectral-bands",
    title="Spectral bands",
    summary="mean level of each mel band, standardised: baseline of sound, a detector that scores below this adds nothing",
    watches="how far the level of each band of frequency is from its mean",
    trains_in="seconds",
    choose_it="as a baseline of sound",
    train="wheeltapper.training.detectors.spectral_bands.train:train_spectral_bands",
    presets={"": Preset(SpectralBandSettings())},
    battery=TrainOptions(settings={"n_fft": "512", "frame_hop": "256", "bands": "24"}),
    seeded=False,
    edge=True,
    rank=230,
    kind="audio",
)
