"""What README and docs say of detectors is what their specs say, and each setting is named somewhere."""

from __future__ import annotations

import pytest

from wheeltapper.training.detectors.pages import CHECKOUT, DOCUMENTS, REGIONS, current
from wheeltapper.training.detectors.registry import DETECTORS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_documents_are_made_from_the_present_specs(name: str) -> None:
    # given a document, when its generated parts are made anew: then nothing changes
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    assert text == current(text), "run: python -m wheeltapper.training.detectors.pages"


def test_every_generated_part_has_a_place() -> None:
    texts = [(CHECKOUT / name).read_text(encoding="utf-8") for name in DOCUMENTS]
    assert {region for region in REGIONS if any(f"<!-- generated: {region} -->" in text for text in texts)} == set(
        REGIONS
    )


@pytest.mark.parametrize("detector", DETECTORS)
def test_every_setting_is_described_in_the_docs(detector: str) -> None:
    # given the section of a detector
    spec = DETECTORS[detector]
    text = (CHECKOUT / "docs" / "detectors.md").read_text(encoding="utf-8")
    section = text.split(f"\n### {spec.title}\n")[1].split("\n### ")[0]
    # then each setting has a row with its meaning, and each preset a line
    rows = {line.split("`")[1]: line for line in section.splitlines() if line.startswith("| `")}
    described = {setting.name: setting.description for setting in (*spec.own_settings, *spec.trainer_settings)}
    assert rows.keys() == described.keys()
    assert [name for name, meaning in described.items() if meaning not in rows[name]] == []
    assert [name for name in spec.preset_names if f"- `preset={name}`" not in section] == []


@pytest.mark.parametrize("detector", DETECTORS)
def test_what_authors_use_is_told_of_settings_that_there_are(detector: str) -> None:
    assert set(DETECTORS[detector].published) <= set(DETECTORS[detector].setting_names)
