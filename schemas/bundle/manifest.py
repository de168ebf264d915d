"""manifest.json: what a bundle says of itself."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from typing import Any, Literal, Self, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST_RAW = 3.4e38
"""Graphs give float32: no score can reach a level beyond it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Channel(_Part):
    name: str = Field(min_length=1)
    unit: str = Field(default="", description="engineering unit; empty where the source names none")


class TensorSpec(_Part):
    """One input or output of the graph."""

    name: str
    shape: tuple[int | str, ...] = Field(
        description="static sizes; the batch axis is 'N', of a run the rows are 'T', the windows 'n'"
    )
    dtype: str = Field(description="numpy name, e.g. float32")


class Calibration(_Part):
    """Maps a raw score to the calibrated one: (raw - center) / (alarm_level - center), never below 0.

    1.0 is the alarm level of this bundle, for every detector.
    """

    center: float = Field(
        ge=-LARGEST_RAW, le=LARGEST_RAW, description="raw score that becomes 0: the median of held-out normal windows"
    )
    alarm_level: float = Field(
        ge=-LARGEST_RAW,
        le=LARGEST_RAW,
        description="raw score that becomes 1.0; above center, and one that a graph can give",
    )
    false_alarms_per_day: float = Field(
        gt=0, description="how many the alarm level was chosen for, per machine and day"
    )
    windows: int = Field(ge=1, description="held-out normal windows that it was chosen from")
    method: str = Field(description="how the alarm level was found, e.g. 'gpd' or 'maximum'")

    @model_validator(mode="after")
    def _level_above_center(self) -> Self:
        if not self.alarm_level > self.center:
            raise ValueError(f"alarm_level {self.alarm_level} must be above center {self.center}")
        if not self.false_alarms_per_day < math.inf:
            raise ValueError("false_alarms_per_day must be finite")
        return self


class TrainingData(_Part):
    dataset: str
    entity: str
    rows: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the training rows' float32 bytes, C order")


class BundleManifest(_Part, ABC):
    """What the stream must know to run a bundle of any kind of input; a subclass a kind says the rest."""

    format: Literal[1] = 1
    bundle_id: str = Field(min_length=1, description="detector, entity and the first 12 digits of the content's hash")
    detector: str = Field(description="e.g. range-bands, pca, alora")
    detector_version: int = Field(default=1, ge=1)
    kind: str = Field(description="kind of input")
    sampling_interval_s: float = Field(gt=0, le=1e9, description="seconds between rows, or samples")
    window: int = Field(ge=1, description="rows, or samples of a channel")
    stride: int = Field(default=1, ge=1, description="rows, or samples, between scored windows")
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    calibration: Calibration
    parameters: dict[str, Any] = Field(default_factory=dict, description="the detector's settings, for people")
    training_data: TrainingData
    metrics: dict[str, float] = Field(default_factory=dict)
    warnings: tuple[str, ...] = Field(default=(), description="blind spots found at fit time")
    parent: str | None = None
    created_at: str = Field(description="ISO 8601")
    versions: dict[str, str] = Field(default_factory=dict, description="package -> version at the time of writing")
    files: dict[str, str] = Field(description="every other file of the bundle -> its sha256")

    @property
    @abstractmethod
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one window as the graph takes it, without the batch axis."""

    @property
    def contribution_shape(self) -> tuple[int, ...] | None:
        """Shape of one window's contribution, where the manifest says it; the graph's contract says that of rows."""
        return None

    @property
    def attribute_width(self) -> int:
        """Columns of the graph's input `attributes`; 0 where it has none."""
        return 0

    @property
    def row_width(self) -> int:
        """Values of what is measured at a time: C of rows, channels of sound."""
        return self.sample_shape[-1]


class SensorManifest(BundleManifest):
    """A bundle that scores rows of sensors. See the blueprint of the graph contract in docs/bundle.md."""

    kind: Literal["sensors"] = "sensors"
    channels: tuple[Channel, ...] = Field(min_length=1, description="in the order of the window's last axis")
    warm_up: int | None = Field(
        default=None,
        ge=1,
        description="rows of a machine after which its windows are scored, those before its first row being NaN, which the "
        "graph knows how to take; none: the whole window",
    )
    lag: int = Field(default=0, ge=0, description="the score belongs to the row that many before the window's last")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [channel.name for channel in self.channels]
        if len(set(names)) != len(names):
            raise ValueError("channel names must be distinct")
        if self.lag >= self.window:
            raise ValueError(f"lag {self.lag} must be smaller than window {self.window}")
        if not self.lag < self.rows_before_scoring <= self.window:
            raise ValueError(f"warm_up {self.warm_up} must be above lag {self.lag} and at most window {self.window}")
        return self

    @property
    def rows_before_scoring(self) -> int:
        """With how many rows of a machine its first window is scored."""
        return self.window if self.warm_up is None else self.warm_up

    @property
    def channel_names(self) -> tuple[str, ...]:
        return tuple(channel.name for channel in self.channels)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.window, len(self.channels)


class FrequencyBand(_Part):
    """One row of a time-frequency contribution."""

    channel: str = Field(description="which channel it belongs to, by name; empty where there is one")
    low_hz: float = Field(ge=0)
    high_hz: float = Field(gt=0)


class AttributeSpec(_Part):
    """One attribute of the operating point that the graph takes."""

    name: str = Field(min_length=1, description="as messages carry it in `attributes`")
    categories: tuple[str, ...] = Field(
        default=(), description="its known values, one column each (one-hot); empty: it is a number, one column"
    )

    @property
    def width(self) -> int:
        """Columns of the graph's input."""
        return len(self.categories) or 1


class AudioManifest(BundleManifest):
    """A bundle that scores clips of sound or vibration: window and stride are samples, the sampling interval is 1 / rate."""

    kind: Literal["audio"] = "audio"
    sample_rate: int = Field(ge=1, description="samples a second that the graph takes; others are resampled")
    channels: tuple[Channel, ...] = Field(
        min_length=1, description="one of a microphone, several axes of an accelerometer; window: one after another"
    )
    bands: tuple[FrequencyBand, ...] = Field(min_length=1, description="rows of the contribution, from low to high")
    time_columns: int = Field(ge=1, description="columns of the contribution: equal parts of the window, oldest first")
    attributes: tuple[AttributeSpec, ...] = Field(
        default=(), description="of the input `attributes`; empty: it has none"
    )

    @model_validator(mode="after")
    def _rates_agree(self) -> Self:
        if abs(self.sampling_interval_s * self.sample_rate - 1) > 1e-9:
            raise ValueError(
                f"sampling_interval_s {self.sampling_interval_s} must be 1 / sample_rate, and sample_rate is {self.sample_rate}"
            )
        return self

    @property
    def channel_names(self) -> tuple[str, ...]:
        return tuple(channel.name for channel in self.channels)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """One axis: the first channel's samples, then the second's."""
        return (len(self.channels) * self.window,)

    @property
    def contribution_shape(self) -> tuple[int, ...]:
        """Bands x time columns."""
        return len(self.bands), self.time_columns

    @property
    def attribute_width(self) -> int:
        """Columns of the graph's input `attributes`; 0 where it has none."""
        return sum(attribute.width for attribute in self.attributes)

    @property
    def row_width(self) -> int:
        """Channels."""
        return len(self.channels)


Manifest: TypeAlias = SensorManifest
"""The union of all kinds' manifests: one more kind is one more member here and one more entry in `MANIFESTS`."""

MANIFESTS: dict[str, type[BundleManifest]] = {"sensors": SensorManifest, "audio": AudioManifest}
"""Kind of input -> its manifest."""


def read_manifest(text: bytes) -> Manifest:
    """A manifest by its kind; a bundle that names none is of sensors.

    Raises:
        ValidationError: it does not fit its kind's schema.
        ValueError: not JSON, or of a kind that this version does not know.
    """
    found = json.loads(text)
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # it would end the worker at the first alert, which quotes names and units
        wrong = error.object[error.start : error.end].encode("unicode_escape").decode()
        raise ValueError(f"holds {wrong[:40]}, half a character, expected texts in Unicode") from None
    kind = found.get("kind", "sensors") if isinstance(found, dict) else "sensors"
    model = MANIFESTS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(MANIFESTS)}")
    return cast(Manifest, model.model_validate(found))
