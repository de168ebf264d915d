"""Settings of the autoencoder baseline; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from wheeltapper.models.settings import DetectorSettings


@dataclass(frozen=True)
class DcaseAeConfig(DetectorSettings):
    """The detector's own settings; how it is trained is `wheeltapper.training.fitting.trainer_options.TrainerOptions`."""

    DETECTOR: ClassVar[str] = "dcase-ae"

    mels: Annotated[int, Field(ge=8, le=512, description="bands of the mel spectrogram")] = 128
    low_hz: Annotated[float, Field(ge=0, description="lower edge of the lowest band, Hz")] = 0.0
    frames: Annotated[int, Field(ge=1, le=64, description="frames that lie side by side in one input vector")] = 5
    width: Annotated[
        int, Field(ge=4, description="of the four layers before the bottleneck and the four behind it")
    ] = 128
    bottleneck: Annotated[int, Field(ge=1, description="width of the narrowest layer")] = 8
    standardise: Annotated[
        bool,
        Field(
            description="true takes each band in deviations of the train part, which trains faster; false takes decibels as they are, as published"
        ),
    ] = True
    score: Annotated[
        Literal["mahalanobis", "mse"],
        Field(
            description="`mse` is the mean squared error; `mahalanobis` weighs the error by what its covariance was in training, the least over source and target domain"
        ),
    ] = "mahalanobis"
    covariance: Annotated[
        Literal["ledoit-wolf", "empirical"],
        Field(description="estimator for score=mahalanobis; `empirical` is the published one"),
    ] = "ledoit-wolf"
    time_columns: Annotated[int, Field(ge=1, le=200, description="equal parts of the window that are blamed")] = 20
    folds: Annotated[int, Field(ge=2, description="blocks of time that are held out one after another")] = 6
    cross_fit: Annotated[
        Literal["network", "covariance"],
        Field(
            description="what the alarm level's held-out windows are unknown to: the `network`, which is trained once more for every fold, or the `covariance` alone, in a fraction of the time"
        ),
    ] = "network"

    def with_window(self, window: int) -> Self:
        """The same: frames are of one length, whatever the window."""
        return self
