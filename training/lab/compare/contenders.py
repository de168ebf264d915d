"""Who takes part in a comparison: detectors with their settings, as the command line names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.auto import AUTO
from wheeltapper.training.detectors.registry import detector_entry, detectors_of
from wheeltapper.training.fitting.options import parse_assignments

ALL = "all"


@dataclass(frozen=True)
class Contender:
    """A detector and the settings that differ from its defaults.

    Attributes:
        detector: its name in the registry.
        settings: (key, value) pairs in alphabetical order of keys, as `--set` takes them.
    """

    detector: str
    settings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, detector: str, settings: Mapping[str, str]) -> Contender:
        return cls(detector, tuple(sorted(settings.items())))

    @property
    def label(self) -> str:
        """What tables call it: 'pca', or 'alora:preset=small,width=32'. Other settings are another contender."""
        if not self.settings:
            return self.detector
        return f"{self.detector}:{','.join(f'{key}={value}' for key, value in self.settings)}"

    @property
    def seeded(self) -> bool:
        return detector_entry(self.detector).seeded


def parse_contenders(texts: Sequence[str], kind: str = "sensors") -> tuple[tuple[Contender, ...], bool]:
    """`--detectors` as contenders in the given order, and whether 'auto' is one of the rows.

    Args:
        texts: names with or without settings ('alora:preset=small,width=32'), 'auto', or 'all' for every detector of the
            registry and 'auto'; 'all' may be joined by further ones with settings.
        kind: of input that they must take: 'sensors' or 'audio'.

    Raises:
        InputError: none, no such detector, one of another kind of input, or settings that are not key=value.
    """
    known = detectors_of(kind)
    found: dict[Contender, None] = {}
    auto = False
    for text in texts:
        name, colon, settings = text.strip().partition(":")
        if name in (ALL, AUTO):
            if colon:
                raise InputError(f"--detectors {text}: '{name}' takes no settings; name a detector, e.g. pca:window=16")
            auto = True
            if name == ALL:
                found.update(dict.fromkeys(Contender(each) for each in known))
            continue
        if detector_entry(name).kind != kind:
            takes, holds = ("rows of sensors", "sound") if kind == "audio" else ("sound", "rows of sensors")
            raise InputError(
                f"--detectors {name} takes {takes}, but the data sets hold {holds}; give 'all' or some of {', '.join(known)}"
            )
        parts = [part for part in settings.split(",") if part.strip()]
        if colon and not parts:
            raise InputError(f"--detectors {text}: no setting after the colon, expected e.g. {name}:window=16")
        found[Contender.of(name, parse_assignments(parts))] = None
    if not found and not auto:
        raise InputError("--detectors names none; give 'all' or some of " + ", ".join(known))
    return tuple(found), auto


def parse_seeds(texts: Sequence[str]) -> tuple[int, ...]:
    """`--seeds`: one number is how many (from 0 on), several, or one with a comma, are the seeds themselves.

    Raises:
        InputError: not whole numbers of 0 or more, none, or one twice.
    """
    listed = len(texts) > 1 or any("," in text for text in texts)
    words = [word for text in texts for word in text.split(",") if word.strip()]
    try:
        numbers = [int(word) for word in words]
    except ValueError:
        raise InputError(f"--seeds {' '.join(texts)}: expected whole numbers, e.g. 3, or 0,1,2") from None
    if not numbers or min(numbers) < 0 or (not listed and numbers[0] == 0):
        raise InputError(f"--seeds {' '.join(texts)}: expected how many (1 or more), or a list of seeds from 0 on")
    if len(set(numbers)) < len(numbers):
        raise InputError(f"--seeds {' '.join(texts)}: a seed is named twice; name each once")
    return tuple(numbers) if listed else tuple(range(numbers[0]))
