"""The device on which a network is trained."""

from __future__ import annotations

import torch

from wheeltapper.schemas.errors import InputError


def resolve_device(wanted: str) -> torch.device:
    """'auto', 'cpu' or 'cuda' to a device that works.

    Raises:
        InputError: 'cuda' was asked for and does not work, or another word.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise InputError(f"device is '{wanted}', expected auto, cpu or cuda")
    if wanted == "cpu":
        return torch.device("cpu")
    try:
        # Being available is not working: an old driver or a full card shows only when something runs.
        if torch.cuda.is_available() and float((torch.ones(2, device="cuda") + 1).sum()) == 4.0:
            return torch.device("cuda")
        reason = "torch finds no CUDA device"
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
    if wanted == "cuda":
        raise InputError(f"device is 'cuda' but {reason}; install a CUDA build of torch and a driver, or use auto")
    return torch.device("cpu")
