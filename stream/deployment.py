"""A deployment: which bundle serves a rule, on which machines, in which mode, and from which input offset on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from wheeltapper.schemas.adaptation import is_in_share
from wheeltapper.schemas.machine_names import matches

Mode: TypeAlias = Literal["shadow", "canary", "active", "retired", "no-shadow"]
MODES: tuple[Mode, ...] = ("shadow", "canary", "active", "retired", "no-shadow")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A change of what scores which machines.

    Attributes:
        rule: its name; a rule of the same name that serves a machine already is replaced, and its open alert goes on.
        machines: id or pattern (fnmatch) of the machines.
        kind: of input.
        mode: 'active'; 'canary': active on a share of the machines; 'shadow': scored beside, but raising no alert;
            'retired': the rule ends, and with it its open alerts; 'no-shadow': its shadow ends, the rule goes on.
        bundle: location of the bundle; empty where a rule or shadow ends.
        sha256: hex digest of the bundle's manifest.json; empty where a rule or shadow ends.
        share: of the machines, 0..1, by a hash of their ids (mode canary).
    """

    rule: str
    mode: Mode
    machines: str = "*"
    kind: str = "sensors"
    bundle: str = ""
    sha256: str = ""
    share: float = 1.0

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a field that does not fit.
        """
        texts = (self.rule, self.mode, self.machines, self.kind, self.bundle, self.sha256)
        if not all(isinstance(each, str) for each in texts) or isinstance(self.share, bool | str):
            raise ValueError(f"fields of other types: {texts}, share {self.share!r}")
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}, expected one of {', '.join(MODES)}")
        if not self.rule or not self.machines:
            raise ValueError("a deployment names a rule and machines")
        if (self.mode in ("retired", "no-shadow")) != (not self.bundle):
            raise ValueError(
                f"mode is '{self.mode}' and bundle is {self.bundle!r}: a bundle is named unless a rule or shadow ends"
            )
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}, expected 0 to 1")

    @property
    def slot(self) -> str:
        """Which place among a machine's rules it takes: a shadow stands beside the rule that serves."""
        return shadow_slot(self.rule) if self.mode in ("shadow", "no-shadow") else self.rule

    @property
    def place(self) -> tuple[str, str, str, bool]:
        """What a later deployment of the same place replaces: a canary, on its share of the machines, replaces nothing."""
        return self.kind, self.machines, self.slot, self.mode == "canary"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def covers(self, machine: str) -> bool:
        """True where it holds for this machine."""
        if not matches(self.machines, machine):
            return False
        return self.mode != "canary" or is_in_share(self.rule, machine, self.share)


@dataclass(frozen=True, slots=True)
class InForce:
    """A deployment and the input offset of one partition from which it holds."""

    since: int
    deployment: Deployment

    @staticmethod
    def from_json(fields: dict[str, Any]) -> InForce:
        """From the state record of a version that knew deployments alone.

        Raises:
            LookupError, TypeError, ValueError: it cannot be read.
        """
        values = dict(fields)
        return InForce(int(values.pop("since")), Deployment(**values))


def shadow_slot(rule: str) -> str:
    """Name among a machine's rules of the shadow beside `rule`."""
    return f"shadow:{rule}"
