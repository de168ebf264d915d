"""Options of a training: those that all detectors share, and a detector's own settings as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.sound.series import SoundSeries
from wheeltapper.training.fitting.warm_start import WarmStart

if TYPE_CHECKING:
    from wheeltapper.training.fitting.labels import LabelledWindows


@dataclass(frozen=True)
class ExtraData:
    """What a detector may learn from besides the train part of its series; most have no use for it.

    Attributes:
        labelled: windows that a person judged.
        related: other series, read on demand: data set's own name of an entity to its series.
        related_sounds: the same for data sets of sound.
    """

    labelled: LabelledWindows | None = None
    related: Callable[[str], SensorSeries] | None = None
    related_sounds: Callable[[str], SoundSeries] | None = None


@dataclass(frozen=True)
class TrainOptions:
    """What every detector may be told; each takes what it has a use for.

    Attributes:
        seed: of everything random.
        epochs: at most that many, for trained networks; None is the detector's own default.
        stride: rows between scored windows in the stream; held-out windows are scored as far apart. Of sound it counts samples,
            and 1 is the detector's own default (see `wheeltapper.training.fitting.sound_windows`).
        window: W, rows, or samples of sound; None is the detector's own default.
        device: 'cpu', 'cuda' or 'auto', for trained networks.
        threads: onnxruntime's, for scoring held-out windows.
        checkpoint_folder: where an interrupted training goes on from; None starts anew each time.
        progress: show what is going on.
        settings: the detector's own, as text.
        budget_s: seconds that training may take; a detector that is cut says so in its parameters as `cut_by_budget`.
        held_out_by: what scores a network's held-out windows: 'graph', the ONNX graph that the stream will run, or 'torch', the
            network itself, which saves the export where no bundle is to be written.
        extra_data: what else there is to learn from.
        held_out_share: last part of the train part that a network does not see; None is the detector's own.
        warm_start: weights of a bundle that a network's training goes on from; no checkpoints are written then.
    """

    seed: int = 0
    epochs: int | None = None
    stride: int = 1
    window: int | None = None
    device: str = "auto"
    threads: int = 1
    checkpoint_folder: Path | None = None
    progress: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    budget_s: float | None = None
    held_out_by: Literal["graph", "torch"] = "graph"
    extra_data: ExtraData = ExtraData()
    held_out_share: float | None = None
    warm_start: WarmStart | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: a number outside of its range.
        """
        for name, least in (("epochs", 1), ("stride", 1), ("window", 1), ("threads", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}, expected {least} or more")
        if self.budget_s is not None and not self.budget_s > 0:
            raise InputError(f"budget is {self.budget_s} s, expected above 0")


def parse_assignments(texts: Sequence[str]) -> dict[str, str]:
    """['leak=0.5', ..] to {'leak': '0.5', ..}.

    Raises:
        InputError: a text without '=', or a key twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key or not value.strip():
            raise InputError(f"--set {text}: expected key=value, e.g. --set leak=0.5")
        if key in found:
            raise InputError(f"--set {key} is given twice; give it once")
        found[key] = value.strip()
    return found
