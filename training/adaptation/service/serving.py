"""Which bundle serves a machine's rule and where it lies: from the bundles given at start and the topic `models`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wheeltapper.schemas.adaptation import ActiveModel
from wheeltapper.schemas.machine_names import matches


@dataclass(frozen=True, slots=True)
class Serving:
    """A bundle in service.

    Attributes:
        route: machine id or pattern that it serves.
        bundle: its id; uri, sha256: where it lies, and of its manifest.json.
    """

    route: str
    rule: str
    bundle: str
    uri: str
    sha256: str


class ServingBook:
    """Finds a bundle by machine, rule and id."""

    def __init__(self, given: Sequence[Serving] = ()) -> None:
        """
        Args:
            given: bundles that the workers were started with.
        """
        self._given = tuple(given)
        self._models: dict[str, ActiveModel] = {}

    def take(self, model: ActiveModel) -> None:
        """Note a message of the topic `models`; the last of a key holds."""
        self._models.pop(model.key, None)
        self._models[model.key] = model

    def latest(self, key: str) -> ActiveModel | None:
        """The message that holds under a key."""
        return self._models.get(key)

    def find(self, machine: str, rule: str, bundle: str) -> Serving | None:
        """The bundle of this id that serves the machine, the newest first; None where it is not known."""
        for model in reversed(self._models.values()):
            if model.bundle == bundle and model.mode != "shadow" and matches(model.route, machine):
                return Serving(model.route, model.rule or rule, bundle, model.uri, model.sha256)
        matching = [one for one in self._given if one.bundle == bundle and one.rule == rule]
        return next((one for one in matching if matches(one.route, machine)), None)
