"""The TorchScript twin of the mean of log scores, for programs that embed libtorch; the only file here that knows torch."""

from __future__ import annotations

import math
from io import BytesIO

import torch

from wheeltapper.models.log_mean.fitted import FittedLogMean, Member
from wheeltapper.models.log_mean.graph import TINIEST_SUM
from wheeltapper.models.torchscript import script_bytes


def build_torchscript(fitted: FittedLogMean) -> bytes:
    """forward(window [N, W, C] float32) -> (score [N], contribution [N, C], expected [N, C], embedding [N, D])."""
    return script_bytes(LogMeanTwin(fitted))


class LogMeanTwin(torch.nn.Module):
    """The formulas of `graph`, around the members' own twins."""

    def __init__(self, fitted: FittedLogMean) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList([MemberTwin(member, fitted.settings.offset) for member in fitted.members])

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        logs: list[torch.Tensor] = []
        contributions: list[torch.Tensor] = []
        expected: list[torch.Tensor] = []
        embeddings: list[torch.Tensor] = []
        for member in self.members:
            log, contribution, wanted, embedding = member(window)
            logs.append(log)
            contributions.append(contribution)
            expected.append(wanted)
            embeddings.append(embedding)
        return torch.stack(logs).mean(dim=0), torch.stack(contributions).mean(dim=0), expected[0], embeddings[0]


class MemberTwin(torch.nn.Module):
    """One member's log score and weighted shares."""

    def __init__(self, member: Member, offset: float) -> None:
        super().__init__()
        twin = member.fitted.torchscript_bytes()
        assert twin is not None  # torch is there, or this module could not have been imported
        self.twin = torch.jit.load(BytesIO(twin))
        self.rows: int = member.fitted.window
        self.center: float = member.center
        self.gain: float = 1.0 / (member.level - member.center)
        self.offset: float = offset
        self.least: float = math.log(offset)
        self.tiniest: float = TINIEST_SUM

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        score, contribution, expected, embedding = self.twin(window[:, -self.rows :])
        log = torch.log(torch.clamp((score - self.center) * self.gain, min=0.0) + self.offset)
        share = contribution / torch.clamp(contribution.sum(dim=1, keepdim=True), min=self.tiniest)
        return log, share * (log - self.least).unsqueeze(1), expected, embedding
