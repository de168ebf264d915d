"""Band profile as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from wheeltapper.models.band_profile.settings import BandProfileSettings
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset

SPEC = DetectorSpec(
    name="band-profile",
    title="Band profile",
    summary="band profile, the default of sound: mean band levels against those of normal clips",
    watches="the mean level of every frequency band, and how the bands move together",
    trains_in="seconds",
    choose_it="first, of sound and vibration",
    train="wheeltapper.training.detectors.band_profile.train:train_band_profile",
    presets={
        "third-octaves": Preset(
            BandProfileSettings(n_fft=2048, frame_hop=1024, scale="log", bands=28, low_hz=20.0),
            description="a machine before a microphone. Bands of about a third of an octave from 20 Hz on tell the low harmonics of "
            "its shafts from the noise of the hall",
        ),
        "mel": Preset(
            BandProfileSettings(),
            description="speech-like resolution: 32 mel bands, linear below 1 kHz",
        ),
        "vibration": Preset(
            BandProfileSettings(n_fft=1024, frame_hop=256, bands=64),
            description="accelerometers, taken by itself from 20 kHz on, unless the rate is one of audio's own",
        ),
    },
    battery=TrainOptions(settings={"preset": "mel"}),
    seeded=False,
    edge=True,
    rank=1,
    kind="audio",
)
