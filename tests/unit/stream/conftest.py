"""Routes over tiny bundles, opened once for all tests of the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.stream.bundles import Recipe, write_bundle
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

OpenRoutes = Callable[..., Routes]


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged meanwhile; kept from the terminal."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Path]:
    """Recipe -> folder of its bundle."""
    written: dict[Recipe, Path] = {}

    def path_of(recipe: Recipe) -> Path:
        if recipe not in written:
            written[recipe] = write_bundle(tmp_path_factory.mktemp("bundles"), recipe)
        return written[recipe]

    return path_of


@pytest.fixture(scope="session")
def open_routes(bundle_path: Callable[[Recipe], Path]) -> OpenRoutes:
    """Recipes of one pattern, and the settings -> Routes."""
    opened: dict[tuple[tuple[Recipe, ...], str, int | None], Routes] = {}

    def routes_of(
        recipes: Recipe | Sequence[Recipe] | None = None, settings: Settings | None = None, pattern: str = "*"
    ) -> Routes:
        recipes, settings = recipes or Recipe(), settings or Settings()
        chosen = (recipes,) if isinstance(recipes, Recipe) else tuple(recipes)
        key = (chosen, pattern, settings.windows.stride)
        if key not in opened:
            opened[key] = load_routes([f"{pattern}={bundle_path(recipe)}" for recipe in chosen], settings)
        return opened[key]

    return routes_of
