"""Where a graph runs: on the CPU, or on a GPU where CUDA works."""

from __future__ import annotations

import ctypes

import onnxruntime as ort

from wheeltapper.schemas.errors import InputError


def resolve_device(device: str) -> str:
    """'cpu' or 'cuda' for 'auto', 'cpu' or 'cuda'.

    Raises:
        InputError: another word, or 'cuda' where CUDA does not work.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device is '{device}', expected auto, cpu or cuda")
    if device == "cpu":
        return "cpu"
    has_build = "CUDAExecutionProvider" in ort.get_available_providers()
    usable = has_build and _cuda_driver_answers()
    if device == "cuda" and not has_build:
        raise InputError(
            "device is 'cuda' but the installed onnxruntime is the CPU's build; 'pip uninstall onnxruntime', then "
            "'pip install --force-reinstall onnxruntime-gpu[cuda,cudnn]', or set device to 'auto' or 'cpu'"
        )
    if device == "cuda" and not usable:
        raise InputError(
            "device is 'cuda' but no CUDA driver answers on this machine; install the NVIDIA driver, or set device to 'auto' or 'cpu'"
        )
    return "cuda" if usable else "cpu"


def _cuda_driver_answers() -> bool:
    # Asking the driver first keeps onnxruntime from printing an error for each library that is not there.
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return int(driver.cuInit(0)) == 0
