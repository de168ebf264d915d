"""`wheeltapper clip`: cut the sound of an alert out of the audio topic, as WAV and as a picture."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np

from wheeltapper.command_line import RawFormatter
from wheeltapper.schemas.errors import InputError

EPILOG = """
examples:
  wheeltapper clip 5f3a1c
  wheeltapper clip 5f3a1c --out evidence/ --no-plot
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument

    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    parser.add_argument(
        "alert", metavar="ALERT", help="the alert's id, or its first letters; 'wheeltapper alerts --json' has it"
    )
    add_kafka_arguments(parser)
    add_prefix_argument(parser)
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--no-plot", action="store_true", help="write the WAV file alone (drawing needs the extra 'training')"
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: no such alert, no sound, no Kafka, or a folder that cannot be written."""
    from wheeltapper.kafka_admin import settings_from
    from wheeltapper.schemas.clock import iso_from_micros
    from wheeltapper.sound.clip import cut, find_localization
    from wheeltapper.sound.files import soundfile

    library = soundfile()
    settings = settings_from(arguments)
    found = find_localization(settings, arguments.alert, lambda text: print(f"wheeltapper: {text}", file=sys.stderr))
    assert found.clip is not None
    clip = cut(settings, found.clip)
    stem = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', found.machine)}-{found.alert_id[:8]}"
    wav = arguments.out / f"{stem}.wav"
    # Beyond [-1, 1) are an accelerometer's own units: they stay what they are.
    subtype = "FLOAT" if np.abs(clip.samples).max(initial=0.0) > 1 else "PCM_16"
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        library.write(wav, clip.samples, clip.sample_rate, subtype=subtype)
    except (OSError, library.LibsndfileError) as error:
        raise InputError(f"{wav}: cannot be written ({error}); choose another --out") from error
    seconds = len(clip.samples) / clip.sample_rate
    gaps = "" if clip.measured > 0.999 else f", {1 - clip.measured:.0%} of it missing on the topic and silent here"
    print(f"{wav}: {seconds:.1f} s from {iso_from_micros(clip.start)} at {clip.sample_rate} Hz{gaps}")
    for patch in found.patches[:3]:
        where = f"{patch.low_hz:.0f} to {patch.high_hz:.0f} Hz" + (f", {patch.channel}" if patch.channel else "")
        print(
            f"  {(patch.start - clip.start) / 1e6:5.1f} to {(patch.end - clip.start) / 1e6:.1f} s, {where}: {patch.share:.0%}"
        )
    if not arguments.no_plot:
        from wheeltapper.sound.spectrogram import draw

        picture = wav.with_suffix(".png")
        channels = list(found.clip.channels)
        if len(channels) != clip.samples.shape[1]:
            channels = [""]
        title = f"{found.machine}, {found.detector}: alert {found.alert_id[:8]}"
        draw(clip.samples, clip.sample_rate, clip.start, found.patches, channels, title, picture)
        print(f"{picture}: spectrogram with the {min(len(found.patches), 8)} strongest patches")
    return 0
