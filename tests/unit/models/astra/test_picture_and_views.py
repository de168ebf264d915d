"""Pictures: resize, colours and patches against other libraries; views: what they change and what they leave."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from wheeltapper.models.astra.config import AstraConfig  # noqa: E402
from wheeltapper.models.astra.picture import Picture, interpolation, patches_of, plasma  # noqa: E402
from wheeltapper.models.astra.views import published_view, sound_view  # noqa: E402

SMALL = AstraConfig(image_rows=32, image_columns=48, mels=24)


def levels(clips: int = 3, *, seed: int = 0, frames: int = 60, bands: int = 24) -> torch.Tensor:
    """[clips, 1, frames, bands] dB."""
    return -40 + 10 * torch.randn(clips, 1, frames, bands, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("size", "to"), [(128, 224), (313, 224), (313, 100), (50, 50), (7, 3)])
def test_resize_is_pillows_bilinear(size: int, to: int) -> None:
    image_module = pytest.importorskip("PIL.Image")
    values = np.random.default_rng(0).normal(size=(1, size)).astype(np.float32)
    wanted = np.asarray(image_module.fromarray(values).resize((to, 1), image_module.Resampling.BILINEAR))
    np.testing.assert_allclose(interpolation(size, to) @ values[0], wanted[0], atol=1e-5)


def test_colours_are_matplotlibs_plasma() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    wanted = matplotlib.colormaps["plasma"](np.arange(256), bytes=True)[:, :3] / 255
    np.testing.assert_allclose(plasma(), wanted, atol=1e-9)


def test_patches_are_squares_half_a_size_apart() -> None:
    picture = torch.arange(2 * 3 * 64 * 48, dtype=torch.float32).reshape(2, 3, 64, 48)
    found = patches_of(picture, 32)
    wanted = picture.unfold(2, 32, 16).unfold(3, 32, 16).permute(0, 2, 3, 1, 4, 5).reshape(2, 6, 3, 32, 32)
    assert torch.equal(found, wanted)


def test_loudness_counts_unless_as_published() -> None:
    quiet = levels()[:, 0].clamp(-70, -30)
    fixed, published = Picture(SMALL, 60, 24, 0.0), Picture(replace(SMALL, level="published"), 60, 24, 0.0)
    # 20 dB are a quarter of the range of 80 dB
    torch.testing.assert_close(fixed.shades(quiet + 20), fixed.shades(quiet) + 0.25, rtol=0, atol=1e-5)
    torch.testing.assert_close(published.shades(quiet + 20), published.shades(quiet), rtol=0, atol=1e-4)
    assert float(published.shades(torch.zeros(1, 60, 24)).abs().max()) == 0.0
    # out of the range is black or white
    assert float(fixed.shades(torch.full((1, 60, 24), 99.0)).min()) == pytest.approx(1.0)
    assert float(fixed.shades(torch.full((1, 60, 24), -99.0)).max()) == 0.0


def test_pictures_have_colours_and_coordinates_where_asked_for() -> None:
    wanted: tuple[tuple[Literal["none", "plasma"], bool, int], ...] = (
        ("none", False, 1),
        ("none", True, 2),
        ("plasma", False, 3),
        ("plasma", True, 4),
    )
    for colour, coordinates, channels in wanted:
        picture = Picture(replace(SMALL, colour=colour, coordinates=coordinates), 60, 24, 0.0)
        found = picture(levels()[:, 0])
        assert picture.channels == channels
        assert found.shape == (3, channels, 32, 48)
    # a lone band is bright in its own rows: row 0 is the lowest frequency
    low = torch.full((1, 60, 24), -70.0)
    low[:, :, 2] = 0.0
    shade = Picture(SMALL, 60, 24, 0.0).shades(low)[0, 0].mean(dim=1)
    assert int(shade.argmax()) in (2, 3, 4)


def test_a_view_of_a_sound_keeps_its_pitch_and_loudness() -> None:
    # given a tone in band 5
    clips = torch.full((4, 1, 60, 24), -60.0)
    clips[..., 5] = -10.0
    config = AstraConfig(mask_share=0.0, noise_db=-30.0)
    # when a view of it is made
    view = sound_view(clips, config)
    # then the tone is where it was, within the change of gain, and one view is not another
    assert (view.mean(dim=2).argmax(dim=2) == 5).all()
    assert float((view[..., 5] - clips[..., 5]).abs().max()) < config.gain_db + 0.5
    assert not torch.equal(view, sound_view(clips, config))


def test_views_can_be_repeated_and_settings_switch_their_parts_off() -> None:
    clips = levels()
    generator = torch.Generator()
    first, again = (sound_view(clips, AstraConfig(), generator.manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    still = AstraConfig(mask_share=0.0, mix_share=0.0, gain_db=0.0, noise_db=-200.0)
    view = sound_view(clips, still)
    # only time is shifted: each clip holds the same columns, from another one on
    for one, other in zip(view[:, 0], clips[:, 0], strict=True):
        assert any(torch.allclose(one, other.roll(shift, dims=0), atol=1e-3) for shift in range(60))
    # a single clip has no other to be mixed with
    assert sound_view(clips[:1], AstraConfig()).shape == (1, 1, 60, 24)


def test_masks_cover_at_most_their_share() -> None:
    clips = levels(50)
    config = AstraConfig(mix_share=0.0, gain_db=0.0, noise_db=-200.0, mask_share=0.5)
    view = sound_view(clips, config, torch.Generator().manual_seed(0))
    masked = (view == view.mode(dim=3).values.unsqueeze(3)).float().mean(dim=(1, 2, 3))
    assert 0.1 < float(masked.mean()) < 0.75


@pytest.mark.parametrize("channels", [1, 3])
def test_published_views_are_pictures_of_the_same_size(channels: int) -> None:
    shades = torch.rand(8, channels, 32, 48, generator=torch.Generator().manual_seed(0))
    view = published_view(shades, torch.Generator().manual_seed(1))
    assert view.shape == shades.shape
    assert 0 <= float(view.min()) <= float(view.max()) <= 1 + 1e-6
    assert not torch.equal(view, published_view(shades, torch.Generator().manual_seed(2)))
    # a flat grey picture stays flat: crop, flip and colour change no place
    flat = published_view(torch.full((8, channels, 32, 48), 0.5), torch.Generator().manual_seed(1))
    assert float(flat.flatten(2).std(dim=2).max()) < 1e-5
