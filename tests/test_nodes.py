"""The nodes in one process: what they make of good input, and what they say to bad input."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from support import DATA


def empty(nava, mode="audio + video", width=64, height=64, seconds=0.5, batch=1):
    return nava("latent").NavaEmptyLatent.execute(mode, width, height, seconds, batch)


def text(nava, files, prompt="a b c", negative="d", **voices):
    return nava("text").NavaTextEncode.execute(files["clip"], prompt, negative, voices or None).args


def guider(nava, files, positive, negative, model=None):
    return nava("guide").NavaGuider.execute(model or files["model"], positive, negative, 3.0, 3.0, 2.0, 2.0, 3.0)[0]


def noise_of(latent):
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise

    return Noise_RandomNoise(1).generate_noise(latent)


def sample(nava, files, latent, positive, negative):
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

    sigmas = nava("sample").NavaScheduler.execute(files["model"], 2, 5.0, 1.0)[0]
    sampler = nava("sample").NavaSamplerSelect.execute("unipc")[0]
    g = guider(nava, files, positive, negative)
    return SamplerCustomAdvanced.execute(Noise_RandomNoise(1), g, sampler, sigmas, latent)[0]


def test_audio_vae_parity(golden):
    """ComfyUI's audio VAE on the released code's numbers: 48 kHz stereo."""
    import comfy.sd
    import comfy.utils

    import nava_core

    weights, metadata = comfy.utils.load_torch_file(str(DATA / "ltx_audio_vae_tiny.safetensors"), return_metadata=True)
    names = {"audio_vae.": "autoencoder.", "vocoder.": "vocoder."}
    vae = comfy.sd.VAE(sd=comfy.utils.state_dict_prefix_replace(weights, names, filter_keys=True), metadata=metadata)
    g = golden("audio_vae")
    waveform = vae.decode(nava_core.tokens_to_audio(g["latent_tokens"][None])).movedim(-1, 1)
    error = (waveform[0] - g["waveform_48k"]).abs().max().item()
    latent = vae.first_stage_model.encode(g["encode.waveform_16k"][None], sample_rate=16000)
    encode_error = (nava_core.audio_to_tokens(latent)[0] - g["encode.latent_tokens"]).abs().max().item()
    print(f"audio VAE: decoding differs by {error:.1e}, encoding by {encode_error:.1e}")
    assert waveform.shape == (1, 2, 21600) and vae.first_stage_model.output_sample_rate == 48000
    assert error < 1e-3 and encode_error < 1e-3


@pytest.mark.parametrize("mode", ["audio + video", "video", "audio"])
def test_every_mode_samples_and_decodes(nava, files, mode):
    latent, frames, seconds, steps = empty(nava, mode).args
    assert (frames, steps) == (13, 14) and seconds == 13 / 24
    out = sample(nava, files, latent, *text(nava, files))
    images, audio, fps = nava("decode").NavaDecode.execute(out, "auto", files["video_vae"], files["audio_vae"]).args
    assert fps == 24
    if "video" in mode:
        assert images.shape == (13, 64, 64, 3) and 0 <= images.min() <= images.max() <= 1
    else:
        assert images is None
    if "audio" in mode:
        assert audio["sample_rate"] == 48000 and audio["waveform"].shape[:2] == (1, 2)
        assert abs(audio["waveform"].shape[-1] / 48000 - seconds) < 1 / 24
        if "video" in mode:
            assert audio["waveform"].shape[-1] == round(13 / 24 * 48000)
    else:
        assert audio is None


def test_stock_separate_and_concat(nava, files):
    from comfy_extras.nodes_lt import LTXVConcatAVLatent, LTXVSeparateAVLatent

    latent = empty(nava)[0]
    video, audio = LTXVSeparateAVLatent.execute(latent).args
    joined = LTXVConcatAVLatent.execute(video, audio)[0]
    a, b = (sample(nava, files, x, *text(nava, files))["samples"].unbind() for x in (latent, joined))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_text_is_encoded_without_host_syntax(nava, files):
    """Parentheses are characters, rows end with the end token, nothing is padded away or weighted."""
    plain, _ = text(nava, files, "ab (c:1.5) d")
    spiece = files["clip"].tokenizer.clip_umt5xxl.tokenizer.tokenizer
    ids = spiece.encode("ab (c:1.5) d", add_bos=False, add_eos=False)
    assert plain[0][0].shape == (1, len(ids) + 1, 64)
    reference = files["clip"].encode_from_tokens({"umt5xxl": [[(i, 1.0) for i in [*ids, 1]]]})
    assert torch.equal(plain[0][0], reference)


def test_long_prompt_is_cut_at_512(nava, files, caplog):
    positive, _ = text(nava, files, "雨 " * 2000)
    assert positive[0][0].shape[1] == 512
    assert "the model reads the first 512" in caplog.text


def test_voices_ride_in_the_conditioning(nava, files):
    host, voice = nava("host"), nava("voice").Voice
    anna, ben = voice("Anna", torch.full((192,), 0.1)), voice("Ben", torch.full((192,), 0.2))
    positive, negative = text(nava, files, "<S:Anna>a<E><S:Ben>b<E><S:->c<E><S:Anna>d<E>", voice_0=anna, voice_1=ben)
    extra = positive[0][1]
    assert extra[host.VOICES][:, 0].tolist() == pytest.approx([0.1, 0.2, 0.0, 0.1])
    assert len(extra[host.VOICE_POSITIONS]) == 4
    assert host.VOICES not in negative[0][1]
    unvoiced, _ = text(nava, files, "<S>a<E>")
    assert host.VOICES not in unvoiced[0][1]


def test_voice_from_audio(nava, files, caplog):
    t = torch.arange(4 * 22050) / 22050
    audio = {"waveform": (torch.sin(800 * t) * 0.3).expand(1, 2, -1), "sample_rate": 22050}
    voice = nava("voice").NavaVoice.execute(files["encoder"], audio, " Anna ")[0]
    assert voice.name == "Anna" and voice.embedding.shape == (192,)
    nava("voice").NavaVoice.execute(files["encoder"], {**audio, "waveform": torch.zeros(1, 1, 22050)}, "")
    assert "silent" in caplog.text and "lasts 1.0 s" in caplog.text


@pytest.mark.parametrize("shape", [(1, 100, 300, 3), (1, 333, 77, 4), (1, 1, 1, 3), (1, 64, 64, 1), (3, 50, 50, 3)])
def test_first_frame_takes_any_picture(nava, files, shape):
    latent = empty(nava)[0]
    out = nava("first_frame").NavaFirstFrame.execute(torch.rand(shape), files["video_vae"], latent, "as the latent")[0]
    video, audio = out["samples"].unbind()
    masks = out["noise_mask"].unbind()
    assert video.shape == (1, 48, 4, 4, 4) and audio.shape[0] == 1
    assert masks[0][:, :, 0].max() == 0 and masks[0][:, :, 1:].min() == 1 and masks[1].min() == 1
    assert torch.equal(latent["samples"].tensors[0], torch.zeros(1, 48, 4, 4, 4)), "the input stays as it was"


def test_first_frame_stays_through_sampling(nava, files):
    latent = empty(nava, "video")[0]
    start = nava("first_frame").NavaFirstFrame.execute(
        torch.rand(1, 64, 64, 3), files["video_vae"], latent, "as the latent"
    )[0]
    out = sample(nava, files, start, *text(nava, files))["samples"]
    torch.testing.assert_close(out[:, :, :1], start["samples"][:, :, :1], atol=1e-5, rtol=1e-5)


def test_first_frame_takes_the_trained_shape(nava, files, monkeypatch):
    from nava_core import sizes

    monkeypatch.setattr(
        sizes, "TRAINED_SHAPES", ((4, 4), *sizes.TRAINED_SHAPES[1:4], (4, 8), *sizes.TRAINED_SHAPES[5:])
    )
    out = nava("first_frame").NavaFirstFrame.execute(
        torch.rand(1, 90, 160, 3), files["video_vae"], empty(nava, "video")[0], "nearest trained shape"
    )[0]
    assert out["samples"].shape[-2:] == (4, 8)


def test_streamed_decoding_is_the_host_decoding(nava, files):
    latent = torch.randn(2, 48, 3, 4, 6)
    found = nava("picture").decode_picture(latent, files["video_vae"], "off")
    torch.testing.assert_close(found, files["video_vae"].decode(latent).flatten(0, 1), atol=1e-5, rtol=1e-5)


def test_tiled_decoding(nava, files, monkeypatch):
    """Tiles give what the whole gives away from their seams, and no step is larger at a seam than elsewhere.

    The decoder's one attention layer sees the whole picture, or the whole tile. With random weights it is an average
    over everything and would say nothing about tiling, so it is silenced here.
    """
    vae = files["video_vae"]
    attention = vae.first_stage_model.decoder.middle[1]
    monkeypatch.setattr(attention, "forward", lambda x, *_: x)
    latent = torch.nn.functional.interpolate(torch.randn(1, 48, 2, 6, 8), size=(2, 40, 56), mode="trilinear") * 0.5
    decode = nava("picture").decode_picture
    whole, tiled = decode(latent, vae, "off"), decode(latent, vae, "on")
    difference = (whole - tiled).abs()
    tile, overlap, margin = 32, 8, 4
    seams = [torch.zeros(n * 16, dtype=torch.bool) for n in (40, 56)]
    for seam, n in zip(seams, (40, 56), strict=True):
        for position in range(tile - overlap, n - overlap, tile - overlap):
            seam[max(0, (position - margin) * 16) : (position + overlap + margin) * 16] = True
    away = difference[:, ~seams[0]][:, :, ~seams[1]]
    steps = [(t[:, :, 1:] - t[:, :, :-1]).abs().mean((0, 1, 3)) for t in (whole, tiled)]
    at_seams = seams[1][1:]
    ratio = (steps[1][at_seams].max() / steps[0][at_seams].max()).item()
    print(
        f"tiled: {away.max() * 255:.2f}/255 away from seams, {difference.max() * 255:.2f}/255 anywhere, "
        f"largest step at a seam {ratio:.2f} of the largest without"
    )
    assert away.max() < 2 / 255
    assert ratio < 1.1


def test_tiles_follow_the_free_memory(nava, files, monkeypatch):
    import comfy.model_management

    picture, vae = nava("picture"), files["video_vae"]
    shape = (1, 48, 37, 44, 80)
    chosen = []
    for share in (2.0, 0.5, 0.2, 0.05, 0.001):
        free = vae.memory_used_decode(shape, vae.vae_dtype) * share
        monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_, free=free: free)
        chosen.append(picture.tiles_for(vae, shape, "auto")[0])
    print("tiles by free memory:", chosen)
    assert chosen[0] is None and chosen[-1] == 16
    assert all(a is None or a >= b for a, b in itertools.pairwise(chosen))


def test_memory_that_the_host_can_free_counts_as_free(nava, files, monkeypatch):
    """Where VRAM is managed dynamically, the patcher knows of memory that other models hold and would give back."""
    import comfy.model_management

    vae, shape = files["video_vae"], (1, 48, 37, 44, 80)
    whole = vae.memory_used_decode(shape, vae.vae_dtype)
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_: whole * 0.1)
    assert nava("picture").tiles_for(vae, shape, "auto")[0] is not None
    monkeypatch.setattr(vae.patcher, "get_free_memory", lambda _: whole * 2)
    assert nava("picture").tiles_for(vae, shape, "auto")[0] is None


def test_a_video_as_first_frame_makes_one_clip(nava, files, caplog):
    """Only the batch's own size, or the switch, makes a clip from each picture."""
    node, pictures = nava("first_frame").NavaFirstFrame, torch.rand(3, 64, 64, 3)
    one = node.execute(pictures, files["video_vae"], empty(nava)[0], "as the latent")
    assert one[0]["samples"].tensors[0].shape[0] == 1 and "only the first is used" in caplog.text
    assert "each_picture" in one.ui["text"][0]
    alone = node.execute(pictures[:1], files["video_vae"], empty(nava)[0], "as the latent")
    assert torch.equal(one[0]["samples"].tensors[0], alone[0]["samples"].tensors[0]) and alone.ui is None
    for latent, each in ((empty(nava)[0], True), (empty(nava, batch=3)[0], False)):
        out = node.execute(pictures, files["video_vae"], latent, "as the latent", each)[0]
        assert out["samples"].tensors[0].shape[0] == 3


def graph_of(mode, takers):
    """A prompt: size, sampler, decode, and what takes images (0) and audio (1)."""
    prompt = {
        "1": {"class_type": "NavaEmptyLatent", "inputs": {"mode": mode}},
        "2": {"class_type": "SamplerCustomAdvanced", "inputs": {"latent_image": ["1", 0]}},
        "3": {"class_type": "NavaDecode", "inputs": {"latent": ["2", 0]}},
    }
    for i, (kind, inputs) in enumerate(takers):
        prompt[f"9:{i}"] = {"class_type": kind, "inputs": inputs}
    return prompt


VIDEO = ("CreateVideo", {"images": ["3", 0], "audio": ["3", 1], "fps": 24})
SOUND = ("PreviewAudio", {"audio": ["3", 1]})
FRAMES = ("PreviewImage", {"images": ["3", 0]})


@pytest.mark.parametrize(
    ("mode", "takers", "vaes", "fault"),
    [
        ("audio + video", [VIDEO], "va", None),
        ("video", [VIDEO], "va", None),
        ("video", [VIDEO, SOUND], "va", None),
        ("audio", [VIDEO, SOUND], "va", None),
        ("audio", [VIDEO], "va", "Save Audio"),
        ("audio + video", [VIDEO], "v", "audio_vae"),
        ("audio + video", [FRAMES], "v", None),
        ("video", [FRAMES], "a", "video_vae"),
    ],
)
def test_modes_are_checked_before_sampling(nava, mode, takers, vaes, fault):
    from comfy_extras.nodes_audio import PreviewAudio
    from comfy_extras.nodes_video import CreateVideo

    import nodes as host_nodes

    known = {"CreateVideo": CreateVideo, "PreviewAudio": PreviewAudio, "PreviewImage": host_nodes.PreviewImage}
    host_nodes.NODE_CLASS_MAPPINGS.update({k: v for k, v in known.items() if k not in host_nodes.NODE_CLASS_MAPPINGS})
    prompt = graph_of(mode, takers)
    check = lambda: nava("decode").check_streams(prompt, "3", "v" in vaes, "a" in vaes)  # noqa: E731
    if fault:
        refuses(check, "NavaDecode", fault)
    else:
        check()


def test_the_missing_stream_is_nothing_where_that_is_taken(nava):
    """CreateVideo takes images without sound; a node that needs the sound is skipped."""
    from comfy_api.latest._io import HiddenHolder
    from comfy_execution.graph_utils import ExecutionBlocker

    for takers, output, kind in (
        ([VIDEO], 1, type(None)),
        ([SOUND], 1, ExecutionBlocker),
        ([VIDEO], 0, ExecutionBlocker),
    ):
        hidden = HiddenHolder(unique_id="3", prompt=graph_of("video", takers), extra_pnginfo=None, dynprompt=None,
                              auth_token_comfy_org=None, api_key_comfy_org=None, comfy_usage_source=None)  # fmt: skip
        found = nava("decode").absent(hidden, output)
        assert isinstance(found, kind) and getattr(found, "message", None) is None


def test_decoding_goes_on_with_smaller_tiles_when_memory_runs_out(nava, files, monkeypatch):
    picture, vae, tried = nava("picture"), files["video_vae"], []
    original = picture.decode_in_tiles

    def scarce(latent, vae, tile):
        tried.append(tile)
        if tile is None or tile > 16:
            raise torch.OutOfMemoryError("scarce")
        return original(latent, vae, tile)

    monkeypatch.setattr(picture, "decode_in_tiles", scarce)
    assert picture.decode_picture(torch.randn(1, 48, 1, 20, 28), vae).shape == (1, 320, 448, 3)
    assert tried == [None, 24, 16]


def test_a_first_frame_is_encoded_in_tiles_when_memory_runs_out(nava, files, monkeypatch):
    """By the host, as it encodes anything: what goes in comes near what a card with enough memory makes."""
    image, vae, tried = torch.rand(1, 1, 1, 3).expand(1, 192, 320, 3), files["video_vae"], []
    latent = {"samples": torch.zeros(1, 48, 2, 12, 20)}
    whole, original = (
        nava("first_frame").NavaFirstFrame.execute(image, vae, latent, "as the latent")[0],
        vae.first_stage_model.encode,
    )

    def scarce(pixels, **options):
        tried.append(tuple(pixels.shape[-2:]))
        if max(tried[-1]) > 256:
            raise torch.OutOfMemoryError("scarce")
        return original(pixels, **options)

    monkeypatch.setattr(vae.first_stage_model, "encode", scarce)
    tiled = nava("first_frame").NavaFirstFrame.execute(image, vae, latent, "as the latent")[0]
    first, wanted = tiled["samples"][:, :, 0], whole["samples"][:, :, 0]
    error = ((first - wanted).norm() / wanted.norm()).item()
    print(f"a first frame in {len(tried) - 1} tiles differs by {error:.3f}")
    assert len(tried) > 2 and error < 0.3


def test_batches_decode_to_picture_and_sound_of_one_length(nava, files):
    out = sample(nava, files, empty(nava, batch=2)[0], *text(nava, files))
    images, audio, _ = nava("decode").NavaDecode.execute(out, "auto", files["video_vae"], files["audio_vae"]).args
    assert images.shape[0] == 26 and audio["waveform"].shape == (1, 2, 2 * round(13 / 24 * 48000))


def test_long_sound_decodes_in_parts(nava, files, monkeypatch):
    """Parts joined give the sound of the whole."""
    sound = nava("sound")
    latent = torch.randn(1, 8, 130, 16, generator=torch.Generator().manual_seed(0))
    whole, _ = sound.decode_sound(latent, files["audio_vae"])
    monkeypatch.setattr(sound, "CHUNK", 50)
    parts, _ = sound.decode_sound(latent, files["audio_vae"])
    assert parts.shape == whole.shape
    error = (parts - whole).abs().max().item() / whole.abs().max().item()
    print(f"sound in parts differs by {error:.1e} of the peak")
    assert error < 1e-3


def test_join(nava):
    images = torch.rand(2, 9, 32, 32, 3)
    audio = [{"waveform": torch.rand(1, 2, 18000), "sample_rate": 48000} for _ in range(2)]
    join = nava("join").NavaJoin.execute
    out, sound = join(images[0], images[1], 1, 24.0, audio[0], audio[1]).args
    assert torch.equal(out, torch.cat([images[0], images[1][1:]]))
    assert sound["waveform"].shape == (1, 2, 17 * 2000)
    other = {"waveform": torch.rand(1, 1, 8269), "sample_rate": 22050}
    assert join(images[0], images[1], 1, 24.0, audio[0], other)[1]["waveform"].shape == (1, 2, 17 * 2000)
    assert join(images[0], images[1], 0, 24.0, None, other)[1]["sample_rate"] == 22050
    assert join(images[0], images[1], 1, 24.0)[1] is None
    with pytest.raises(ValueError, match="NavaJoin, overlap"):
        join(images[0], images[1], 9, 24.0)


# Bad input: every message names the node and the input, what is wrong, and what to do.


def refuses(action, *words):
    with pytest.raises(ValueError) as error:
        action()
    print(error.value)
    for word in words:
        assert word in str(error.value)


def test_size_off_the_grid(nava):
    refuses(lambda: empty(nava, width=100), "NavaEmptyLatent, width", "96 or 128")
    refuses(lambda: empty(nava, height=65), "NavaEmptyLatent, height", "64 or 96")


def test_foreign_model(nava, files):
    positive, negative = text(nava, files)
    refuses(
        lambda: guider(nava, files, positive, negative, files["clip"].patcher), "NavaGuider, model", "Load NAVA Model"
    )
    refuses(lambda: nava("sample").NavaScheduler.execute(files["clip"].patcher, 4, 5.0, 1.0), "NavaScheduler, model")


def test_text_encoder_of_the_wrong_width(nava, files):
    wide = [[torch.zeros(1, 3, 4096), {}]]
    refuses(lambda: guider(nava, files, wide, wide), "NavaGuider, positive", "4096", "64", "umT5")


def test_foreign_clip(nava, files):
    refuses(lambda: nava("text").NavaTextEncode.execute(object(), "a", "b"), "NavaTextEncode, clip", "type wan")


@pytest.mark.parametrize(
    ("prompt", "word"),
    [("", "empty"), (" \n ", "empty"), ("<S>a", "never closed"), ("a<E>", "without"), ("<S:Eve>a<E>", "Eve")],
)
def test_bad_prompts(nava, files, prompt, word):
    refuses(lambda: text(nava, files, prompt), "NavaTextEncode, prompt", word)


def test_swapped_vaes(nava, files):
    check = nava("decode").NavaDecode.check_lazy_status
    refuses(lambda: check(None, files["audio_vae"], files["video_vae"]), "NavaDecode, video_vae", "swapped")
    refuses(lambda: check(None, None, files["video_vae"]), "NavaDecode, audio_vae", "swapped")
    refuses(lambda: check(), "connect video_vae")
    assert check(None, files["video_vae"], files["audio_vae"]) == ["latent"]
    refuses(
        lambda: nava("first_frame").NavaFirstFrame.execute(
            torch.rand(1, 8, 8, 3), files["audio_vae"], empty(nava)[0], "as the latent"
        ),
        "NavaFirstFrame, video_vae",
    )


def test_latents_that_do_not_fit(nava, files):
    from comfy.nested_tensor import NestedTensor

    g = guider(nava, files, *text(nava, files))
    video, audio = empty(nava)[0]["samples"].unbind()

    def sampled(latent):
        return lambda: g.sample(latent, latent, None, torch.ones(2))

    refuses(sampled(NestedTensor([video, audio[:, :, :5]])), "NavaGuider, latent", "13 frames need 14 audio steps", "5")
    refuses(sampled(torch.zeros(1, 16, 3, 4, 4)), "NavaGuider, latent", "[1, 16, 3, 4, 4]", "NAVA Size and Length")
    refuses(sampled(NestedTensor([video, torch.zeros(1, 8, 14, 4)])), "NavaGuider, latent", "sound has shape")
    refuses(sampled(NestedTensor([video, audio, audio])), "3 parts")


def test_wrong_files(nava, files, tmp_path):
    import comfy.utils
    from safetensors.torch import save_file

    load = nava("load")
    vae = comfy.utils.load_torch_file(str(DATA / "ltx_audio_vae_tiny.safetensors"))
    refuses(lambda: load.umt5_sizes(vae, "x"), "not a umT5", "an audio VAE")
    refuses(lambda: load.wan22_sizes(vae, "x"), "not a Wan 2.2", "an audio VAE")
    refuses(
        lambda: load.load_model(str(DATA / "ltx_audio_vae_tiny.safetensors")), "not a NAVA model", "Load LTXV Audio VAE"
    )
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes((DATA / "nava_tiny.safetensors").read_bytes()[:5000])
    refuses(lambda: load.load_model(str(broken)), "broken.safetensors", "cut short")
    save_file({"shared.weight": torch.zeros(2, 2)}, tmp_path / "t5.safetensors")
    refuses(lambda: load.umt5_sizes({"shared.weight": torch.zeros(2, 2)}, "t5.safetensors"), "t5.safetensors")


def test_damaged_files_are_named(nava, base, tmp_path):
    """Every loader names its input, the file and the remedy; torch's advice to load unsafely is not passed on."""
    import folder_paths

    from nava_core import CheckpointError

    class Harmful:
        def __reduce__(self):
            return (print, ("code ran",))

    contents = {
        "page.safetensors": (b"<!DOCTYPE html><html>...", "web page"),
        "pointer.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "pointer file"),
        "empty.safetensors": (b"", "is empty"),
        "cut.safetensors": ((DATA / "nava_tiny.safetensors").read_bytes()[:9000], "cut short"),
        "empty.pt": (b"", "is empty"),
        "cut.pt": ((DATA / "redimnet_tiny.pt").read_bytes()[:3000], "cut short"),
        "code.pt": (None, "could run"),
    }
    for name, (content, _) in contents.items():
        if content is None:
            torch.save({"x": Harmful()}, tmp_path / name)
        else:
            (tmp_path / name).write_bytes(content)
    load, voice = nava("load"), nava("voice")
    loaders = {
        "diffusion_models": (lambda n: load.NavaModelLoader.execute(n, "default"), "NavaModelLoader, model_name"),
        "text_encoders": (
            lambda n: load.NavaTextEncoderLoader.execute(n, "default"),
            "NavaTextEncoderLoader, clip_name",
        ),
        "vae": (load.NavaVideoVAELoader.execute, "NavaVideoVAELoader, vae_name"),
        "audio_encoders": (voice.NavaVoiceEncoderLoader.execute, "NavaVoiceEncoderLoader, encoder_name"),
    }
    for kind, (execute, node_input) in loaders.items():
        folder_paths.add_model_folder_path(kind, str(tmp_path))
        for name, (_, word) in contents.items():
            with pytest.raises(CheckpointError) as error:
                execute(name)
            for expected in (node_input, name, word):
                assert expected in str(error.value), (kind, name, str(error.value))
            assert "weights_only" not in str(error.value)


def test_weights_that_are_no_numbers_are_refused_at_load(nava, base, tmp_path):
    from safetensors.torch import load_file, save_file

    from nava_core import CheckpointError, checkpoint, load_transformer

    weights, (_, metadata) = (
        load_file(DATA / "nava_tiny.safetensors"),
        checkpoint.read_header(DATA / "nava_tiny.safetensors"),
    )
    weights["backbone.head.head.weight"][0, 0] = float("nan")
    save_file(weights, tmp_path / "nan.safetensors", metadata)
    for action in (nava("load").load_model, load_transformer):
        with pytest.raises(CheckpointError, match=r"nan.safetensors holds NaN or infinite weights .*head.head.weight"):
            action(str(tmp_path / "nan.safetensors"))


def test_lengths_that_are_no_numbers(nava):
    for seconds in (float("nan"), float("inf")):
        refuses(lambda s=seconds: empty(nava, seconds=s), "NavaEmptyLatent, seconds", "Give a number")


def test_advice_for_float32_files_on_small_machines(nava, base, tmp_path):
    load, path = nava("load"), str(DATA / "nava_tiny.safetensors")
    size = (DATA / "nava_tiny.safetensors").stat().st_size
    assert "tools/convert.py nava_tiny.safetensors nava_tiny_bf16.safetensors --dtype bf16" in load.memory_advice(
        path, int(size * 1.3)
    )
    assert load.memory_advice(path, size * 3) is None


def test_recordings_that_are_none(nava, files):
    for waveform, word in ((torch.zeros(1, 1, 0), "empty"), (torch.full((1, 1, 9000), float("nan")), "NaN")):
        refuses(
            lambda w=waveform: nava("voice").NavaVoice.execute(files["encoder"], {"waveform": w, "sample_rate": 8000}, ""),
            "NavaVoice, audio", word,
        )  # fmt: skip
    audio = {"waveform": torch.rand(1, 1, 9000), "sample_rate": 8000}
    refuses(lambda: nava("voice").NavaVoice.execute(files["encoder"], audio, "a>b"), "NavaVoice, name")


def test_sample_picture_is_a_picture(base):
    """The sample input that workflows name opens and is not blank."""
    assert np.asarray(Image.open(base / "input/example.png")).std() > 10
