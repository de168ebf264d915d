"""Which bundle serves which machine, and which bundles are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.stream.bundles import Recipe, files_of, graph_of, manifest_of
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import MINUTE, START, block_of, feed, message_of, parsed, scores_of
from wheeltapper.schemas.bundle import write_bundle_folder
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream import routes as routes_module
from wheeltapper.stream.core.calibration import LARGEST_SCORE
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.routes import load_routes, split_route
from wheeltapper.stream.settings import Settings, WindowSettings

BundlePath = Callable[[Recipe], Path]

PRESS, FAN, ANY = (Recipe(detector=name) for name in ("press", "fan", "any"))


def refusal(*words: str) -> str:
    with pytest.raises(InputError) as caught:
        load_routes(words, Settings())
    text = str(caught.value)
    assert "\n" not in text
    return text


# -- patterns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "detector"),
    [
        ("press-1", "exact"),
        ("press-12", "longest"),
        ("press-2", "press"),
        ("fan-1", "any"),
        ("x", "letter"),
        ("", "any"),
    ],
)
def test_the_most_specific_pattern_serves_a_machine(bundle_path: BundlePath, machine: str, detector: str) -> None:
    # given patterns that overlap, in an order that says nothing
    words = [("*", "any"), ("?", "letter"), ("press-*", "press"), ("press-1", "exact"), ("press-1?", "longest")]
    routes = load_routes([f"{pattern}={bundle_path(Recipe(detector=name))}" for pattern, name in words], Settings())
    # when a machine is looked up: then an exact name comes first, then longer patterns, '*' last
    route = routes.of(machine)
    assert route is not None
    assert route.rules[0].name == detector


@pytest.mark.parametrize("name", ["line=1;press[3]", "press[3]", "*", "ns=2;s=Line=1", "press 3/äöü"])
def test_a_machine_s_own_name_goes_before_patterns_whatever_characters_it_has(
    bundle_path: BundlePath, name: str
) -> None:
    # given a name that could be read as a pattern, in [routes], beside patterns that fit it too
    settings = Settings(
        routes={
            name: {"bundles": str(bundle_path(PRESS)), "exact": True, "area": "hall 2"},
            "*[0-9a-z]*": str(bundle_path(FAN)),
        }
    )
    routes = load_routes([], settings)
    # when the machine of that name is looked up, and one that the name would fit as a pattern
    own, other = routes.of(name), routes.of("press3")
    # then the first has its own bundle and area, the second has not
    assert own is not None
    assert other is not None
    assert (own.rules[0].name, own.area, other.rules[0].name) == ("press", "hall 2", "fan")


def test_a_name_without_exact_is_a_pattern_too_but_for_others(bundle_path: BundlePath) -> None:
    routes = load_routes([], Settings(routes={"press[3]": str(bundle_path(PRESS)), "press?": str(bundle_path(FAN))}))
    found = {name: routes.of(name) for name in ("press[3]", "press3", "press4")}
    assert {name: route.rules[0].name for name, route in found.items() if route} == {
        "press[3]": "press",
        "press3": "press",
        "press4": "fan",
    }


def test_a_bundle_is_loaded_once_however_many_routes_name_it(
    bundle_path: BundlePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given 300 machines that name one bundle, by two spellings of its path, and one more on the command line
    folder = bundle_path(PRESS)
    spellings = (str(folder), f"{folder.parent}/../{folder.parent.name}/{folder.name}")
    settings = Settings(routes={f"press-{number}": spellings[number % 2] for number in range(300)})
    opened: list[object] = []
    real = routes_module.open_trusted
    monkeypatch.setattr(routes_module, "open_trusted", lambda *a, **k: opened.append(a) or real(*a, **k))
    # when they are loaded
    pipeline = Pipeline(load_routes([f"other={folder}"], settings), Settings())
    assert len(opened) == 1
    assert len(pipeline.routes.rules) == 1
    # then machines of all of them are scored, by one graph in one batch
    rows = np.full((8, 3), 0.5)
    outputs = feed(pipeline, [message_of(block_of(name, rows)) for name in ("press-0", "press-299", "other")])
    assert {block["machine"] for block in parsed(outputs, "scores")} == {"press-0", "press-299", "other"}


def test_the_command_line_adds_to_the_routes_of_the_file(bundle_path: BundlePath) -> None:
    settings = Settings(routes={"press-*": [str(bundle_path(PRESS))]})
    route = load_routes([f"press-*={bundle_path(FAN)}"], settings).of("press-1")
    assert route is not None
    assert [rule.name for rule in route.rules] == ["press", "fan"]


@pytest.mark.parametrize("name", ["line=1", "line=1;press[3]", "="])
def test_a_word_s_id_may_hold_equals_signs_where_its_bundle_exists(tmp_path: Path, name: str) -> None:
    assert split_route(f"{name}={tmp_path}") == (name, str(tmp_path))


def test_a_machine_that_no_pattern_matches_has_no_route(open_routes: OpenRoutes) -> None:
    routes = open_routes(Recipe(), pattern="press-[0-9]")
    assert routes.of("press-1") is not None
    assert routes.of("press-x") is None
    assert routes.of("PRESS-1") is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("bundles/press", ("*", "bundles/press")),
        ("*=bundles/press", ("*", "bundles/press")),
        ("press-*=bundles/press", ("press-*", "bundles/press")),
        ("press-1=bundles/lr=0.1/press", ("press-1", "bundles/lr=0.1/press")),
        ("p" * 5_000 + "=bundles/press", ("p" * 5_000, "bundles/press")),
    ],
)
def test_a_word_is_a_bundle_or_pattern_and_bundle(word: str, expected: tuple[str, str]) -> None:
    assert split_route(word) == expected


def test_a_path_that_exists_stands_alone(tmp_path: Path) -> None:
    # given a folder with an equals sign in its path, when it is named: then it is no pattern
    folder = tmp_path / "lr=0.1" / "press"
    folder.mkdir(parents=True)
    assert split_route(str(folder)) == ("*", str(folder))


@pytest.mark.parametrize("word", ["=bundles/press", "press-*=", "="])
def test_half_a_word_is_refused(word: str) -> None:
    with pytest.raises(InputError, match=r"expected \[MACHINE-PATTERN=\]BUNDLE"):
        split_route(word)


def test_without_a_bundle_there_is_nothing_to_do() -> None:
    assert refusal().startswith("no bundle given")


# -- several bundles of one pattern -----------------------------------------------------------------------------------


def test_bundles_of_one_pattern_score_side_by_side(open_routes: OpenRoutes) -> None:
    # given two detectors for the same machines
    long, short = Recipe(window=4, detector="long"), Recipe(window=2, detector="short", alarm_level=2.0)
    pipeline = Pipeline(open_routes((long, short)), Settings())
    # when a row is far outside
    values = np.full((6, 3), 0.5)
    values[5, 1] = 4.5
    alerts = parsed(feed(pipeline, [message_of(block_of("press-1", values))]), "alerts")
    # then each raises an alert of its own
    assert {(alert["rule"], alert["detector"], alert["bundle"]) for alert in alerts} == {
        ("long", "long", long.bundle_id),
        ("short", "short", short.bundle_id),
    }
    assert len({alert["alert_id"] for alert in alerts}) == 2


def test_bundles_of_one_detector_are_told_apart_by_their_ids(open_routes: OpenRoutes) -> None:
    first, second = Recipe(window=3), Recipe(window=4)
    route = open_routes((first, second)).routes[0]
    assert [rule.name for rule in route.rules] == [first.bundle_id, second.bundle_id]
    assert route.layout.window == 4


def test_a_bundle_that_is_named_twice_is_refused(bundle_path: BundlePath) -> None:
    path = bundle_path(PRESS)
    assert refusal(str(path), f"*={path}") == f"{path} is named twice for machines '*'; name it once"


def test_a_bundle_may_serve_two_patterns(bundle_path: BundlePath) -> None:
    path = bundle_path(PRESS)
    routes = load_routes([f"press-*={path}", f"fan-*={path}"], Settings())
    assert [route.pattern for route in routes.routes] == ["press-*", "fan-*"]


@pytest.mark.parametrize(("channels", "odd"), [(("a", "b", "d"), "['c', 'd']"), (("b", "a", "c"), "their order")])
def test_bundles_of_one_pattern_must_agree_on_channels(
    bundle_path: BundlePath, channels: tuple[str, ...], odd: str
) -> None:
    # given bundles with other channels, or the same in another order, when they share a pattern: then it is refused
    first, second = bundle_path(PRESS), bundle_path(Recipe(detector="fan", channels=channels))
    said = refusal(f"press-*={first}", f"press-*={second}")
    assert said.startswith(f"bundles {first} and {second} both serve machines 'press-*' but differ in channels ({odd})")
    # and with patterns of their own they are taken
    assert len(load_routes([f"press-*={first}", f"fan-*={second}"], Settings()).rules) == 2


def test_the_stride_may_be_set(open_routes: OpenRoutes) -> None:
    # given a bundle of stride 3, when the setting says 2: then every second window is scored
    chosen = Settings(windows=WindowSettings(stride=2))
    block = block_of("press-1", np.full((9, 3), 0.5))
    outputs = feed(Pipeline(open_routes(Recipe(stride=3, window=3), chosen), chosen), [message_of(block)])
    assert [time for _, _, time in scores_of(outputs)] == [START + MINUTE * row for row in (2, 4, 6, 8)]


# -- bundles that are refused -----------------------------------------------------------------------------------------


@pytest.fixture
def bundle(bundle_path: BundlePath, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(bundle_path(PRESS), tmp_path / "bundle"))


def rewrite_manifest(bundle: Path, **changes: Any) -> None:
    path = bundle / "manifest.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, **changes}))


def test_a_changed_file_is_refused(bundle: Path) -> None:
    # given a bundle one of whose files has one byte more
    with (bundle / "calibration.parquet").open("ab") as file:
        file.write(b"x")
    # when it is opened: then the file is named
    said = refusal(str(bundle))
    assert said.startswith(f"{bundle}: calibration.parquet has sha256 ")
    assert said.endswith("it was changed or cut short: copy the bundle again")


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "calibration.parquet", "reference.parquet"])
def test_a_missing_file_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    assert refusal(str(bundle)) == f"{bundle}: {name} is missing; copy the bundle again, whole"


def test_a_file_without_a_hash_is_refused(bundle: Path) -> None:
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    del files["reference.parquet"]
    rewrite_manifest(bundle, files=files)
    assert "gives no sha256 for reference.parquet" in refusal(str(bundle))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"window": 0}, "manifest.json: window: Input should be greater than or equal to 1"),
        ({"windw": 5}, "manifest.json: windw: Extra inputs are not permitted"),
        ({"format": 2}, "manifest.json: format: Input should be 1"),
        ({"lag": 5}, "lag 5 must be smaller than window 5"),
        ({"channels": [{"name": "a"}, {"name": "a"}, {"name": "c"}]}, "channel names must be distinct"),
        ({"window": 6}, "model.onnx takes windows of 5 x 3, the manifest says 6 x 3 (rows x channels for sensors)"),
        ({"kind": "pictures"}, "kind is 'pictures', expected one of sensors, audio"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(bundle: Path, changes: dict[str, Any], said: str) -> None:
    # given a manifest with a wrong field, when the bundle is opened: then place and field are named
    rewrite_manifest(bundle, **changes)
    found = refusal(str(bundle))
    assert found.startswith(str(bundle))
    assert said in found


def test_an_alarm_level_below_the_center_is_refused(bundle: Path) -> None:
    calibration = json.loads((bundle / "manifest.json").read_text())["calibration"]
    rewrite_manifest(bundle, calibration=calibration | {"alarm_level": -1.0})
    assert "alarm_level -1.0 must be above center 0.0" in refusal(str(bundle))


def test_a_graph_that_does_not_give_its_golden_outputs_is_refused(tmp_path: Path) -> None:
    # given a bundle whose graph is that of another one: hashes are right, outputs are not
    files = files_of(Recipe()) | {"model.onnx": graph_of(Recipe(weighting="mean"))}
    location = tmp_path / "swapped"
    write_bundle_folder(location, manifest_of(Recipe(), files), files)
    # when it is opened: then it is refused with the output's name
    said = refusal(str(location))
    assert said.startswith(f"{location}: output 'score' of model.onnx differs from golden.npz by ")


def test_bytes_that_are_no_graph_are_refused(tmp_path: Path) -> None:
    files = files_of(Recipe()) | {"model.onnx": b"not a graph"}
    location = tmp_path / "broken"
    write_bundle_folder(location, manifest_of(Recipe(), files), files)
    assert refusal(str(location)).startswith(f"{location}/model.onnx: is not an ONNX file (")


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    # given nothing, an empty folder and a file of other bytes, when they are named as bundles: then each is refused
    nothing, folder, file = tmp_path / "none", tmp_path / "empty", tmp_path / "bundle.zip"
    folder.mkdir()
    file.write_bytes(b"PK\x03\x04 cut off")
    assert refusal(str(nothing)).startswith(f"{nothing}: no such bundle")
    assert refusal(str(folder)).startswith(f"{folder}: has no manifest.json")
    assert refusal(str(file)).startswith(f"{file}: cannot be read as a bundle")


def test_a_zip_serves_as_well(tmp_path: Path) -> None:
    # given a bundle written as a .zip, when it is named: then it is opened like a folder
    recipe = Recipe()
    files = files_of(recipe)
    zipped = write_bundle_folder(tmp_path / "press.zip", manifest_of(recipe, files), files).location
    routes = load_routes([f"press-*={zipped}"], Settings())
    assert routes.rules[0].manifest.bundle_id == recipe.bundle_id


# -- calibration ------------------------------------------------------------------------------------------------------


def test_raw_scores_are_calibrated_and_bounded(open_routes: OpenRoutes) -> None:
    # given a bundle whose center is 0.25 and whose alarm level 0.75
    rule = open_routes(Recipe(center=0.25, alarm_level=0.75)).rules[0]
    raw = np.array([0.0, 0.25, 0.5, 0.75, 2.25, 3e38, np.inf, -np.inf, np.nan], dtype=np.float32)
    # when raw scores are calibrated: then 0 is the center, 1 the alarm level, and nothing is infinite
    assert rule.calibrate(raw).tolist() == [0, 0, 0.5, 1, 4, LARGEST_SCORE, LARGEST_SCORE, 0, 0]
    assert rule.calibrate(raw).dtype == np.float64


def test_missing_values_start_from_the_median_of_the_training_data(open_routes: OpenRoutes) -> None:
    assert open_routes().routes[0].layout.fill == pytest.approx([0.1, 0.2, 0.3])
