"""Guides at any second, and clips continued with their sound: what lies where, exactly."""

import pytest
import torch
from support import DATA
from test_hold import filled, guided
from test_host_parity import nested
from test_put import clicks, latent_of

from nava_core.latents import crossfade
from nava_core.sizes import ClipLength


@pytest.fixture(scope="module")
def model(nava):
    return nava("load").load_model(str(DATA / "nava_tiny.safetensors"), "fp32")


def guide(nava, files, latent, images, place="last", second=0.0, way="soft", strength=1.0, **more):
    out = nava("keyframe").NavaGuide.execute(latent, images, files["video_vae"], place, second, way, strength, **more)
    return out.args[0], out.args[1], out.ui["report"][0]


def test_a_picture_first_last_and_between(nava, files):
    """A first picture is one frame, clean; others a group of four that holds the second; all chain, with what was there."""
    latent = latent_of(nava, seconds=2.0)  # 49 frames, 13 latent frames
    pictures = torch.rand(3, 1, 50, 70, 3)
    one, begins, told = guide(nava, files, latent, pictures[0], "first")
    assert begins == 0 and told.startswith("frames 0 to 0, 0.00-0.04 s")
    two, begins, told = guide(nava, files, one, pictures[1], "last")
    assert begins == pytest.approx(45 / 24) and told.startswith("frames 45 to 48")
    three, begins, told = guide(nava, files, two, pictures[2], "at second", 1.0)
    assert begins == pytest.approx(21 / 24) and told.startswith("frames 21 to 24"), (
        "frame 24 lies in the group from 21 on"
    )
    video, mask = three["samples"].unbind()[0], three["noise_mask"].unbind()[0]
    assert mask[0, 0, :, 0, 0].tolist() == [0] + [1] * 5 + [-1] + [1] * 5 + [-1]
    first = nava("first_frame").NavaFirstFrame.execute(pictures[0], files["video_vae"], latent, "as the latent")[0]
    assert torch.equal(video[:, :, :1], first["samples"].unbind()[0][:, :, :1])
    assert getattr(three["samples"], nava("masks").KEEPS_FIRST_FRAME)
    still = nava("put").encode_picture(pictures[2].expand(5, -1, -1, -1), files["video_vae"], 4, 4)
    torch.testing.assert_close(video[:, :, 6:7], still[:, :, 1:], msg="a group of a still picture")
    assert not latent["samples"].unbind()[0].any(), "the input stays as it was"


def test_a_clip_with_its_sound(nava, files):
    latent = latent_of(nava, seconds=2.0)
    frames = torch.rand(10, 64, 64, 3)
    out, _, told = guide(
        nava, files, latent, frames, "at second", 1.0, audio=clicks([0.1]), audio_vae=files["audio_vae"]
    )
    assert told == "frames 21 to 28, 0.88-1.21 s of 2.04 s; of 10 frames, 8 are used: whole groups of four"
    video, sound = (m[0, 0, :, 0] for m in out["noise_mask"].unbind())
    assert (video[..., 0] < 0).nonzero().flatten().tolist() == [6, 7]
    assert (sound < 0).nonzero().flatten().tolist() == list(range(22, 30))
    assert out["samples"].unbind()[1][:, :, 22:30].any() and not out["samples"].unbind()[1][:, :, :22].any()


def test_guides_that_do_not_fit(nava, files):
    latent, picture = latent_of(nava, seconds=1.0), torch.rand(1, 64, 64, 3)
    with pytest.raises(ValueError, match=r"NavaGuide, second: 3 s lies beyond the clip's end at 1.04 s"):
        guide(nava, files, latent, picture, "at second", 3.0)
    with pytest.raises(ValueError, match=r"NavaGuide, images: 20 frames from 0.54 s on reach beyond the clip's 1.04 s"):
        guide(nava, files, latent, torch.rand(20, 64, 64, 3), "at second", 0.6)
    with pytest.raises(ValueError, match="held already, by another guide"):
        guide(nava, files, guide(nava, files, latent, picture, "last")[0], picture, "at second", 1.0)
    with pytest.raises(ValueError, match="audio_vae: sound is given"):
        guide(nava, files, latent, picture, audio=clicks([0.1]))
    with pytest.raises(ValueError, match="no picture"):
        guide(nava, files, latent_of(nava, "audio"), picture)


def test_guides_come_back_exactly(nava, model):
    """Through sampling: what a guide wrote is in the result, bit for bit, soft and hard."""
    for way in ("soft", "hard"):
        latent = filled()
        mask = torch.ones(1, 1, 5, 4, 6)
        mask[:, :, :1] = 0
        mask[:, :, -1:] = nava("masks").hold_value(way, 1.0)
        latent["noise_mask"] = nested([mask, torch.ones(1, 1, 18, 1)])
        out, given = guided(nava, model, latent).unbind()[0], latent["samples"].unbind()[0]
        assert torch.equal(out[:, :, :1], given[:, :, :1]) and torch.equal(out[:, :, -1:], given[:, :, -1:])
        assert not (out[:, :, 1:-1] == given[:, :, 1:-1]).any()


def extend(nava, latent, seconds=1.0, overlap=0.5, way="clean start", strength=1.0, before=None):
    return nava("extend").NavaExtend.execute(latent, seconds, overlap, way, strength, before).args


def test_extended_twice_and_joined(nava, model):
    """The whole begins with the clip, bit for bit, keeps picture and sound in step, and grows by what was asked for."""
    clip = filled(frames=13, steps=52)  # 49 frames, 2.04 s
    next_, before, seconds = extend(nava, clip)
    video, sound = next_["samples"].unbind()
    # cut at a whole second: frame group 6, audio step 25
    assert video.shape[2] == 7 + 6 and sound.shape[2] == ClipLength(13).audio_steps
    assert torch.equal(video[:, :, :7], clip["samples"].unbind()[0][:, :, 6:])
    assert torch.equal(sound[:, :, :26], clip["samples"].unbind()[1][:, :, 25:51])
    masks = [m.amax((0, 1, 3) if m.ndim == 4 else (0, 1, 3, 4)) for m in next_["noise_mask"].unbind()]
    assert masks[0].tolist() == [0] + [-1] * 6 + [1] * 6 and masks[1].tolist() == [-1] * 26 + [1] * 26, (
        "the last step lasts beyond the picture"
    )
    for way, strength, held in (
        ("soft", 1.0, [-1] * 7),
        ("hard", 1.0, [0] * 7),
        ("clean start", 0.5, [-1.5] + [-0.5] * 6),
    ):
        mask = extend(nava, clip, way=way, strength=strength)[0]["noise_mask"].unbind()[0]
        assert mask[0, 0, :, 0, 0].tolist() == held + [1] * 6
    made = {"samples": guided(nava, model, next_)}
    whole = nava("extend").joined(before, made)["samples"].unbind()
    assert seconds == pytest.approx(ClipLength(19).seconds) and whole[0].shape[2] == 19
    assert whole[1].shape[2] == ClipLength(19).audio_steps
    for a, b, count in zip(whole, clip["samples"].unbind(), (13, 51), strict=True):
        assert torch.equal(a[:, :, :count], b[:, :, :count])
    again, before_2, seconds_2 = extend(nava, made, before=before)
    made_2 = {"samples": guided(nava, model, again)}
    longer = nava("extend").joined(before_2, made_2)["samples"].unbind()
    assert longer[0].shape[2] == 25 and longer[1].shape[2] == ClipLength(25).audio_steps
    assert seconds_2 == pytest.approx(ClipLength(25).seconds)
    for a, b, count in zip(longer, whole, (19, 76), strict=True):
        assert torch.equal(a[:, :, :count], b[:, :, :count])


@pytest.mark.parametrize("overlap", [0.1, 0.3, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("frames", [7, 9, 13, 37])
def test_at_least_the_overlap_is_held(nava, frames, overlap):
    """As seconds of a clip by itself, and cut at a whole second, or the whole clip."""
    steps = ClipLength(frames).audio_steps
    kept, from_step = nava("extend").cut(torch.empty(1, 6, frames, 1, 1), torch.empty(1, 8, steps, 1), overlap)
    assert kept % 6 == 0 and from_step == kept // 6 * 25
    assert kept == 0 or overlap <= ClipLength(frames - kept).seconds <= overlap + 1.2


def test_one_stream_extended(nava, model):
    for latent in (
        {"samples": filled(frames=13)["samples"].unbind()[0]},
        {"samples": nested([torch.randn(1, 8, 40, 1)])},
    ):
        next_, before, seconds = extend(nava, latent)
        made = {"samples": guided(nava, model, next_, steps=2)}
        whole = nava("extend").joined(before, made)["samples"]
        whole = whole.unbind()[0] if whole.is_nested else whole
        given = latent["samples"].unbind()[0] if latent["samples"].is_nested else latent["samples"]
        assert torch.equal(whole.reshape(1, -1, *whole.shape[-given.ndim + 2 :])[:, :, : given.shape[2]], given)
        assert seconds == pytest.approx(ClipLength(19).seconds if given.ndim == 5 else 65 / 25)


def test_a_join_is_crossfaded_where_it_is_not_exact():
    a, b = torch.zeros(1, 2, 4, 3), torch.ones(1, 2, 6, 3)
    out = crossfade(a, b, 2)
    assert out[0, 0, :, 0].tolist() == [0, 0, 0.25, 0.75, 1, 1, 1, 1]
    odd = torch.randn(1, 2, 9, 3) * 1e3
    assert torch.equal(crossfade(odd[:, :, :6], odd[:, :, 2:], 4), odd), "equal numbers stay exact"
    with pytest.raises(ValueError, match="cannot crossfade"):
        crossfade(a, b, 5)


def test_extending_what_cannot_be(nava):
    with pytest.raises(ValueError, match="NavaExtend, latent: it is empty"):
        extend(nava, latent_of(nava))
    with pytest.raises(ValueError, match=r"before: this is not the output before of NAVA Extend"):
        extend(nava, filled(), before=filled())
    other = extend(nava, filled(frames=13, steps=52))[1]
    with pytest.raises(ValueError, match="another size"):
        nava("extend").joined(other, {"samples": nested([torch.randn(1, 6, 9, 8, 6), torch.randn(1, 8, 35, 1)])})


def test_decoding_with_what_came_before(nava, files):
    """NavaDecode gives one clip of both, frames and samples of the first unchanged."""
    video, sound = torch.randn(1, 48, 7, 2, 2), torch.randn(1, 8, 27, 16)
    clip = {"samples": nested([video, sound])}
    next_, before, seconds = extend(nava, clip, 0.5, 0.5)
    g = torch.Generator().manual_seed(2)
    parts = [p + torch.randn(p.shape, generator=g) * (m == 1) for p, m in zip(next_["samples"].unbind(), next_["noise_mask"].unbind(), strict=True)]  # fmt: skip
    decode = nava("decode").NavaDecode.execute
    vaes = {"video_vae": files["video_vae"], "audio_vae": files["audio_vae"]}
    alone, _, _ = decode(clip, "off", **vaes).args
    images, audio, _ = decode({"samples": nested(parts)}, "off", **vaes, before=before).args
    assert len(images) == round(seconds * 24) == 37
    assert audio["waveform"].shape[-1] == round(37 * audio["sample_rate"] / 24)
    torch.testing.assert_close(images[:25], alone, atol=1e-5, rtol=1e-5)


def test_seams_are_measured_against_everywhere_else():
    """A clip that moves evenly under an even tone; one that jumps and gets louder at frame 24; a click is a flux of its own."""
    from seams import seam

    rate, at = 16000, torch.arange(48) / 24
    even = (at[:, None, None, None] * 0.1).expand(48, 8, 8, 3).clone()
    tone = 0.1 * torch.sin(2 * torch.pi * 440 * torch.arange(2 * rate) / rate)[None]
    calm = seam(even, 24, tone, rate, [24])
    assert calm["picture"] == pytest.approx(1, abs=0.01) and calm["picture_elsewhere"] == pytest.approx(1, abs=0.01)
    assert calm["picture_groups"] == pytest.approx(1, abs=0.01)
    assert calm["loudness"] < 0.1 and calm["loudness_elsewhere"] < 0.1
    jumps, louder = even.clone(), tone.clone()
    jumps[24:] += 0.5
    louder[:, rate:] *= 4
    found = seam(jumps, 24, louder, rate, [24])
    assert found["picture"] > 50 and found["picture_elsewhere"] == pytest.approx(1, abs=0.01)
    assert found["picture_groups"] == pytest.approx(1, abs=0.01)
    assert found["loudness"] == pytest.approx(12, abs=0.2) and found["loudness_elsewhere"] < 0.1
    # more changes between groups of four, and as much at the seam
    grouped = seam(even + (torch.arange(48) // 4 * 0.2)[:, None, None, None], 24, tone, rate, [24])
    assert grouped["picture"] > 1.5 and grouped["picture_groups"] == pytest.approx(grouped["picture"], abs=0.01)
    clicked = tone.clone()
    clicked[:, rate] = 1
    assert seam(even, 24, clicked, rate, [24])["flux"] > 10 * calm["flux"]
