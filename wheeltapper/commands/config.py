"""`wheeltapper config check|show`: are the settings right, and which are in force."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wheeltapper.command_line import RawFormatter
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import counted, did_you_mean, first_names

if TYPE_CHECKING:
    from wheeltapper.stream.settings import Settings
    from wheeltapper.stream.settings.origins import InForceSetting

EPILOG = """
examples:
  wheeltapper config check --config worker.toml             settings, bundles of [routes], certificates, calendar
  wheeltapper config check --config worker.toml --connect   and that the brokers answer and have the topics
  wheeltapper config show --config worker.toml              what differs from the defaults, and where it comes from
  wheeltapper config show threshold --all                   every setting of a section
  wheeltapper config show kafka.brokers                     one setting

What show prints is TOML; passwords are left out. Exit code of check: 0 all is well, 2 something is not.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    parser.add_argument(
        "action",
        choices=("check", "show"),
        metavar="check|show",
        help="check: say what is wrong before a worker does; show: print the settings in force",
    )
    parser.add_argument("name", nargs="?", metavar="SECTION[.KEY]", help="show: only these (default: all sections)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings (default: none)")
    parser.add_argument("--all", action="store_true", help="show: defaults too")
    parser.add_argument("--connect", action="store_true", help="check: ask the brokers, too")


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: what is wrong with the settings."""
    from wheeltapper.stream.settings import load_settings

    for option, action in (("all", "show"), ("connect", "check"), ("name", "show")):
        if getattr(arguments, option) and arguments.action != action:
            said = f"'{arguments.name}'" if option == "name" else f"--{option}"
            hint = f"; a file is named by --config {arguments.name}" if option == "name" else ""
            raise InputError(f"{said} goes with {action}, not with {arguments.action}{hint}")
    if arguments.action == "show":
        return _show(arguments.config, arguments.name, everything=arguments.all)
    settings = load_settings(arguments.config)
    found = check(settings, connect=arguments.connect)
    print(f"{arguments.config or 'no settings file'}: {'; '.join(found)}")
    return 0


def check(settings: Settings, *, connect: bool = False) -> list[str]:
    """All that a worker would refuse at its start, without starting one; returns what was found to be well.

    Raises:
        InputError: the first thing that is not.
    """
    from wheeltapper.stream.maintenance import maintenance_sources
    from wheeltapper.stream.settings import confluent_config

    said = ["settings are well"]
    confluent_config(settings.kafka)
    maintenance_sources(settings.maintenance)
    if settings.maintenance.calendar is not None:
        said.append(f"calendar {settings.maintenance.calendar} is read")
    if settings.routes:
        from wheeltapper.stream.routes import load_routes

        routes = load_routes((), settings)
        bundles = {rule.manifest.bundle_id for rule in routes.rules}
        said.append(
            f"{counted(len(settings.routes), 'route')} to {counted(len(bundles), 'bundle')}, loaded: {first_names(sorted(bundles))}"
        )
    else:
        said.append("no [routes]: bundles are named by the worker's --bundle")
    if connect:
        said += _ask_brokers(settings)
    return said


def _ask_brokers(settings: Settings) -> list[str]:
    from wheeltapper.kafka_admin import connect, describe_topics

    states = describe_topics(connect(settings), settings)
    missing = [state.name for state in states if state.partitions is None]
    for state in states:
        for difference in state.config_differences():
            print(f"wheeltapper: {state.name} {difference}", file=sys.stderr)
    said = [f"{settings.kafka.brokers} answers"]
    if missing:
        said.append(
            f"{len(missing)} topics are missing, which a worker or 'wheeltapper topics create' makes: {first_names(missing)}"
        )
    else:
        said.append(f"all {len(states)} topics are there")
    return said


def _show(config: Path | None, name: str | None, *, everything: bool) -> int:
    from wheeltapper.stream.settings.origins import settings_in_force

    found = list(settings_in_force(config))
    chosen = _chosen(found, name)
    if not everything and not (name and "." in name):
        chosen = [setting for setting in chosen if setting.origin != "default"]
    if not chosen:
        print(f"# all of {f'[{name}]' if name else 'it'} is as by default; --all shows it")
        return 0
    section = None
    width = min(60, max(len(setting.line) for setting in chosen))
    for setting in chosen:
        if setting.section != section:
            print(("" if section is None else "\n") + f"[{setting.section}]")
            section = setting.section
        print(f"{setting.line:{width}}  # {setting.origin}")
    return 0


def _chosen(found: list[InForceSetting], name: str | None) -> list[InForceSetting]:
    if name is None:
        return found
    from wheeltapper.stream.settings import Settings

    chosen = [setting for setting in found if name in (setting.section, setting.name)]
    if chosen or name in Settings.model_fields:
        return chosen
    known = [*Settings.model_fields, *(setting.name for setting in found)]
    raise InputError(
        f"no section or setting '{name}'; sections are {', '.join(Settings.model_fields)}{did_you_mean(name, known)}"
    )
