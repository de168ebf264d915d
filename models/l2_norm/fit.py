"""L2 norm: the length of the standardised row. Baseline: a detector that scores below this adds nothing. numpy alone,
deterministic.

z = clip((x - mean) / std, -clip, clip)
contribution_c = sum over the window's rows of w_i z_ic^2, w_i ~ 0.5^((W - 1 - i) / half_life), sum 1
score = sqrt(sum of the contributions)
expected = mean, raw units;  embedding = z of the last row
"""

from __future__ import annotations

from collections.abc import Sequence

from wheeltapper.models.l2_norm.fitted import FittedL2Norm
from wheeltapper.models.l2_norm.graph import build_graph
from wheeltapper.models.l2_norm.settings import L2NormSettings
from wheeltapper.models.row_scaling import fit_row_scaling
from wheeltapper.models.training_rows import TrainingRows


class L2Norm(FittedL2Norm):
    """Fitted L2 norm; a `wheeltapper.models.fitted.FittedDetector`."""

    def onnx_bytes(self) -> bytes:
        return build_graph(self)

    def build_torchscript(self) -> bytes:
        from wheeltapper.models.l2_norm.torchscript import build_torchscript

        return build_torchscript(self)


def fit_l2_norm(
    rows: TrainingRows, settings: L2NormSettings | None = None, *, channels: Sequence[str] | None = None
) -> L2Norm:
    """Fit on normal rows.

    Args:
        channels: C names, for warnings.
    """
    settings = settings or L2NormSettings()
    scaling = fit_row_scaling(rows, settings.scale)
    found = [
        "channels are judged one by one and by their level alone: a changed pattern within the usual range is not seen"
    ]
    if constant := scaling.constant_names(channels):
        found.append(f"constant in training, so the scale of their change is a guess: {constant}")
    return L2Norm(settings=settings, scaling=scaling, warnings=tuple(found))
