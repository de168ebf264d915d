"""The trunk: names and shapes of torchvision's ResNet-34, weights from a file, folding."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from wheeltapper.models.astra.trunk import RESNET34_BLOCKS, RESNET34_WIDTHS, Trunk, folded  # noqa: E402
from wheeltapper.schemas.errors import InputError  # noqa: E402


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    numbers = {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**numbers, f"{name}.num_batches_tracked": ()}


def torchvision_resnet34() -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's resnet34 without `fc`, by the rule of its layers."""
    wanted = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    before = 64
    for layer, (blocks, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), start=1):
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            wanted |= {f"{name}.conv1.weight": (width, before, 3, 3), **norm(f"{name}.bn1", width)}
            wanted |= {f"{name}.conv2.weight": (width, width, 3, 3), **norm(f"{name}.bn2", width)}
            if before != width:
                wanted |= {f"{name}.downsample.0.weight": (width, before, 1, 1), **norm(f"{name}.downsample.1", width)}
            before = width
    return wanted


def small(inputs: int = 1) -> Trunk:
    torch.manual_seed(0)
    return Trunk(inputs, (1, 1), (4, 8))


def test_names_and_shapes_are_torchvisions() -> None:
    state = Trunk(3, RESNET34_BLOCKS, RESNET34_WIDTHS).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == torchvision_resnet34()
    # 21.8 million parameters with `fc`, as documented
    learned = sum(value.numel() for name, value in state.items() if not name.endswith(("running_mean", "running_var")))
    assert learned - sum(name.endswith("num_batches_tracked") for name in state) + 512 * 1000 + 1000 == 21_797_672


def test_a_224_image_gives_a_7_x_7_map_and_a_32_patch_one_vector() -> None:
    trunk = Trunk(3, (1, 1, 1, 1), (2, 4, 4, 8)).eval()
    assert trunk.stride == 32
    with torch.no_grad():
        assert trunk(torch.zeros(1, 3, 224, 224)).shape == (1, 8, 7, 7)
        assert trunk(torch.zeros(5, 3, 32, 32)).shape == (5, 8, 1, 1)


def test_weights_come_from_a_file_and_grey_pictures_see_what_coloured_ones_do(tmp_path: Path) -> None:
    # given weights of three colours, with a last layer, without the counters that old files lack
    coloured = small(3).eval()
    state = {name: value for name, value in coloured.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save({**state, "fc.weight": torch.zeros(10, 8), "fc.bias": torch.zeros(10)}, tmp_path / "weights.pth")
    # when a trunk of one channel takes them
    torch.manual_seed(1)
    grey = Trunk(1, (1, 1), (4, 8)).eval()
    digest = grey.load_file(tmp_path / "weights.pth")
    # then it sees grey as the other does
    picture = torch.rand(2, 1, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(grey(picture), coloured(picture.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-5)
    assert len(digest) == 64


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pth cannot be read"):
        small().load_file(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match=r"text\.pth cannot be read"):
        small().load_file(tmp_path / "text.pth")
    torch.save(Trunk(1, (1, 1), (4, 16)).state_dict(), tmp_path / "wider.pth")
    with pytest.raises(InputError, match="another shape"):
        small().load_file(tmp_path / "wider.pth")
    torch.save(Trunk(1, (1,), (4,)).state_dict(), tmp_path / "shorter.pth")
    with pytest.raises(InputError, match="'layer2"):
        small().load_file(tmp_path / "shorter.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="is not of this trunk"):
        small().load_file(tmp_path / "list.pth")


def test_folded_trunk_has_no_normalisation_left_and_gives_the_same() -> None:
    trunk = small()
    trunk.train()
    for _ in range(3):
        trunk(torch.rand(4, 1, 32, 32))
    trunk.eval()
    inference = folded(trunk)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in inference.modules())
    picture = torch.rand(2, 1, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(inference(picture), trunk(picture), rtol=1e-4, atol=1e-5)
    # and the trunk itself is as it was
    assert isinstance(trunk.bn1, torch.nn.BatchNorm2d)
