"""The tiny set: every model file NAVA needs, small, seeded and random, in the released layouts.

python tools/tiny.py HOST MODELS      (in the pack's virtual environment)
"""

import io
import os
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"

FILES = {
    "diffusion_models": "nava_tiny.safetensors",
    "text_encoders": "nava_tiny_umt5.safetensors",
    "vae": "nava_tiny_wan2.2_vae.safetensors",
    "checkpoints": "nava_tiny_ltx_audio_vae.safetensors",
    "audio_encoders": "nava_tiny_redimnet.pt",
}
TEXT_DIM = 64

CORPUS = """
A woman on a rainy street turns to the camera and says softly that the train has left without them.
The glass falls from the table and breaks on the stone floor with a bright, short crash.
Waves roll over the beach, gulls cry, the wind blows in the microphone, a dog barks far away.
Two men argue in a kitchen; the kettle whistles, one of them laughs, then a door slams shut.
一个女人站在下雨的街上，转过头来，轻声说火车已经开走了。
玻璃杯从桌上掉下来，在石头地上摔碎，发出清脆短促的声音。
海浪拍打着沙滩，海鸥在叫，风吹过麦克风，远处有一只狗在叫。
画面模糊，过曝，静止不动的画面，字幕，水印，低质量，多余的手指，畸形的肢体，机械的声音，回声，失真。
<S>Hello, who is there?<E> <S>你好，你是谁？<E> : ( ) ，。！？“” 0123456789
"""


def spiece_model() -> torch.Tensor:
    """A small SentencePiece model with umT5's special ids (pad 0, eos 1, unk 2), as ComfyUI stores one in a file."""
    import sentencepiece

    lines = [line for line in CORPUS.strip().splitlines()]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 4), model_writer=model, vocab_size=800, model_type="unigram",
        character_coverage=1.0, hard_vocab_limit=False, byte_fallback=True, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        num_threads=1, minloglevel=2,
    )  # fmt: skip
    return torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)


def random_like(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """Weights at the usual initial scale: matrices by fan-in, gains 1, offsets small."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        if len(shape) > 1 and not name.endswith(("modulation", "gamma")):
            scale = torch.tensor(shape[1:]).prod().rsqrt()
            weights[name] = torch.randn(shape, generator=generator) * scale
        elif name.endswith(("gamma", "norm.weight", "norm_q.weight", "norm_k.weight", "norm3.weight", "net.0.weight")):
            weights[name] = torch.ones(shape)
        else:
            weights[name] = torch.randn(shape, generator=generator) * 0.02
    return weights


def transformer() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    sys.path.insert(0, str(ROOT))
    from nava_core import NavaConfig
    from nava_core.checkpoint import expected_shapes

    sys.path.remove(str(ROOT))  # this folder's `nodes` must not hide the host's
    config = NavaConfig(
        dim=96, num_heads=2, num_double_layers=2, num_single_layers=2, ffn_dim=192, freq_dim=64, text_dim=TEXT_DIM
    )
    weights = random_like({f"backbone.{k}": v for k, v in expected_shapes(config).items()}, seed=1)
    return weights, {"nava_config": config.to_metadata()}


def text_encoder() -> dict[str, torch.Tensor]:
    heads, d_kv, d_ff, layers = 4, 16, 128, 2
    spiece = spiece_model()
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_proto=spiece.numpy().tobytes()).get_piece_size()
    shapes = {"shared.weight": (pieces + 300, TEXT_DIM), "encoder.final_layer_norm.weight": (TEXT_DIM,)}
    for i in range(layers):
        block = f"encoder.block.{i}.layer."
        for name in "qkv":
            shapes[f"{block}0.SelfAttention.{name}.weight"] = (heads * d_kv, TEXT_DIM)
        shapes[f"{block}0.SelfAttention.o.weight"] = (TEXT_DIM, heads * d_kv)
        shapes[f"{block}0.SelfAttention.relative_attention_bias.weight"] = (32, heads)
        shapes[f"{block}0.layer_norm.weight"] = (TEXT_DIM,)
        shapes[f"{block}1.DenseReluDense.wi_0.weight"] = (d_ff, TEXT_DIM)
        shapes[f"{block}1.DenseReluDense.wi_1.weight"] = (d_ff, TEXT_DIM)
        shapes[f"{block}1.DenseReluDense.wo.weight"] = (TEXT_DIM, d_ff)
        shapes[f"{block}1.layer_norm.weight"] = (TEXT_DIM,)
    weights = random_like(shapes, seed=2)
    weights["shared.weight"] *= TEXT_DIM**0.5
    return weights | {"spiece_model": spiece}


def video_vae(host: Path) -> dict[str, torch.Tensor]:
    sys.path.insert(0, str(host))
    from comfy.cli_args import args

    args.cpu = True
    from comfy.ldm.wan.vae2_2 import WanVAE

    vae = WanVAE(dim=8, dec_dim=8, z_dim=48, dim_mult=[1, 2, 4, 4], temperal_downsample=[False, True, True])
    return random_like({k: tuple(v.shape) for k, v in vae.state_dict().items()}, seed=3)


def put(path: Path, write) -> None:
    """`write(part)` makes a file; it appears under its name only when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")  # another process may be writing it too
    write(part)
    part.replace(path)


def make(host: Path, models: Path) -> None:
    """Write the files that are not there yet."""

    def save(part: Path, weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        save_file({k: v.contiguous() for k, v in weights.items()}, part, metadata)

    for kind, write in {
        "diffusion_models": lambda part: save(part, *transformer()),
        "text_encoders": lambda part: save(part, text_encoder(), {}),
        "vae": lambda part: save(part, video_vae(host), {}),
        "checkpoints": lambda part: shutil.copyfile(DATA / "ltx_audio_vae_tiny.safetensors", part),
        "audio_encoders": lambda part: shutil.copyfile(DATA / "redimnet_tiny.pt", part),
    }.items():
        path = models / kind / FILES[kind]
        if not path.exists():
            put(path, write)


def make_inputs(folder: Path) -> None:
    """The picture and the recordings that the example workflows name, made from arithmetic."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:360, 0:640]
    sky = np.stack([120 + 0 * x, 150 + y / 4, 220 - y / 5], -1)
    disc = np.hypot(x - 420, y - 130) < 60
    sky[disc] = (250, 220, 120)
    sky[y > 240 + 10 * np.sin(x / 30)] = (40, 90, 60)
    Image.fromarray(sky.clip(0, 255).astype("uint8")).save(folder / "example.png")
    evening = sky * (1.0, 0.8, 0.7)
    evening[disc] = sky[100, 100] * (1.0, 0.8, 0.7)
    evening[(np.hypot(x - 420, y - 210) < 60) & (y <= 240 + 10 * np.sin(x / 30))] = (250, 120, 60)
    Image.fromarray(evening.clip(0, 255).astype("uint8")).save(folder / "example_last.png")
    falling_ball(folder / "example.mp4")
    for name, pitch in (("anna.wav", 210.0), ("ben.wav", 110.0)):
        recording(folder / name, pitch)


def falling_ball(path: Path, frames: int = 33, fps: int = 24) -> None:
    """A silent video of 256x160: a yellow ball that bounces."""
    import av
    import numpy as np

    y, x = np.mgrid[0:160, 0:256]
    with av.open(str(path), "w") as media:
        stream = media.add_stream("h264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 256, 160, "yuv420p"
        for i in range(frames):
            picture = np.where(y[..., None] < 130, (120, 160, 220), (140, 95, 55)).astype("uint8")
            t = i / fps % 0.8 - 0.4
            picture[np.hypot(x - 128, y - (114 - 90 * (1 - (t / 0.4) ** 2))) < 16] = (240, 210, 60)
            media.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        media.mux(stream.encode())


def recording(path: Path, pitch: float, seconds: float = 5.0, rate: int = 44100) -> None:
    """A voice-like recording: a gliding pulse train with syllables and breath noise, 16-bit mono."""
    import wave

    import numpy as np

    t = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * t))) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3 * t), 0, None) ** 0.5
    breath = np.random.default_rng(int(pitch)).normal(size=t.size) * 0.05
    sound = 0.3 * (voice * syllables + breath) / np.abs(voice).max()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
    if len(sys.argv) > 3:
        make_inputs(Path(sys.argv[3]))
