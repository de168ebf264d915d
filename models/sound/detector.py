"""What the sound detectors that are fitted without torch share once they are fitted; a `wheeltapper.models.fitted.FittedSound`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from wheeltapper.models.numpy_fitted import NumpyFitted
from wheeltapper.models.settings import DetectorSettings
from wheeltapper.models.sound.frontend import FrontEnd
from wheeltapper.schemas.bundle.manifest import AttributeSpec

# A tenth of a second or more for windows of 4 s or more.
TIME_COLUMNS = 40


@dataclass(frozen=True)
class SoundSettings(DetectorSettings):
    """Base of the settings of sound detectors: the window's length is not one of them, it belongs to what is recorded."""

    def with_window(self, window: int) -> Self:
        return self


Settings = TypeVar("Settings", bound=SoundSettings)


@dataclass(frozen=True, kw_only=True, eq=False)
class NumpySound(NumpyFitted[Settings], Generic[Settings]):
    """Base of a fitted detector of sound.

    Attributes:
        frontend: from samples to band levels.
        window: S, samples of a channel.
        channels: C.
        attributes: what of the operating point the graph takes.
    """

    frontend: FrontEnd
    window: int
    channels: int
    attributes: tuple[AttributeSpec, ...] = ()

    @property
    def sample_rate(self) -> int:
        return self.frontend.sample_rate

    @property
    def frames(self) -> int:
        """In one window."""
        return self.frontend.frames(self.window)

    @property
    def bands(self) -> tuple[tuple[int, float, float], ...]:
        return tuple((channel, low, high) for channel in range(self.channels) for low, high in self.frontend.edges)

    @property
    def time_columns(self) -> int:
        """No more than there are frames, so that each column has one."""
        return min(TIME_COLUMNS, self.frames)
