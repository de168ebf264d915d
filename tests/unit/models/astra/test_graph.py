"""ASTRA's network and graph: faithful and fixed flags, contract, parity of ONNX and TorchScript with torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from tests.helpers.sounds import RATE, make_sounds  # noqa: E402
from wheeltapper.models.astra.backend import USUAL, fused_score  # noqa: E402
from wheeltapper.models.astra.config import AstraConfig  # noqa: E402
from wheeltapper.models.astra.graph import AstraGraph, PatchStatistics  # noqa: E402
from wheeltapper.models.astra.network import AstraNetwork, Attributes, grid_of  # noqa: E402
from wheeltapper.models.astra.objective import AstraObjective  # noqa: E402
from wheeltapper.models.astra.picture import Picture  # noqa: E402
from wheeltapper.schemas.bundle.manifest import AttributeSpec  # noqa: E402
from wheeltapper.schemas.errors import InputError  # noqa: E402
from wheeltapper.training.datasets.sound.series import SoundSeries  # noqa: E402
from wheeltapper.training.detectors.astra.train import fit_astra, labels_of, train_astra  # noqa: E402
from wheeltapper.training.fitting.export_check import check_twin, open_for_check  # noqa: E402
from wheeltapper.training.fitting.options import ExtraData, TrainOptions  # noqa: E402
from wheeltapper.training.fitting.torch_sound import SoundWindows, TorchSound, attribute_specs, front_end_of  # noqa: E402
from wheeltapper.training.fitting.trainer_options import TrainerOptions  # noqa: E402

TINY = AstraConfig(mels=24, image_rows=32, image_columns=48, layers=3, width=4, embedding=8, folds=3, clusters=2)
TRAINER = TrainerOptions(
    epochs=2, batch_size=8, learning_rate=1e-3, patience=100, windows_per_epoch=16, progress=False, device="cpu"
)
STATES = ({"speed": 20.0, "product": "ale"}, {"speed": 40.0, "product": "stout"})


def fit(series: SoundSeries, trainer: TrainerOptions = TRAINER, **settings: Any) -> TorchSound:
    window = int(0.9 * RATE)
    return fit_astra(series, replace(TINY, **settings), trainer, window, window)[0]


def network(config: AstraConfig, *, specs: tuple[AttributeSpec, ...] = (), channels: int = 1) -> AstraNetwork:
    torch.manual_seed(0)
    rows = torch.tensor([[10.0, 1.0, 0.0], [30.0, 0.0, 1.0], [torch.nan, 0.0, 0.0]])[:, : sum(s.width for s in specs)]
    return AstraNetwork(config, Picture(config, 40, 24, 0.0), Attributes(specs, rows), channels).eval()


SPECS = (AttributeSpec(name="speed"), AttributeSpec(name="product", categories=("ale", "stout")))


def test_operating_point_becomes_deviations_known_or_not() -> None:
    given = torch.tensor([[40.0, 0.0, 1.0], [torch.nan, 0.0, 0.0]])
    module = Attributes(SPECS, torch.tensor([[10.0, 1.0, 0.0], [30.0, 0.0, 1.0], [torch.nan, 0.0, 0.0]]))
    torch.testing.assert_close(module(given), torch.tensor([[2.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]))
    assert module.width == 4
    torch.testing.assert_close(module(module.unknown(given)), torch.zeros(2, 4))


def embedded(config: AstraConfig, attributes: list[list[float]]) -> torch.Tensor:
    net = network(config, specs=SPECS)
    picture = torch.rand(1, net.picture.channels, 32, 48, generator=torch.Generator().manual_seed(1)).repeat(2, 1, 1, 1)
    with torch.no_grad():
        return net.embed(net.patches(picture), torch.tensor(attributes))[0]


def test_attributes_choose_patches_and_stay_out_of_the_embedding() -> None:
    two = [[10.0, 1.0, 0.0], [30.0, 0.0, 1.0]]
    # fixed: the same sound at two operating points differs, by what the attention picks
    fixed = embedded(TINY, two)
    assert fixed.shape == (2, 8)
    assert float((fixed[0] - fixed[1]).abs().max()) > 1e-5
    # published attention: the softmax takes them out again
    published = embedded(replace(TINY, attention="published"), two)
    torch.testing.assert_close(published[0], published[1], rtol=1e-4, atol=1e-6)
    # published embedding: they stand beside the sound, which is the same half
    concatenated = embedded(replace(TINY, attention="published", attributes="concatenated"), two)
    assert concatenated.shape == (2, 16)
    torch.testing.assert_close(concatenated[0, :8], concatenated[1, :8], rtol=1e-4, atol=1e-6)
    assert float((concatenated[0, 8:] - concatenated[1, 8:]).abs().max()) > 1e-3
    # and left out they change nothing
    none = embedded(replace(TINY, attributes="none"), two)
    torch.testing.assert_close(none[0], none[1])


def test_both_ways_to_make_patches_fill_their_grid() -> None:
    for dense, grid in ((True, (2, 3)), (False, (1, 2))):
        config = replace(TINY, dense=dense)
        net = network(config)
        assert net.grid == grid
        with torch.no_grad():
            found = net.patches(torch.zeros(5, net.picture.channels, 32, 48))
            some = net.patches(torch.zeros(5, net.picture.channels, 32, 48), torch.tensor([1]))
        assert found.shape == (5, grid[0] * grid[1], 8)
        assert some.shape == (5, 1, 8)
    paper = AstraConfig(image_rows=224, image_columns=224)
    assert grid_of(replace(paper, dense=False), 32) == (13, 13)
    assert grid_of(paper, 32) == (7, 7)


def test_axes_share_the_trunk_and_are_told_apart() -> None:
    net = network(TINY, channels=3)
    with torch.no_grad():
        found = net.patches(torch.zeros(2 * 3, net.picture.channels, 32, 48)).reshape(2, 3, 6, 8)
    assert float((found[0, 0] - found[0, 1]).abs().max()) > 1e-3
    torch.testing.assert_close(found[0], found[1])


def test_objective_is_repeatable_in_validation_and_not_in_training() -> None:
    net = network(replace(TINY, patches=3))
    levels = torch.randn(6, 1, 40, 24, generator=torch.Generator().manual_seed(0)) * 10 - 40
    objective = AstraObjective(replace(TINY, patches=3), levels, torch.zeros(6, 0), None)
    index = torch.arange(6)
    with torch.no_grad():
        assert torch.equal(objective(net, index)[0], objective(net, index)[0])
        net.train()
        assert not torch.equal(objective(net, index)[0], objective(net, index)[0])


def test_auxiliary_head_adds_its_loss() -> None:
    config = replace(TINY, auxiliary_weight=1.0)
    torch.manual_seed(0)
    net = AstraNetwork(config, Picture(config, 40, 24, 0.0), Attributes((), torch.zeros(1, 0)), 1, classes=3).eval()
    levels = torch.randn(6, 1, 40, 24, generator=torch.Generator().manual_seed(0)) * 10 - 40
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.no_grad():
        without = AstraObjective(replace(config, auxiliary_weight=0.0), levels, torch.zeros(6, 0), labels)
        loss, _ = AstraObjective(config, levels, torch.zeros(6, 0), labels)(net, torch.arange(6))
        assert float(loss) > float(without(net, torch.arange(6))[0])


def test_fitted_graph_gives_the_back_ends_score_and_names_bands() -> None:
    # given a machine with attributes
    series = make_sounds(12, attributes=STATES)
    fitted = fit(series)
    graph = fitted.graph
    assert isinstance(graph, AstraGraph)
    assert [spec.name for spec in fitted.attributes] == ["product", "speed"]
    assert (len(fitted.bands), fitted.time_columns) == (2, 3)
    assert fitted.bands[0][:2] == (0, 20.0)
    assert fitted.bands[-1][2] == pytest.approx(RATE / 2)
    # when it scores its windows
    windows, rows = (torch.from_numpy(values) for values in fitted.probes)
    with torch.no_grad():
        score, contribution, embedding = graph(windows, rows)
    # then scores are finite and blame is not negative
    assert np.isfinite(score.numpy()).all()
    assert contribution.shape == (4, 2, 3)
    assert float(contribution.min()) >= 0
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(4), rtol=1e-4, atol=1e-4)


def test_torch_and_numpy_have_the_same_back_end() -> None:
    from wheeltapper.models.astra.backend import fit_domains
    from wheeltapper.models.astra.graph import _DomainScore

    generator = np.random.default_rng(0)
    z = generator.normal(size=(60, 6)) * 0.1 + generator.normal(size=6)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    domains = fit_domains(z, ["source"] * 50 + ["target"] * 10, TINY, seed=0)
    found = torch.stack([_DomainScore(domain)(torch.as_tensor(z, dtype=torch.float32)) for domain in domains])
    np.testing.assert_allclose(USUAL + found.amin(dim=0).numpy(), fused_score(domains, z), atol=2e-3)


def test_patch_statistics_are_of_a_row() -> None:
    # given patches whose second row lies elsewhere
    patches = np.random.default_rng(0).normal(size=(50, 2, 3, 4))
    patches[:, 1] += 10
    found = PatchStatistics.of(patches.reshape(50, 6, 4), 1, (2, 3))
    np.testing.assert_allclose(found.mean[1] - found.mean[0], 10, atol=0.6)
    # a normal patch's squared distance is about its width
    np.testing.assert_allclose(found.usual, 4, rtol=0.1)


def test_training_is_repeatable_and_labels_are_machine_and_state() -> None:
    series = make_sounds(6, attributes=STATES)
    first, again = (fit(series, replace(TRAINER, epochs=1)) for _ in range(2))
    assert first.parameters == again.parameters
    for one, other in zip(first.graph.state_dict().values(), again.graph.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    specs = attribute_specs(series.train)
    windows = SoundWindows(torch.zeros(6, 1, 2, 2), np.arange(6), np.arange(6), series.train)
    assert labels_of(windows, specs).tolist() == [0, 1] * 3
    assert first.parameters["loss"] == "supcon"
    assert fit(make_sounds(4), replace(TRAINER, epochs=1)).parameters["loss"] == "nt-xent"


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(InputError, match="astra needs at least 4"):
        fit(make_sounds(1))
    with pytest.raises(InputError, match="nothing to tell apart"):
        fit(make_sounds(8), loss="supcon")
    with pytest.raises(InputError, match="trunk=resnet34"):
        AstraConfig(weights="weights.pth")


def test_other_machines_are_told_apart_and_nothing_else_is_taken_of_them() -> None:
    # given a machine of one state, and another one of the same data set
    series, louder = make_sounds(6), make_sounds(4)
    louder = replace(louder, train=[replace(clip, machine="fan-2") for clip in louder.train])
    settings = {
        "mels": "24",
        "layers": "3",
        "image_rows": "32",
        "image_columns": "48",
        "width": "4",
        "embedding": "8",
        "folds": "3",
    }
    options = TrainOptions(epochs=1, device="cpu", settings={**settings, "others": "fan-2"})
    # when it is named: then the loss has two classes
    known = ExtraData(related_sounds={"fan-2": louder}.__getitem__)
    fitted, scores = train_astra(series, replace(options, extra_data=known))
    assert fitted.parameters["loss"] == "supcon"
    assert fitted.parameters["windows_of_other_machines"] == 4
    assert len(scores.score) == fitted.parameters["windows"] == 6
    # and what cannot be read is refused
    with pytest.raises(InputError, match="use --dataset"):
        train_astra(series, options)
    wrong = ExtraData(related_sounds={"fan-2": make_sounds(4, rate=4000)}.__getitem__)
    with pytest.raises(InputError, match="others=fan-2"):
        train_astra(series, replace(options, extra_data=wrong))


def test_frames_are_64_ms_at_any_rate() -> None:
    assert [front_end_of(rate, 16, 20.0).n_fft for rate in (16_000, 20_000, 48_000, 2_000)] == [1024, 1024, 4096, 128]


@pytest.mark.export
@pytest.mark.parametrize(
    ("settings", "channels", "states"),
    [
        ({}, 1, ({},)),
        ({"dense": False, "colour": "plasma", "level": "published", "coordinates": False}, 1, STATES),
        ({"attributes": "concatenated"}, 3, STATES),
    ],
    ids=["small", "published picture", "axes"],
)
def test_onnx_and_twin_agree_with_torch(settings: dict[str, Any], channels: int, states: Any) -> None:
    fitted = fit(make_sounds(4, channels=channels, attributes=states), replace(TRAINER, epochs=1), **settings)
    model = fitted.onnx_bytes()
    assert fitted.parity is not None
    assert max(fitted.parity.values()) < 1e-4
    windows, rows = fitted.probes
    graph = open_for_check(model, largest=8)
    assert graph.sample_shape == (channels * fitted.window,)
    check_twin(fitted.torchscript_bytes() or b"", graph, windows, rows if fitted.attributes else None)
