"""The mean of log scores, from members that are fitted already."""

from __future__ import annotations

from collections.abc import Sequence

from wheeltapper.models.log_mean.fitted import FittedLogMean, Member
from wheeltapper.models.log_mean.graph import build_graph
from wheeltapper.models.log_mean.settings import LogMeanSettings


class LogMean(FittedLogMean):
    """A fitted mean of log scores; a `wheeltapper.models.fitted.FittedDetector`."""

    def onnx_bytes(self) -> bytes:
        return build_graph(self)

    def build_torchscript(self) -> bytes:
        from wheeltapper.models.log_mean.torchscript import build_torchscript

        return build_torchscript(self)


def join_members(
    members: Sequence[Member], settings: LogMeanSettings, channels: int, warnings: Sequence[str] = ()
) -> LogMean:
    """One detector of several.

    Args:
        members: fitted on the same rows; at least one, without a lag.
        warnings: what to say besides the members' own.

    Raises:
        ValueError: no member, or one whose score belongs to an earlier row than its window's last.
    """
    if not members or any(member.fitted.lag for member in members):
        raise ValueError("the mean of log scores needs members, and all must score their window's last row")
    own = [f"{member.fitted.detector}: {text}" for member in members for text in member.fitted.warnings]
    return LogMean(settings=settings, members=tuple(members), width=channels, warnings=(*warnings, *own))
