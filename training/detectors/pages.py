"""What the documents say of detectors, from their specs: `python -m wheeltapper.training.detectors.pages` writes it into them.

In a document, what lies between `<!-- generated: NAME -->` and `<!-- end of generated -->` is made here; the rest is written by
hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from wheeltapper.models.settings import Setting, text_of
from wheeltapper.training.detectors.registry import DETECTORS
from wheeltapper.training.fitting.spec import DetectorSpec

Specs = Mapping[str, DetectorSpec[Any]]

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "docs/detectors.md")
_REGION = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- end of generated -->)", re.DOTALL)


def overview(specs: Specs) -> str:
    """The table of README.md: what there is, and what its training needs."""
    rows = [
        (f"`{spec.name}`" + (" (default)" if number == 0 else ""), spec.summary, _needs(spec))
        for number, spec in enumerate(specs.values())
    ]
    return _table(("detector", "what it is", "needs to train"), rows)


def detectors(specs: Specs) -> str:
    """The table of docs/detectors.md: which to choose."""
    rows = [
        (
            f"[`{spec.name}`](#{_anchor(spec.title)})",
            f"{spec.watches}; see `models/{spec.folder}/README.md`",
            spec.trains_in,
            f"`wheeltapper[{spec.extra}]`",
            spec.choose_it,
        )
        for spec in specs.values()
    ]
    return _table(("detector", "what it watches", "trains in", "needs", "choose it"), rows)


def settings(specs: Specs) -> str:
    """One section a detector: its presets, and every setting with default, range and meaning."""
    return "\n".join(_section(spec) for spec in specs.values())


def of_kind(kind: str, table: Callable[[Specs], str]) -> Callable[[Specs], str]:
    """A table of the detectors that take one kind of input."""
    return lambda specs: table({name: spec for name, spec in specs.items() if spec.kind == kind})


REGIONS: dict[str, Callable[[Specs], str]] = {
    "overview": of_kind("sensors", overview),
    "detectors": of_kind("sensors", detectors),
    "settings": of_kind("sensors", settings),
    "sound-detectors": of_kind("audio", detectors),
    "sound-settings": of_kind("audio", settings),
}


def current(text: str, specs: Specs = DETECTORS) -> str:
    """A document with everything generated made anew.

    Raises:
        KeyError: a region that nothing makes.
    """
    return _REGION.sub(lambda found: f"{found[1]}\n{REGIONS[found[2]](specs)}\n{found[4]}", text)


def _section(spec: DetectorSpec[Any]) -> str:
    lines = [
        f"### {spec.title}",
        "",
        f"`{spec.name}` watches {spec.watches}. Formulas, numbers, blind spots: `models/{spec.folder}/README.md`.",
        "",
    ]
    if spec.preset_names:
        default, *_ = spec.preset_names
        for name in spec.preset_names:
            known = " (default)" if name == default else ""
            lines.append(f"- `preset={name}`{known}: {spec.presets[name].description}.")
        lines.append("")
    others = [name for name in spec.preset_names if name != next(iter(spec.presets))]
    head = ["setting", "default", *(f"`preset={name}`" for name in others)]
    if spec.published:
        head.append("published")
    rows = []
    for setting, part in (
        *((setting, "settings") for setting in spec.own_settings),
        *((setting, "trainer") for setting in spec.trainer_settings),
    ):
        default = _value(spec.default, part, setting)
        cells = [f"`{setting.name}`", default]
        cells += ["" if (value := _value(spec.presets[name], part, setting)) == default else value for name in others]
        if spec.published:
            cells.append(spec.published.get(setting.name, ""))
        rows.append((*cells, setting.expected, setting.description))
    return "\n".join(lines) + "\n" + _table((*head, "takes", "meaning"), rows)


def _value(preset: Any, part: str, setting: Setting) -> str:
    return text_of(getattr(getattr(preset, part), setting.name)) or "empty"


def _needs(spec: DetectorSpec[Any]) -> str:
    if spec.extra == "training":
        return "torch"
    return "numpy, onnx" if spec.edge else "scikit-learn"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main() -> None:
    """Write the documents of the checkout."""
    for name in DOCUMENTS:
        path = CHECKOUT / name
        path.write_text(current(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
