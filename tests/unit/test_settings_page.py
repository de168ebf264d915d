"""docs/settings.md says what the settings are now."""

from __future__ import annotations

from pathlib import Path

from wheeltapper.stream.settings_page import page

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_made_from_the_present_settings() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run: python -m wheeltapper.stream.settings_page > docs/settings.md"
    )
