"""Lengths, picture shapes, and joined sound."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nava_core import sizes
from nava_core.media import fit_length, join_sound


def test_the_released_length():
    length = sizes.ClipLength.nearest(6.0 * 24)
    assert (length.latent_frames, length.frames, length.audio_steps) == (37, 145, 152)
    assert round(length.seconds, 2) == 6.04


@given(st.floats(0, 1000))
def test_lengths_are_possible_and_near(frames):
    length = sizes.ClipLength.nearest(frames)
    assert length.frames % 4 == 1
    assert length.frames == 1 or abs(length.frames - frames) <= 2
    assert length.audio_steps == math.ceil(length.frames * 25 / 24)


@pytest.mark.parametrize(
    ("picture", "shape"),
    [
        ((1000, 1000), (960, 960)), ((1920, 1080), (1280, 704)), ((1080, 1920), (704, 1280)), ((800, 1000), (864, 1056)),
        ((3000, 1000), (1536, 608)), ((3, 4), (832, 1088)), ((1, 5000), (608, 1536)), ((901, 1000), (960, 960)),
        ((899, 1000), (864, 1056)),
    ],
)  # fmt: skip
def test_nearest_trained_shape(picture, shape):
    assert sizes.nearest_trained_shape(*picture) == shape
    assert all(side % 32 == 0 for side in shape)


@pytest.mark.parametrize("pixels", [0, 31, 100, 1279])
def test_side_must_be_a_multiple(pixels):
    with pytest.raises(ValueError, match=r"width is \d+, NAVA needs a multiple of 32: use \d+ or \d+"):
        sizes.check_side(pixels, "width")


def test_crossfade_has_equal_power():
    """Two independent noises keep their loudness through the fade; outside of it nothing changes."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 64, 2, 4000, generator=generator)
    joined = join_sound(first, second, 1000)
    assert joined.shape[-1] == 7000
    assert torch.equal(joined[..., :3000], first[..., :3000]) and torch.equal(joined[..., 4000:], second[..., 1000:])
    power = joined[..., 3000:4000].square().mean((0, 1)).unflatten(0, (10, 100)).mean(1)
    print("power through the fade:", [round(p, 3) for p in power.tolist()])
    assert (power - 1).abs().max() < 0.05


def test_join_without_overlap_and_too_much():
    assert join_sound(torch.ones(1, 1, 3), torch.zeros(1, 1, 2), 0).tolist() == [[[1, 1, 1, 0, 0]]]
    with pytest.raises(ValueError, match="cannot crossfade"):
        join_sound(torch.ones(1, 1, 3), torch.zeros(1, 1, 2), 3)


def test_fit_length():
    assert fit_length(torch.ones(1, 5), 3).shape == (1, 3)
    assert fit_length(torch.ones(1, 2), 4).tolist() == [[1, 1, 0, 0]]
