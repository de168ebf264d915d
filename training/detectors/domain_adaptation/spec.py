"""Domain adaptation as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field

from wheeltapper.models.domain_adaptation.config import PRESETS, DomainAdaptationConfig
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset


@dataclass(frozen=True)
class DomainAdaptationSettings(DomainAdaptationConfig):
    """The network's settings, and which machines it learns from."""

    sources: Annotated[
        str,
        Field(
            description="machines of the same data set whose labelled test parts are learned from, separated by commas; empty "
            "learns from disturbances of the machine's own past"
        ),
    ] = ""

    @property
    def source_names(self) -> list[str]:
        """Entities of the data set."""
        return [name.strip() for name in self.sources.split(",") if name.strip()]


SPEC = DetectorSpec(
    name="domain-adaptation",
    title="Domain adaptation",
    summary="DANN, MMD or CORAL: transfers labelled faults from other machines, or disturbances, to this one",
    watches="what labelled faults of other machines, or disturbances of its own past, look like here",
    trains_in="a minute",
    choose_it="another machine, or the same at another speed or load, has labels and this one has none",
    train="wheeltapper.training.detectors.domain_adaptation.train:train_domain_adaptation",
    presets={
        "small": Preset(DomainAdaptationSettings(**asdict(PRESETS["small"])), description="a minute of training"),
        "paper": Preset(DomainAdaptationSettings(**asdict(PRESETS["paper"])), description="the published network"),
    },
    battery=TrainOptions(
        window=16,
        settings={"iterations": "60", "channels": "8", "hidden": "8", "latent": "16", "batch_size": "32"},
    ),
    has_epochs=True,
    fine_tuning={"iterations": 0.5, "learning_rate": 0.3},
    extra="training",
    learns_from_labels=True,
    rank=90,
)
