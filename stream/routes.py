"""Which bundles score which machines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from wheeltapper.schemas.bundle import Bundle, Graph
from wheeltapper.schemas.bundle.normal_blocks import check_tables
from wheeltapper.schemas.bundle.remote import is_uri
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.machine_names import is_pattern
from wheeltapper.stream.bundle_gate import open_trusted
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.kinds import KINDS
from wheeltapper.stream.kinds.contract import Route, Routes
from wheeltapper.stream.kinds.joint.kind import joint_route
from wheeltapper.stream.settings import RouteSetting, Settings

log = structlog.get_logger(__name__)


def load_routes(words: Sequence[str], settings: Settings) -> Routes:
    """Open, check and warm up the bundles named as `[MACHINE-PATTERN=]BUNDLE`, and those of [routes].

    Bundles under the same pattern score the same machines side by side. A bundle is loaded once, however many routes name it.

    Raises:
        InputError: a bundle that is refused, or bundles of one pattern whose channels differ.
    """
    given = _given(words, settings)
    if not given:
        raise InputError(
            "no bundle given; name at least one with --bundle [MACHINE-PATTERN=]BUNDLE, or in [routes] of the settings file"
        )
    opened = _Opened(settings)
    by_route: dict[tuple[str, str], list[_Loaded]] = {}
    for pattern, route in given.items():
        for location in route.bundles:
            loaded = opened.bundle(location)
            by_route.setdefault((pattern, loaded.bundle.manifest.kind), []).append(loaded)
    # Names are more specific than any pattern, '*' is the least.
    ordered = sorted(
        by_route,
        key=lambda key: (is_pattern(key[0]) and not given[key[0]].exact, key[0] == "*", -len(key[0])),
    )
    routes = [_build_route(pattern, given[pattern], kind, by_route[pattern, kind], opened) for pattern, kind in ordered]
    if settings.joint.enabled:
        routes.append(joint_route(settings))
    return Routes(routes)


def split_route(word: str) -> tuple[str, str]:
    """`pump-*=bundles/pumps` -> ('pump-*', 'bundles/pumps'); a URI or an existing path stands alone, for every machine: '*'.

    Ids may hold '=': of several readings the one whose bundle exists is taken.
    """
    pattern, equals, location = word.partition("=")
    if not equals or is_uri(word) or os.path.exists(word):  # unlike Path.exists it takes names of any length
        return "*", word
    places = [place for place, character in enumerate(word) if character == "=" and 0 < place < len(word) - 1]
    for place in places:
        if is_uri(word[place + 1 :]) or os.path.exists(word[place + 1 :]):
            return word[:place], word[place + 1 :]
    if not pattern or not location:
        raise InputError(f"--bundle '{word}': expected [MACHINE-PATTERN=]BUNDLE, e.g. 'pump-*=bundles/pumps'")
    return pattern, location


def open_rule(name: str, bundle: Bundle, settings: Settings) -> RuleSpec:
    """A rule whose graph is checked and warmed up.

    Raises:
        InputError: the graph disagrees with the bundle, or cannot run here.
    """
    return _rule(name, bundle, _open_graph(bundle, settings), settings)


@dataclass
class _Loaded:
    """A bundle in memory, and its graph once a rule asked for it."""

    bundle: Bundle
    graph: Graph | None = None


class _Opened:
    """Each bundle and each rule once, however many routes name them: machines of several routes then share what scores them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bundles: dict[str, _Loaded] = {}
        self._rules: dict[tuple[int, str], RuleSpec] = {}

    def bundle(self, location: str) -> _Loaded:
        place = location if is_uri(location) else os.path.realpath(location)
        if place not in self._bundles:
            self._bundles[place] = _Loaded(open_trusted(location, self._settings, at_start=True))
        return self._bundles[place]

    def rule(self, name: str, loaded: _Loaded) -> RuleSpec:
        key = (id(loaded), name)
        if key not in self._rules:
            loaded.graph = loaded.graph or _open_graph(loaded.bundle, self._settings)
            self._rules[key] = _rule(name, loaded.bundle, loaded.graph, self._settings)
        return self._rules[key]


def _given(words: Sequence[str], settings: Settings) -> dict[str, RouteSetting]:
    """Machine or pattern -> what serves it: [routes], then what the command line adds."""
    given = dict(settings.routes)
    for word in words:
        pattern, location = split_route(word)
        before = given.get(pattern)
        given[pattern] = (
            RouteSetting(bundles=(location,))
            if before is None
            else before.model_copy(update={"bundles": (*before.bundles, location)})
        )
    return given


def _open_graph(bundle: Bundle, settings: Settings) -> Graph:
    graph = bundle.open_graph(
        device=settings.scoring.device,
        threads=settings.scoring.threads,
        timeout_s=settings.bundles.load_timeout_s,
        warm_up=True,
    )
    check_tables(bundle)  # behind the graph, which says whether the manifest's window is one
    return graph


def _rule(name: str, bundle: Bundle, graph: Graph, settings: Settings) -> RuleSpec:
    name_of_setting, wanted = KINDS[bundle.manifest.kind].stride(bundle.manifest, settings)
    if wanted is not None and wanted != bundle.manifest.stride:
        log.warning(
            f"{name_of_setting} differs from the bundle's: its alarm level was chosen for another number of windows a day",
            bundle=bundle.manifest.bundle_id,
            setting=wanted,
            calibrated_for=bundle.manifest.stride,
        )
    return RuleSpec(name, bundle, graph, wanted or bundle.manifest.stride)


def _build_route(pattern: str, given: RouteSetting, kind: str, bundles: Sequence[_Loaded], opened: _Opened) -> Route:
    rules: list[RuleSpec] = []
    detectors = [loaded.bundle.manifest.detector for loaded in bundles]
    for loaded in bundles:
        bundle = loaded.bundle
        manifest = bundle.manifest
        name = manifest.detector if detectors.count(manifest.detector) == 1 else manifest.bundle_id
        if any(rule.name == name for rule in rules):
            raise InputError(f"{bundle.location} is named twice for machines '{pattern}'; name it once")
        if kind not in KINDS:
            raise InputError(f"{bundle.location}: is a bundle for {kind}, expected one for {' or '.join(KINDS)}")
        rules.append(opened.rule(name, loaded))
    return Route(
        pattern,
        tuple(rules),
        KINDS[kind],
        KINDS[kind].layout(pattern, rules),
        exact=given.exact,
        area=given.area,
        asset=given.asset,
    )
