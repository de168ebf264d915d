"""Imports Faust without the libraries that it loads for parts which a worker does not use: half of what it costs to import.

Faust names aiohttp's client in its types (the worker runs no web server and no web client), croniter for agents that run by a timetable
(there are none), and takes yaml for messages where it is installed. Each of them can be imported as ever afterwards.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import faust
    from faust.types import TopicT

# What the runner uses of Faust, which loads its parts as they are first named.
MODULES = ("faust", "faust.types.web", "faust.app", "faust.serializers.codecs", "faust.transport.drivers.aiokafka")
# Module -> the name that Faust, or mode beneath it, takes from it while it is imported.
NAMED = {"aiohttp.client": "ClientSession", "croniter.croniter": "croniter"}
# Modules that Faust does without where they are not installed.
OPTIONAL = ("yaml",)


def import_faust() -> None:
    """Load it; without effect where it is loaded already."""
    if "faust" in sys.modules:
        return
    absent = _stand_ins()
    absent = {name: module for name, module in absent.items() if name not in sys.modules}
    sys.modules.update(absent)  # type: ignore[arg-type]
    try:
        for name in MODULES:
            importlib.import_module(name)
    finally:
        for name in absent:
            del sys.modules[name]


class NoHttpClient:
    """Given to an app as its HTTP client: its settings would load aiohttp for the usual one, and there is nothing to ask by HTTP."""


def make_no_folders(app: faust.App) -> None:
    """Keep an app from making its folders: tables would lie there, and there are none. So no disk that is full or read-only keeps it
    from starting."""
    app._create_directories = _nothing


def _nothing() -> None: ...


def add_agent(app: faust.App, topic: TopicT, function: Callable[[Any], Any], *, name: str) -> None:
    """Adds an agent as `app.agent(topic)` does, but to no catalogue for `autodiscover`, which would find out the file of every module."""
    agent = app.conf.Agent(function, name=name, app=app, channel=topic, on_error=app._on_agent_error)
    app.agents[name] = agent
    app.topics.beacon.add(agent)


def _stand_ins() -> Mapping[str, ModuleType | None]:
    """Module -> what stands for it: one with the name that is asked for, None for one that is not installed."""
    found: dict[str, ModuleType | None] = dict.fromkeys(OPTIONAL)
    for path, name in NAMED.items():
        module = ModuleType(path)
        setattr(module, name, type(name, (), {}))
        found[path] = module
        found[path.partition(".")[0]] = ModuleType(path.partition(".")[0])
    return found
