"""What a detector says of itself: `training/detectors/<d>/spec.py` holds one `DetectorSpec` and imports nothing heavy.

Command line, help texts, the tables of the docs and the conformance battery are made from it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar, cast

from wheeltapper.models.settings import DetectorSettings, Setting, settings_of
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import did_you_mean
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.trainer_options import TrainerOptions

Settings = TypeVar("Settings", bound=DetectorSettings)
# By the spec's kind: a `SensorSeries` to a `FittedDetector`, or a `SoundSeries` to a `FittedSound`.
Train = Callable[[Any, TrainOptions], tuple[Any, CalibrationScores]]

# Names that a person may take for settings of a detector, and which every detector has as options.
_OPTIONS = ("seed", "stride", "device", "threads")


@dataclass(frozen=True)
class Preset(Generic[Settings]):
    """A choice of settings with a name.

    Attributes:
        settings: the detector's own.
        trainer: how its network is trained; None for detectors that are fitted in one pass.
        description: when to take it.
    """

    settings: Settings
    trainer: TrainerOptions | None = None
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class DetectorSpec(Generic[Settings]):
    """A detector, as far as it is known without importing what trains it.

    Attributes:
        name: as the command line takes it, e.g. 'range-bands'; its folders are named so, with underscores.
        title: as headings have it, e.g. 'Range bands'.
        summary: one line for help texts.
        watches, trains_in, choose_it: cells of the table in docs/detectors.md: what it looks at, how long training takes, when to
            choose it.
        train: 'module:function', imported on use: `function(series, options) -> (fitted, held-out scores)`.
        presets: by name, the default first; a detector without any has one that nobody can name: ''.
        battery: options with which the conformance battery trains it in a second or two.
        has_epochs: False for detectors that are fitted in one pass.
        fine_tuning: setting -> factor on the parent's value where training goes on from a bundle's weights; networks only.
        extra: the pip extra that it needs.
        seeded: False where the seed changes nothing, so that one run says all.
        learns_from_labels: True where `TrainOptions.extra_data.labelled` makes a difference.
        edge: True where it is fitted with numpy and onnx alone: no torch, no scikit-learn, no scipy.
        published: setting -> what its authors use, for the tables of the docs.
        exceptions: promise of the conformance battery -> why this detector cannot keep it.
        rank: place in lists of its kind; the default detector has the least.
        kind: of input: 'sensors' takes a `SensorSeries`, 'audio' a `SoundSeries`.
    """

    name: str
    title: str
    summary: str
    watches: str
    trains_in: str
    choose_it: str
    train: str
    presets: Mapping[str, Preset[Settings]]
    battery: TrainOptions
    has_epochs: bool = False
    fine_tuning: Mapping[str, float] = field(default_factory=lambda: {"epochs": 0.5, "learning_rate": 0.3})
    extra: str = "fit"
    seeded: bool = True
    learns_from_labels: bool = False
    edge: bool = False
    published: Mapping[str, str] = field(default_factory=dict)
    exceptions: Mapping[str, str] = field(default_factory=dict)
    rank: int = 1000
    kind: Literal["sensors", "audio"] = "sensors"

    @property
    def folder(self) -> str:
        """Of models/ and training/detectors/."""
        return self.name.replace("-", "_")

    @property
    def default(self) -> Preset[Settings]:
        """The first preset."""
        return next(iter(self.presets.values()))

    @property
    def own_settings(self) -> tuple[Setting, ...]:
        """Settings of the detector itself."""
        return settings_of(type(self.default.settings))

    @property
    def trainer_settings(self) -> tuple[Setting, ...]:
        """Settings of its training, without those that the detector has itself; none where it is fitted in one pass."""
        if self.default.trainer is None:
            return ()
        own = {setting.name for setting in self.own_settings}
        return tuple(setting for setting in settings_of(TrainerOptions) if setting.name not in own)

    @property
    def preset_names(self) -> tuple[str, ...]:
        """Presets that a person may name."""
        return tuple(name for name in self.presets if name)

    @property
    def setting_names(self) -> tuple[str, ...]:
        """All that `--set` takes."""
        preset = ("preset",) if self.preset_names else ()
        return (*preset, *(setting.name for setting in (*self.own_settings, *self.trainer_settings)))

    def settings_for(self, options: TrainOptions, *, preset: str | None = None) -> Settings:
        """The detector's own settings: preset, then `options.window`, then `options.settings`.

        Args:
            preset: what is the default for this series; None is the detector's.

        Raises:
            InputError: no such preset or setting, or a value that it does not take.
        """
        settings = self._preset(options, preset).settings
        if options.window is not None:
            settings = settings.with_window(options.window)
        return settings.with_texts(self._texts(options, self.own_settings))

    def trainer_for(self, options: TrainOptions, *, preset: str | None = None) -> TrainerOptions:
        """How the network is trained: preset, then `options.settings`, then the other options.

        Raises:
            InputError: as `settings_for`.
        """
        trainer = self._preset(options, preset).trainer
        if trainer is None:
            raise TypeError(f"{self.name} is fitted in one pass: it has no trainer")
        try:
            trainer = trainer.with_texts(self._texts(options, self.trainer_settings))
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None
        return replace(
            trainer,
            seed=options.seed,
            epochs=options.epochs or trainer.epochs,
            device=options.device,
            progress=options.progress,
            checkpoint_folder=options.checkpoint_folder,
            budget_s=options.budget_s if options.budget_s is not None else trainer.budget_s,
            held_out_share=options.held_out_share,
            warm_start=options.warm_start,
        )

    def load_train(self) -> Train:
        """The function that trains it; imports its module.

        Raises:
            ModuleNotFoundError: a library that it needs is not installed.
        """
        module, _, function = self.train.partition(":")
        return cast(Train, getattr(importlib.import_module(module), function))

    def _preset(self, options: TrainOptions, default: str | None) -> Preset[Settings]:
        self._check_names(options.settings)
        if default is None:
            default = next(iter(self.presets))
        name = options.settings.get("preset", default)
        if name not in self.presets:
            raise InputError(f"{self.name}: --set preset={name}: expected one of {', '.join(self.preset_names)}")
        return self.presets[name]

    def _check_names(self, texts: Mapping[str, str]) -> None:
        known = self.setting_names
        for name in texts:
            if name in known:
                continue
            if name in _OPTIONS:
                raise InputError(f"{self.name} has no setting '{name}'; it is an option of every detector: --{name}")
            hint = did_you_mean(name, known)
            raise InputError(f"{self.name} has no setting '{name}'{hint}; it has {', '.join(sorted(known))}")

    @staticmethod
    def _texts(options: TrainOptions, settings: tuple[Setting, ...]) -> dict[str, str]:
        names = {setting.name for setting in settings}
        return {name: text for name, text in options.settings.items() if name in names}
