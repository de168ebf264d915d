"""How a network is trained: the settings of the shared trainer; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from wheeltapper.models.settings import DetectorSettings
from wheeltapper.training.fitting.warm_start import WarmStart


@dataclass(frozen=True)
class TrainerOptions(DetectorSettings):
    """Settings of `wheeltapper.training.fitting.trainer`, and what a run is told besides.

    Attributes:
        seed: of the choice and order of windows and of dropout.
        device: 'cpu', 'cuda' (an error where it does not work) or 'auto'.
        checkpoint_folder: where checkpoints go; None writes none.
        progress: show a progress bar (one line an epoch where the output is no terminal).
        held_out_share: last part of the train part that is held out; None is the detector's own.
        warm_start: weights that training goes on from; None starts anew.
    """

    epochs: Annotated[int, Field(ge=1, description="at most so many passes; `--epochs` overrides it")] = 4
    batch_size: Annotated[int, Field(ge=1, description="windows a step")] = 128
    learning_rate: Annotated[float, Field(gt=0, description="Adam's, in the first epoch")] = 1e-4
    learning_rate_decay: Annotated[float, Field(gt=0, description="factor of the learning rate after each epoch")] = 0.5
    windows_per_epoch: Annotated[
        int | None,
        Field(ge=1, description="windows that an epoch shows, chosen anew each time; none takes all of them"),
    ] = None
    shuffle: Annotated[bool, Field(description="false takes windows in time order")] = True
    patience: Annotated[
        int, Field(ge=1, description="epochs without a better validation value until training stops")
    ] = 3
    gradient_clip: Annotated[float | None, Field(gt=0, description="largest gradient norm; none does not clip")] = None
    validation_windows: Annotated[
        int, Field(ge=1, description="held-out windows that an epoch is judged by at most, evenly spaced")
    ] = 1024
    # 30 s of lost work is little, and writing 50 MB that often costs nothing.
    checkpoint_every_s: Annotated[
        float,
        Field(ge=0, description="seconds between checkpoints inside an epoch; one is also written after each epoch"),
    ] = 30.0
    # What a budget cut depends on the machine's speed: such a run is not reproducible, and its history says so.
    budget_s: Annotated[
        float | None,
        Field(gt=0, description="seconds after which training ends, inside an epoch too; none lets it finish"),
    ] = None
    seed: int = 52
    device: str = "auto"
    checkpoint_folder: Path | None = None
    progress: bool = True
    held_out_share: float | None = None
    warm_start: WarmStart | None = None
