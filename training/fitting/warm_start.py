"""Going on from a bundle's weights: what fine-tuning of every network starts from, and the rows that it tells apart.

A bundle of a network keeps the weights that its training ended with, part by part, as `<part>/<name in the state dict>`; a
detector that is trained with a `WarmStart` loads its parts from there before the first step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np

from wheeltapper.schemas.errors import InputError

if TYPE_CHECKING:
    from torch import nn

AlignmentMethod = Literal["none", "coral", "mmd", "dann"]
"""What pulls the embeddings of reference and recent windows together; see `wheeltapper.training.fitting.alignment`."""


def alignment_named(name: str) -> AlignmentMethod:
    """
    Raises:
        InputError: no such method.
    """
    if name not in get_args(AlignmentMethod):
        raise InputError(f"alignment is '{name}', expected one of {', '.join(get_args(AlignmentMethod))}")
    return cast(AlignmentMethod, name)


class OtherWeightsError(InputError):
    """The weights are of another network than the one that is to be trained."""


@dataclass(frozen=True, eq=False)
class WarmStart:
    """
    Attributes:
        weights: `<part>/<name>` -> array, as `weights_of` gives them.
        source_rows: of the train part, the first so many are of the regime that the weights know; the others are recent.
        alignment: of the embeddings of both.
    """

    weights: Mapping[str, np.ndarray]
    source_rows: int = 0
    alignment: AlignmentMethod = "none"

    def array(self, part: str, name: str) -> np.ndarray:
        """One array of a part.

        Raises:
            OtherWeightsError: there is none of that name.
        """
        found = self.weights.get(f"{part}/{name}")
        if found is None:
            raise OtherWeightsError(f"the bundle's weights hold no {part}/{name}; train the bundle again")
        return found

    def load(self, part: str, network: nn.Module) -> None:
        """Put a part's weights into `network`.

        Raises:
            OtherWeightsError: a name or a shape that is not that of the network.
        """
        import torch

        prefix = f"{part}/"
        found = {name.removeprefix(prefix): each for name, each in self.weights.items() if name.startswith(prefix)}
        wanted = network.state_dict()
        if set(found) != set(wanted):
            differing = sorted(set(found) ^ set(wanted))
            raise OtherWeightsError(
                f"the bundle's weights of '{part}' are not those of this network: {differing[0]} is in one of them only; "
                "train the bundle again"
            )
        for name, value in wanted.items():
            if found[name].shape != tuple(value.shape):
                raise OtherWeightsError(
                    f"the bundle's weights of '{part}' are not those of this network: {name} has shape "
                    f"{found[name].shape}, expected {tuple(value.shape)}; train the bundle again"
                )
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in found.items()})


def weights_of(networks: Mapping[str, nn.Module]) -> dict[str, np.ndarray]:
    """Every parameter and buffer of some networks, by `<part>/<name>`."""
    return {
        f"{part}/{name}": value.detach().cpu().numpy()
        for part, network in networks.items()
        for name, value in network.state_dict().items()
    }
