"""docs/settings.md, from the settings themselves: `python -m wheeltapper.stream.settings_page > docs/settings.md`."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from wheeltapper.stream.settings import ENVIRONMENT_PREFIX, RouteSetting, Settings

HEAD = """# Settings of the worker

One TOML file (`--config FILE`) plus variables; a variable wins over the file, an option of the command over both. An
unknown key is an error that names the nearest known one. Every client takes its `[kafka]` and `[topics]` from here.

    [threshold]                                      # in the file
    method = "spot"

    {prefix}THRESHOLD__METHOD=spot               # as a variable
    {prefix}INPUT__RENAME='{{"TT-101" = "temperature"}}'   # a table, as TOML

This page is made by `python -m wheeltapper.stream.settings_page > docs/settings.md`.
"""

# What [routes] looks like.
ROUTES = """ A name that is a machine's own goes before
every pattern, a longer pattern before a shorter one. `--bundle` adds to them. Paths are those of the worker's working directory.

    [routes]
    "pump-*" = "bundles/pumps"                                        # one bundle
    "fan-*" = ["bundles/fans", "bundles/fans-sound"]                  # several, side by side
    "line=1;press[3]" = { bundles = "bundles/press", exact = true }   # one machine, whatever characters its id has
    "mill-*" = { bundles = "bundles/mills", area = "hall 2/line 1", asset = "M-{machine}" }

As a variable the whole table is one: `WHEELTAPPER_ROUTES='{"pump-*" = "bundles/pumps"}'`.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD.format(prefix=ENVIRONMENT_PREFIX)]
    for section, field in Settings.model_fields.items():
        if section == "routes":
            parts.append(_routes(field))
            continue
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        parts.append(f"\n## [{section}]\n\n{_first_line(model)}| setting | default | meaning |\n|---|---|---|\n")
        parts += [_row(name, setting) for name, setting in model.model_fields.items()]
    return "".join(parts)


def _routes(field: FieldInfo) -> str:
    """[routes] has no settings of its own: its keys are machines, and what each may say is a table."""
    rows = "".join(_row(name, setting) for name, setting in RouteSetting.model_fields.items())
    return f"\n## [routes]\n\n{field.description}.{ROUTES}\n| of one route | default | meaning |\n|---|---|---|\n{rows}"


def _first_line(model: type[BaseModel]) -> str:
    # Pydantic gives its own docstring to models without one.
    text = (model.__doc__ or "").strip().splitlines()
    return f"{text[0]}\n\n" if text and model.__doc__ is not BaseModel.__doc__ else ""


def _row(name: str, setting: FieldInfo) -> str:
    default = setting.get_default(call_default_factory=True)
    shown = (
        "needed"
        if setting.is_required()
        else "none"
        if default is None
        else f"`{str(default).lower() if isinstance(default, bool) else default!r}`"
    )
    kinds = _kinds(setting)
    meaning = (setting.description or "").replace("|", "\\|").replace("*", "\\*")
    text = "; ".join(part for part in (meaning, kinds) if part)
    return f"| `{name}` | {shown} | {text} |\n"


def _kinds(setting: FieldInfo) -> str:
    choices = getattr(setting.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return "one of " + ", ".join(f"`{choice}`" for choice in choices)
    return ""


if __name__ == "__main__":
    print(page(), end="")
