"""What the editor shows while NAVA samples: moving picture, the sound's spectrogram and how it sounds, steps and passes."""

import base64
import io
import sys
import time

import comfy.utils
import torch
from comfy.cli_args import LatentPreviewMethod, args
from PIL import Image

from .live_sound import LiveSound

SHARE = 0.02  # of the time of a step that showing may take
SIDE = 256  # longest side of a shown frame, in pixels
MOST_FRAMES = 24


class LiveView:
    """Sends `nava.live` events to the editor; spends at most SHARE of the sampling time, and nothing without previews."""

    def __init__(self, model, latent_shapes, passes=(), audio_vae=None):
        self.model, self.latent_shapes, self.passes = model, latent_shapes, list(passes)
        self.listening = None if audio_vae is None else LiveSound(audio_vae)
        self.share = SHARE if audio_vae is None else SHARE / 2  # the other half is for the sound
        self.spent, self.started, self.shown = 0.0, time.perf_counter(), False
        # there is none where the nodes are used as a library, and a worker of NavaParallel shall not load all of it
        server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
        watched = server is not None and server.client_id is not None
        self.server = server if watched and args.preview_method != LatentPreviewMethod.NoPreviews else None

    def wrap(self, callback):
        """The sampler's callback, with the view behind it."""
        if self.server is None:
            return callback

        def wrapped(step, x0, x, total_steps):
            self.show(step, x0, total_steps)
            return callback(step, x0, x, total_steps) if callback is not None else None

        return wrapped

    def show(self, step: int, x0, total: int) -> None:
        if self.shown and self.spent > self.share * (time.perf_counter() - self.started) and step + 1 < total:
            return
        parts = x0.unbind() if x0.is_nested else comfy.utils.unpack_latents(x0, self.latent_shapes)
        # Bringing the little that is shown to the CPU waits for the step itself: the clock starts after that.
        video = next((p[:1].float().cpu() for p in parts if self.is_picture(p)), None)
        audio = next((p[:1].float().cpu() for p in parts if not self.is_picture(p)), None)
        start = time.perf_counter()
        pace = (start - self.started) / (step + 1)
        heard = None
        if self.listening is not None and audio is not None and step + 1 < total:  # the whole follows the last step
            heard = self.listening.hear(audio, self.share * (start - self.started))
            start = time.perf_counter()
        self.server.send_sync(
            "nava.live",
            {
                "node": self.server.last_node_id,
                "prompt_id": self.server.last_prompt_id,
                "step": step + 1,
                "total": total,
                "seconds_per_step": round(pace, 2),
                "seconds_left": round(pace * (total - step - 1), 1),
                "passes": self.passes,
                "frames": [] if video is None else self.frames(video),
                "sound": None if audio is None else spectrogram(audio),
                "heard": heard,
            },
            self.server.client_id,
        )
        self.shown = True
        self.spent += time.perf_counter() - start

    def is_picture(self, latent: torch.Tensor) -> bool:
        return latent.ndim == 5 and latent.shape[1] == self.model.nava_config.vid_in_dim

    def frames(self, video: torch.Tensor) -> list[str]:
        """The clip as small JPEGs, through the host's latent-to-rgb factors."""
        form = self.model.latent_format
        if form.latent_rgb_factors is None:
            return []
        every = -(-video.shape[2] // MOST_FRAMES)
        factors, bias = torch.tensor(form.latent_rgb_factors), torch.tensor(form.latent_rgb_factors_bias)
        rgb = video[0, :, ::every].movedim(0, -1) @ factors + bias
        pixels = ((rgb + 1) * 127.5).clamp(0, 255).byte().numpy()
        return [encode(Image.fromarray(frame)) for frame in pixels]


def spectrogram(audio: torch.Tensor) -> str:
    """A strip of the audio latent: time across, mel bins up, loudness as brightness."""
    strip = audio.squeeze(2) if audio.ndim == 5 else audio
    strip = strip[0].mean(0).T.flip(0)
    strip = ((strip + 2) * 64).clamp(0, 255).byte().numpy()
    return encode(Image.fromarray(strip))


def encode(image: Image.Image) -> str:
    scale = SIDE / max(image.size)
    if image.mode == "RGB":
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return base64.b64encode(data.getvalue()).decode()
