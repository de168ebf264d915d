"""Which bundles score which machines."""

from __future__ import annotations

import os
from collections.abc import Sequence

import structlog

from wheeltapper.schemas.bundle import Bundle, open_bundle
from wheeltapper.schemas.bundle.remote import is_uri
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.kinds import KINDS
from wheeltapper.stream.kinds.contract import Route, Routes
from wheeltapper.stream.kinds.joint.kind import joint_route
from wheeltapper.stream.settings import Settings

log = structlog.get_logger(__name__)


def load_routes(words: Sequence[str], settings: Settings) -> Routes:
    """Open, check and warm up the bundles named as `[MACHINE-PATTERN=]BUNDLE`.

    Bundles under the same pattern score the same machines side by side.

    Raises:
        InputError: a bundle that is refused, or bundles of one pattern whose channels differ.
    """
    if not words:
        raise InputError("no bundle given; name at least one with --bundle [MACHINE-PATTERN=]BUNDLE")
    by_route: dict[tuple[str, str], list[Bundle]] = {}
    for word in words:
        pattern, location = split_route(word)
        bundle = open_bundle(location, cache=settings.control.cache_folder)
        by_route.setdefault((pattern, bundle.manifest.kind), []).append(bundle)
    # Patterns without wildcards are more specific than any other, '*' is the least.
    ordered = sorted(by_route, key=lambda route: (any(c in route[0] for c in "*?["), route[0] == "*", -len(route[0])))
    routes = [_build_route(pattern, kind, by_route[pattern, kind], settings) for pattern, kind in ordered]
    if settings.joint.enabled:
        routes.append(joint_route(settings))
    return Routes(routes)


def split_route(word: str) -> tuple[str, str]:
    """`pump-*=bundles/pumps` -> ('pump-*', 'bundles/pumps'); a URI or an existing path stands alone, for every machine: '*'."""
    pattern, equals, location = word.partition("=")
    if not equals or is_uri(word) or os.path.exists(word):  # unlike Path.exists it takes names of any length
        return "*", word
    if not pattern or not location:
        raise InputError(f"--bundle '{word}': expected [MACHINE-PATTERN=]BUNDLE, e.g. 'pump-*=bundles/pumps'")
    return pattern, location


def open_rule(name: str, bundle: Bundle, settings: Settings) -> RuleSpec:
    """A rule whose graph is checked and warmed up.

    Raises:
        InputError: the graph disagrees with the bundle, or cannot run here.
    """
    graph = bundle.open_graph(device=settings.scoring.device, threads=settings.scoring.threads)
    graph.warm_up()
    name_of_setting, wanted = KINDS[bundle.manifest.kind].stride(bundle.manifest, settings)
    if wanted is not None and wanted != bundle.manifest.stride:
        log.warning(
            f"{name_of_setting} differs from the bundle's: its alarm level was chosen for another number of windows a day",
            bundle=bundle.manifest.bundle_id,
            setting=wanted,
            calibrated_for=bundle.manifest.stride,
        )
    return RuleSpec(name, bundle, graph, wanted or bundle.manifest.stride)


def _build_route(pattern: str, kind: str, bundles: Sequence[Bundle], settings: Settings) -> Route:
    rules: list[RuleSpec] = []
    detectors = [bundle.manifest.detector for bundle in bundles]
    for bundle in bundles:
        manifest = bundle.manifest
        name = manifest.detector if detectors.count(manifest.detector) == 1 else manifest.bundle_id
        if any(rule.name == name for rule in rules):
            raise InputError(f"--bundle: {bundle.location} is named twice for machines '{pattern}'; name it once")
        if kind not in KINDS:
            raise InputError(f"{bundle.location}: is a bundle for {kind}, expected one for {' or '.join(KINDS)}")
        rules.append(open_rule(name, bundle, settings))
    return Route(pattern, tuple(rules), KINDS[kind], KINDS[kind].layout(pattern, rules))
