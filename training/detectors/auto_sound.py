"""Which detector of sound to train when nobody says."""

from __future__ import annotations

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.sound.series import SoundSeries
from wheeltapper.training.detectors.auto import Choice
from wheeltapper.training.detectors.registry import detectors_of

# Ahead of the others in comparison on time-ordered splits of real clips: docs/results.md. Whoever changes it changes the reason.
PREFERRED = "band-profile"
_REASON = (
    "band profile, fitted in seconds without torch, found more faults in comparison on later recordings than nearest neighbours and "
    "autoencoders did, and its graph is light enough for many microphones a core"
)
_FIRST = "the first of the detectors of sound that are installed"


def choose_sound(series: SoundSeries) -> Choice:
    """The detector for a series of clips, and why.

    Raises:
        InputError: no detector of sound is there.
    """
    known = detectors_of("audio")
    if not known:
        raise InputError("no detector of sound is installed; expected one below training/detectors")
    detector = PREFERRED if PREFERRED in known else next(iter(known))
    channels = "" if len(series.channels) == 1 else f" of {len(series.channels)} channels"
    facts = f"{len(series.train)} clips{channels}, {series.seconds:.3g} s at {series.sample_rate} Hz to learn from"
    return Choice(detector, {}, f"{facts}: {_REASON if detector == PREFERRED else _FIRST}")
