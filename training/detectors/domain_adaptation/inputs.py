"""What training is given: checked, and scaled domain by domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wheeltapper.models.domain_adaptation.config import DomainAdaptationConfig
from wheeltapper.models.standardised import INPUT_CLIP
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.domain_adaptation.domains import (
    ANOMALOUS,
    NORMAL,
    UNLABELLED,
    Scaler,
    WindowDomain,
    fit_scaler,
    given_scaler,
    joined,
)

_LEAST_WINDOWS = 8


def check_inputs(
    sources: Sequence[WindowDomain],
    target: WindowDomain,
    config: DomainAdaptationConfig,
    target_labels: np.ndarray | None,
) -> None:
    """
    Raises:
        InputError: see `wheeltapper.training.detectors.domain_adaptation.fit.train_adapted`.
    """
    if (target.labels != UNLABELLED).any():
        raise InputError(
            f"{target.name}: {int((target.labels != UNLABELLED).sum())} windows of the target carry labels, expected none; "
            "take them off (unlabelled()) and hand over those that may be used as target_labels"
        )
    if target_labels is not None and len(target_labels) != len(target):
        raise InputError(
            f"{target.name}: {len(target_labels)} target labels for {len(target)} windows, expected as many"
        )
    if len(target) < _LEAST_WINDOWS:
        raise InputError(f"{target.name}: {len(target)} windows, expected at least {_LEAST_WINDOWS}")
    if config.method == "target-supervised":
        labels, name = (np.zeros(0) if target_labels is None else np.asarray(target_labels)), target.name
    else:
        if not sources:
            raise InputError(f"{target.name}: no source, expected at least one; only 'target-supervised' needs none")
        labels, name = np.concatenate([source.labels for source in sources]), sources[0].name
        for source in sources:
            if source.windows.shape[1:] != target.windows.shape[1:]:
                raise InputError(
                    f"windows of {source.name} are {source.windows.shape[1:]} (rows, channels) and of {target.name} "
                    f"{target.windows.shape[1:]}, expected the same"
                )
    for label, word in ((NORMAL, "normal"), (ANOMALOUS, "anomalous")):
        if not (labels == label).any():
            raise InputError(f"{name}: no {word} window among its labels, expected some of both kinds to learn from")


def fit_scalers(
    sources: Sequence[WindowDomain], target: WindowDomain, config: DomainAdaptationConfig
) -> tuple[tuple[Scaler, ...], Scaler]:
    """One scaler a domain; 'source-only' knows one scaler, that of all sources together, and nothing of the target."""
    if config.scale == "given":
        given = given_scaler(target.windows.shape[2])
        return (given,) * max(len(sources), 1), given
    if config.method == "source-only":
        common = fit_scaler(joined("sources", sources).windows)
        return (common,) * len(sources), common
    return tuple(fit_scaler(source.windows) for source in sources), fit_scaler(target.windows)


def scaled_rows(domains: Sequence[WindowDomain], scalers: Sequence[Scaler]) -> Tensor:
    """Raw windows of several domains, each by its scaler, one after the other."""
    parts = [scaler.apply(domain.windows, INPUT_CLIP) for domain, scaler in zip(domains, scalers, strict=True)]
    return torch.as_tensor(np.concatenate(parts))
