"""FLAC to samples and back, by soundfile, which is imported where FLAC comes: who sends PCM needs no extra."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from wheeltapper.schemas.codec.checks import no_block, shown
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason

MISSING = "FLAC needs soundfile, which is not installed: pip install 'wheeltapper[audio]'"


def read_flac(data: bytes, sample_rate: int, channels: int, most_frames: int) -> np.ndarray:
    """[n, channels] float32 of a whole FLAC file; integers are scaled to [-1, 1).

    Args:
        sample_rate, channels: what the message says; the file must say the same.
        most_frames: longer files are refused before memory is taken for them.

    Raises:
        DecodeError: not FLAC, damaged, cut off, of another rate or width, or too long; or soundfile is not installed.
    """
    soundfile = _soundfile()
    if soundfile is None:
        raise DecodeError(DeadLetterReason.NOT_DECODABLE, MISSING)
    try:
        with soundfile.SoundFile(BytesIO(data)) as file:
            if file.format != "FLAC":
                raise no_block(f"samples are {shown(file.format)}, expected FLAC")
            if file.samplerate != sample_rate:
                raise DecodeError(
                    DeadLetterReason.WRONG_RATE,
                    f"the FLAC file has {file.samplerate} Hz, the message says {sample_rate} Hz",
                )
            if file.channels != channels:
                raise DecodeError(
                    DeadLetterReason.WRONG_WIDTH,
                    f"the FLAC file has {file.channels} channels, the message says {channels}",
                )
            promised = int(file.frames)
            if not 0 < promised < 2**36:  # FLAC's own limit
                raise no_block("the FLAC file does not say how long it is; end the file before it is sent")
            if promised > most_frames:
                raise DecodeError(
                    DeadLetterReason.TOO_LARGE,
                    f"a FLAC file of {promised} samples a channel, at most {most_frames} are read; send shorter chunks",
                )
            samples = file.read(promised, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise no_block(f"not FLAC, or damaged: {shown(str(error))}") from None
    if len(samples) != promised:
        raise no_block(f"the FLAC file promises {promised} samples and holds {len(samples)}: it is cut off or damaged")
    return np.asarray(samples, dtype=np.float32)


def write_flac(samples: np.ndarray, sample_rate: int) -> bytes:
    """[n, channels] int16 as a FLAC file.

    Raises:
        ValueError: soundfile is not installed, or FLAC knows no such rate or width.
    """
    soundfile = _soundfile()
    if soundfile is None:
        raise ValueError(MISSING)
    out = BytesIO()
    try:
        soundfile.write(out, samples, sample_rate, format="FLAC", subtype="PCM_16")
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        raise ValueError(
            f"FLAC cannot hold {samples.shape[1]} channels at {sample_rate} Hz ({error}); expected at most 8 channels and "
            "65,535 Hz, or up to 655,350 Hz in tens"
        ) from error
    return out.getvalue()


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the wheel of another platform has no libsndfile in it
        return None
    return soundfile
