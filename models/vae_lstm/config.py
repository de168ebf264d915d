"""Settings of VAE-LSTM; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from wheeltapper.models.settings import DetectorSettings
from wheeltapper.schemas.errors import InputError

Score = Literal["recent", "window", "sequence"]

WINDOW_LENGTHS = (24, 48, 144)
# The width of the published networks; their other widths are shares of it.
PUBLISHED_HIDDEN = 512
# Smallest steps of `hidden` at which every width of the layers is a whole number.
HIDDEN_STEPS = {24: 32, 48: 32, 144: 256}


@dataclass(frozen=True)
class VaeLstmConfig(DetectorSettings):
    """The detector's own settings; how the VAE is trained is `wheeltapper.training.fitting.trainer_options.TrainerOptions`."""

    DETECTOR: ClassVar[str] = "vae-lstm"

    l_win: Annotated[int, Field(description="rows of the short window that becomes one code: 24, 48 or 144")] = 48
    l_seq: Annotated[
        int,
        Field(
            ge=2,
            description="short windows in a row, the scored one included; the graph's window is l_win * l_seq rows, and `--window` sets it",
        ),
    ] = 12
    code: Annotated[int, Field(ge=1, description="numbers that a short window is compressed to")] = 6
    hidden: Annotated[
        int,
        Field(
            ge=32,
            description="width of the widest layers; 512 is the published network, less shrinks all its layers alike",
        ),
    ] = PUBLISHED_HIDDEN
    recon_weight: Annotated[
        float,
        Field(
            gt=0,
            description="weight of the squared error against the KL divergence: 25 is what the authors' code comes to; the error is a sum over rows and channels, so many channels want less",
        ),
    ] = 25.0
    score: Annotated[
        Score,
        Field(
            description="`recent` is the error of the last short window, later rows weighing more; `window` of all its rows alike; `sequence` of all short windows but the first, as published"
        ),
    ] = "recent"
    lstm_epochs: Annotated[int, Field(ge=1, description="of the LSTM's training; `--epochs` bounds it too")] = 20
    lstm_batch_size: Annotated[int, Field(ge=1, description="sequences a step of the LSTM's training")] = 32
    lstm_learning_rate: Annotated[float, Field(gt=0, description="of the LSTM's training")] = 2e-4
    lstm_learning_rate_decay: Annotated[float, Field(gt=0, description="factor of that rate after each epoch")] = 1.0
    lstm_patience: Annotated[
        int, Field(ge=1, description="epochs without a better validation value until the LSTM's training stops")
    ] = 5
    validation_share: Annotated[
        float, Field(gt=0, lt=1, description="last part of the train part, in time, that neither network sees")
    ] = 0.2
    input_clip: Annotated[
        float, Field(gt=0, description="standard deviations beyond which a value counts no further")
    ] = 1000.0
    scale: Annotated[
        Literal["train", "given"],
        Field(description="`train` standardises by the train part, `given` takes values as they come"),
    ] = "train"

    def check(self) -> None:
        if self.l_win not in WINDOW_LENGTHS:
            allowed = ", ".join(map(str, WINDOW_LENGTHS))
            self.refuse("l_win", f"one of {allowed}: its networks are made for these lengths")
        step = HIDDEN_STEPS[self.l_win]
        if self.hidden % step:
            self.refuse("hidden", f"a multiple of {step} for l_win={self.l_win}")

    def with_window(self, window: int) -> VaeLstmConfig:
        """The same for windows of so many rows, a multiple of `l_win`."""
        if window % self.l_win or window < 2 * self.l_win:
            raise InputError(
                f"{self.DETECTOR}: window is {window}, expected a multiple of l_win={self.l_win}, two times that or more; or "
                "set l_win to 24, 48 or 144"
            )
        return replace(self, l_seq=window // self.l_win)

    @property
    def window(self) -> int:
        """W, rows that the graph takes."""
        return self.l_win * self.l_seq


PRESETS: dict[str, VaeLstmConfig] = {
    "paper": VaeLstmConfig(),
    "small": VaeLstmConfig(
        l_win=24,
        l_seq=5,
        code=16,
        hidden=128,
        recon_weight=1.0,
        lstm_epochs=15,
        lstm_batch_size=128,
        lstm_learning_rate=2e-3,
        lstm_learning_rate_decay=0.85,
        lstm_patience=3,
    ),
}
