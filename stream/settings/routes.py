"""The [routes]: machine or pattern -> the bundles that serve it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from wheeltapper.stream.settings.connection import Section


class RouteSetting(Section):
    """What serves the machines of one name or pattern; a text alone is one bundle, a list several."""

    bundles: tuple[str, ...] = Field(
        min_length=1, description="folders, .zip files or URIs; several score side by side, each with alerts of its own"
    )
    area: str = Field(
        default="", description="where the machines stand, outermost first, e.g. 'hall 2/line 1'; alerts carry it"
    )
    asset: str = Field(
        default="",
        description="their name in the asset register, in which {machine} stands for the machine's id; alerts carry it",
    )
    exact: bool = Field(
        default=False, description="the name is one machine's, and no pattern although it holds *, ? or ["
    )

    @model_validator(mode="before")
    @classmethod
    def _from_short_forms(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"bundles": (given,)}
        if isinstance(given, list | tuple):
            return {"bundles": given}
        if isinstance(given, dict) and isinstance(given.get("bundles"), str):
            return {**given, "bundles": (given["bundles"],)}
        return given
