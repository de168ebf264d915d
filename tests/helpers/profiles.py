"""How many examples the property tests try: a part of what each test says in `make check` and `make test`, far more at night.

Tests give a count (`@settings(max_examples=60)`); the profile scales it. Pick one by `--hypothesis-profile`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

FEWEST = 5


@dataclass(frozen=True)
class Profile:
    """`scale` times the examples that a test asks for; `repeatable` tries the same ones in every run."""

    scale: float
    repeatable: bool


PROFILES = {
    "check": Profile(0.25, repeatable=True),
    # The same examples every time: more of them would be tried hundreds of times before anybody sees others.
    "test": Profile(0.4, repeatable=True),
    # Other examples every night: a failure prints how to repeat it, and its example stays in .hypothesis/.
    "nightly": Profile(8.0, repeatable=False),
}
DEFAULT = "test"


def register_profiles() -> None:
    """Make the profiles known to hypothesis, which loads the one that `--hypothesis-profile` names."""
    for name, profile in PROFILES.items():
        settings.register_profile(
            name,
            deadline=None,  # machines are busy; pytest-timeout ends what hangs
            derandomize=profile.repeatable,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        )
    settings.load_profile(DEFAULT)


def apply_profile(items: Iterable[pytest.Item]) -> None:
    """Give every property test the number of examples and the randomness of the loaded profile, whatever its decorator says.

    Raises:
        RuntimeError: where hypothesis keeps the settings of a test elsewhere than this version does.
    """
    # With --hypothesis-verbosity, hypothesis makes a profile of its own out of the chosen one.
    profile = PROFILES[settings.get_current_profile_name().partition("-with-")[0]]
    done: set[int] = set()
    for item in items:
        function: Any = getattr(item, "obj", None)
        function = getattr(function, "__func__", function)
        if not getattr(function, "is_hypothesis_test", False) or id(function) in done:
            continue
        done.add(id(function))
        if not hasattr(function, "_hypothesis_internal_use_settings"):
            raise RuntimeError(
                f"{item.nodeid}: hypothesis keeps no settings there any more; see tests/helpers/profiles.py"
            )
        chosen: settings = function._hypothesis_internal_use_settings
        options: dict[str, Any] = {"max_examples": max(FEWEST, round(chosen.max_examples * profile.scale))}
        if not profile.repeatable:
            options |= {"derandomize": False, "database": settings.default.database}
        function._hypothesis_internal_use_settings = settings(chosen, **options)
