"""Settings of VAE-LSTM; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wheeltapper.schemas.errors import InputError

Score = Literal["recent", "window", "sequence"]

WINDOW_LENGTHS = (24, 48, 144)
# The width of the published networks; their other widths are shares of it.
PUBLISHED_HIDDEN = 512
# Smallest steps of `hidden` at which every width of the layers is a whole number.
HIDDEN_STEPS = {24: 32, 48: 32, 144: 256}


@dataclass(frozen=True, slots=True)
class VaeLstmConfig:
    """The detector's own settings; how the VAE is trained is `wheeltapper.training.fitting.trainer.TrainerOptions`.

    Attributes:
        l_win: rows of the short window that becomes one code: 24, 48 or 144.
        l_seq: short windows in a row, the scored one included; the graph's window is l_win * l_seq rows.
        code: numbers that a short window is compressed to.
        hidden: width of the widest layers; 512 is the published network, less shrinks all its layers alike.
        recon_weight: weight of the squared error against the KL divergence. 25 is what the authors' code comes to; the
            Gaussian likelihood with their deviation of 0.1 asks for 50. The error is a sum over rows and channels, so many
            channels want less.
        score: 'recent' = error of the last short window, later rows weighing more; 'window' = of all its rows alike;
            'sequence' = of all short windows but the first, as published.
        lstm_epochs, lstm_batch_size, lstm_learning_rate, lstm_learning_rate_decay, lstm_patience: of the LSTM's training.
        validation_share: last part of the train part, in time, that neither network sees.
        input_clip: standardised inputs are cut to +-this.
        scale: 'train' standardises by the train part, 'given' takes values as they come (see `wheeltapper.training.fitting.prepared`).

    Raises:
        InputError: a setting out of its range.
    """

    l_win: int = 48
    l_seq: int = 12
    code: int = 6
    hidden: int = PUBLISHED_HIDDEN
    recon_weight: float = 25.0
    score: Score = "recent"
    lstm_epochs: int = 20
    lstm_batch_size: int = 32
    lstm_learning_rate: float = 2e-4
    lstm_learning_rate_decay: float = 1.0
    lstm_patience: int = 5
    validation_share: float = 0.2
    input_clip: float = 1000.0
    scale: Literal["train", "given"] = "train"

    def __post_init__(self) -> None:
        if self.l_win not in WINDOW_LENGTHS:
            allowed = ", ".join(map(str, WINDOW_LENGTHS))
            raise InputError(
                f"VAE-LSTM's l_win is {self.l_win}, expected one of {allowed}: its networks are made for these lengths"
            )
        for name, value, least in (
            ("l_seq", self.l_seq, 2),
            ("code", self.code, 1),
            ("lstm_epochs", self.lstm_epochs, 1),
            ("lstm_batch_size", self.lstm_batch_size, 1),
            ("lstm_patience", self.lstm_patience, 1),
        ):
            if value < least:
                raise InputError(f"VAE-LSTM's {name} is {value}, expected at least {least}")
        step = HIDDEN_STEPS[self.l_win]
        if self.hidden < step or self.hidden % step:
            raise InputError(
                f"VAE-LSTM's hidden is {self.hidden}, expected a multiple of {step} for l_win={self.l_win}"
            )
        for positive in ("recon_weight", "input_clip", "lstm_learning_rate"):
            if not getattr(self, positive) > 0:
                raise InputError(f"VAE-LSTM's {positive} is {getattr(self, positive)}, expected above 0")
        if not 0 < self.validation_share < 1:
            raise InputError(f"VAE-LSTM's validation_share is {self.validation_share}, expected between 0 and 1")

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
