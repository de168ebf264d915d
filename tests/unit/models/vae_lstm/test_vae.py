"""The networks: their published shapes, and what the published code gets wrong."""

from __future__ import annotations

import math

import pytest
import torch

from wheeltapper.models.vae_lstm.config import PRESETS, VaeLstmConfig
from wheeltapper.models.vae_lstm.loss import kl_divergence, negative_elbo
from wheeltapper.models.vae_lstm.predictor import CodePredictor
from wheeltapper.models.vae_lstm.vae import SIGMA_FLOOR, Encoder, VariationalAutoencoder, pixel_shuffle
from wheeltapper.schemas.errors import InputError

# Window length -> shapes of all convolutions' outputs (width, rows): encoder, then decoder before each shuffle.
PUBLISHED = {
    24: ([(32, 16), (64, 8), (128, 4), (512, 1)], [(128, 4), (64, 8), (32, 16), (1, 24)]),
    48: ([(32, 24), (64, 12), (128, 6), (512, 1)], [(256, 3), (128, 6), (32, 24), (1, 48)]),
    144: ([(32, 36), (64, 9), (128, 3), (512, 1)], [(288, 3), (96, 9), (24, 36), (1, 144)]),
}


def shapes_of_convolutions(part: torch.nn.Module, value: torch.Tensor) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: found.append((output.shape[1], output.shape[2])))
        for module in part.modules()
        if isinstance(module, torch.nn.Conv1d)
    ]
    part(value)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("l_win", PUBLISHED)
def test_layers_of_one_channel_are_the_published_ones(l_win: int) -> None:
    # given the published settings for one channel
    config = VaeLstmConfig(l_win=l_win)
    vae = VariationalAutoencoder(config, 1).eval()
    # when a window passes through
    encoder = shapes_of_convolutions(vae.encoder, torch.zeros(2, l_win, 1))
    decoder = shapes_of_convolutions(vae.decoder, torch.zeros(2, 6))
    # then every convolution has the published width and length, and the code 6 numbers
    assert (encoder, decoder) == PUBLISHED[l_win]
    reconstruction, mu, sigma = vae(torch.zeros(2, l_win, 1))
    assert reconstruction.shape == (2, l_win, 1)
    assert mu.shape == sigma.shape == (2, 6)
    assert (vae.encoder.dense.out_features, vae.decoder.dense.out_features) == (24, 512)
    spread = {24: 512, 48: 768, 144: 864}
    assert vae.decoder.spread.out_features == spread[l_win]


@pytest.mark.parametrize("l_win", PUBLISHED)
def test_bug_3_every_channel_has_a_filter_of_its_own(l_win: int) -> None:
    # The published decoder emits one filter for all channels.
    config = VaeLstmConfig(l_win=l_win, hidden=256)
    vae = VariationalAutoencoder(config, 5).eval()
    rows = torch.randn(2, l_win, 5)
    reconstruction, _, _ = vae(rows)
    assert reconstruction.shape == (2, l_win, 5)
    assert all(not torch.allclose(reconstruction[..., 0], reconstruction[..., other]) for other in range(1, 5))
    # and each channel moves the code
    for channel in range(5):
        moved = rows.clone()
        moved[..., channel] += 1
        assert not torch.allclose(vae(moved)[1], vae(rows)[1])


def test_bug_4_deviation_of_the_code_does_not_die_at_its_floor() -> None:
    # given an encoder whose deviation is pushed far to the side where the published ReLU is flat
    encoder = Encoder(VaeLstmConfig(l_win=24, hidden=32, code=4), 1)
    with torch.no_grad():
        encoder.sigma.bias.fill_(-5.0)
        encoder.sigma.weight.zero_()
    # when it is asked for: then it is above the floor, and gradients still reach it
    _, sigma = encoder(torch.randn(3, 24, 1))
    assert (sigma > SIGMA_FLOOR).all()
    sigma.sum().backward()
    assert encoder.sigma.bias.grad is not None
    assert (encoder.sigma.bias.grad > 1e-3).all()


def test_bug_6_loss_is_the_bound_with_one_deviation_and_the_right_constant() -> None:
    # given two rows that are off by 0.3 and 0.4, and a code of one number
    rows, reconstruction = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[1.3], [2.4]]])
    mu, sigma = torch.tensor([[0.5]]), torch.tensor([[0.2]])
    kl = 0.5 * (0.25 + 0.04 - math.log(0.04) - 1)
    # when the loss is taken: then it is -log N(x; x', 0.1) + KL, by hand
    log_likelihood = sum(-0.5 * math.log(2 * math.pi * 0.01) - error**2 / (2 * 0.01) for error in (0.3, 0.4))
    loss = negative_elbo(rows, reconstruction, mu, sigma, recon_weight=50.0)
    assert loss.tolist() == pytest.approx([kl - log_likelihood], rel=1e-5)
    # and with the weight of the authors' code half of the error counts
    halved = negative_elbo(rows, reconstruction, mu, sigma, recon_weight=25.0)
    assert (loss - halved).tolist() == pytest.approx([25.0 * 0.25], rel=1e-4)


def test_divergence_is_zero_for_the_prior_alone() -> None:
    assert kl_divergence(torch.zeros(1, 3), torch.ones(1, 3)).item() == 0
    assert kl_divergence(torch.zeros(1, 3), torch.full((1, 3), 0.9)).item() > 0


def test_codes_are_drawn_in_training_and_certain_otherwise() -> None:
    vae = VariationalAutoencoder(VaeLstmConfig(l_win=24, hidden=32, code=4), 2)
    rows = torch.randn(3, 24, 2)
    assert not torch.equal(vae.train()(rows)[0], vae(rows)[0])
    assert torch.equal(vae.eval()(rows)[0], vae(rows)[0])


def test_edges_of_the_shortest_window_are_mirrored() -> None:
    encoder = Encoder(VaeLstmConfig(l_win=24, hidden=32, code=4), 1)
    assert encoder.mirror.tolist() == [3, 2, 1, 0, *range(24), 23, 22, 21, 20]


def test_pixel_shuffle_puts_neighbouring_channels_side_by_side() -> None:
    # 4 channels of 2 rows, channel number in the tens
    features = torch.tensor([[[0.0, 1.0], [10.0, 11.0], [20.0, 21.0], [30.0, 31.0]]])
    assert pixel_shuffle(features, 2).tolist() == [[[0, 10, 1, 11], [20, 30, 21, 31]]]


def test_predictor_looks_back_only() -> None:
    predictor = CodePredictor(4)
    codes = torch.randn(2, 6, 4)
    changed = codes.clone()
    changed[:, 3] += 1
    before, after = predictor(codes), predictor(changed)
    assert before.shape == (2, 6, 4)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"l_win": 36}, "l_win is 36, expected one of 24, 48, 144"),
        ({"l_seq": 1}, "l_seq is 1, expected a whole number of 2 or more"),
        ({"hidden": 48}, "hidden is 48, expected a multiple of 32 for l_win=48"),
        ({"hidden": 128, "l_win": 144}, "hidden is 128, expected a multiple of 256 for l_win=144"),
        ({"recon_weight": 0.0}, "recon_weight is 0.0, expected a number above 0"),
        ({"validation_share": 1.0}, "validation_share is 1.0, expected a number between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        VaeLstmConfig(**settings)  # type: ignore[arg-type]


def test_published_preset_is_the_published_one() -> None:
    paper = PRESETS["paper"]
    assert (paper.l_win, paper.l_seq, paper.code, paper.hidden, paper.window) == (48, 12, 6, 512, 576)
