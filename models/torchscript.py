"""A torch module as TorchScript bytes that are the same for the same module, wherever they were written."""

from __future__ import annotations

import warnings
import zipfile
from io import BytesIO

import torch


def script_bytes(module: torch.nn.Module) -> bytes:
    """Compile a module by `torch.jit.script` and return its archive.

    The module's class must live at the top of a Python module: torch gives a class made twice a new name each time.
    """
    with warnings.catch_warnings():
        # torch calls TorchScript legacy at every use; libtorch's users still ask for it.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        raw = BytesIO()
        torch.jit.save(torch.jit.script(module.eval()), raw)
    return _without_origin(raw.getvalue())


def traced_bytes(module: torch.nn.Module, example: torch.Tensor) -> bytes:
    """Trace a module, e.g. one that calls others that were compiled before, and return its archive.

    Args:
        example: an input; its first axis may have any length later.
    """
    with warnings.catch_warnings(), torch.no_grad():
        # torch calls TorchScript legacy at every use, and tells of everything that a trace holds fast.
        warnings.simplefilter("ignore")
        raw = BytesIO()
        torch.jit.save(torch.jit.trace(module.eval(), (example,), check_trace=False), raw)
    return _without_origin(raw.getvalue())


def _without_origin(archive: bytes) -> bytes:
    """The same archive without what tells where and when it was made: paths in debug tables, a serialization id."""
    stripped = BytesIO()
    with zipfile.ZipFile(BytesIO(archive)) as source, zipfile.ZipFile(stripped, "w", zipfile.ZIP_STORED) as target:
        for info in source.infolist():
            if not info.filename.endswith((".debug_pkl", "/.data/serialization_id")):
                # A fresh entry has a fixed date; torch reads stored entries only.
                target.writestr(zipfile.ZipInfo(info.filename), source.read(info))
    return stripped.getvalue()
