"""MODEL and CONDITIONING -> GUIDER: all passes of a step in one call."""

import copy

import comfy.samplers
import comfy.utils
import node_helpers
from comfy_api.latest import io

from ..nava_core.guidance import COND, MASKED, UNCOND, VOICELESS, Guidance
from .checks import check_latents
from .formats import is_audio
from .hooks import guided_stream, has_functions, name_unused, of_stream, split_functions, through_post
from .host import JOINT, VOICE_POSITIONS, VOICES, require_nava
from .masks import KEEPS_FIRST_FRAME, holding_first_frame, per_latent_frame
from .vae import require_audio_vae

PASSES = (COND, UNCOND, MASKED, VOICELESS)


def without_voices(conditioning):
    return [
        [text, {k: v for k, v in extra.items() if k not in (VOICES, VOICE_POSITIONS)}] for text, extra in conditioning
    ]


class NavaGuidance(comfy.samplers.CFGGuider):
    """Classifier-free, alignment and timbre guidance (paper section 4) over one or two modalities."""

    audio_vae = None  # lets the live view be heard

    def set_guidance(self, guidance: Guidance, start: float = 0.0, end: float = 1.0):
        """start, end: the part of sampling, by the model's own percentages, in which the contrasts act that are no text."""
        self.guidance = guidance
        self.contrast_range = (start, end)

    def set_conds(self, positive, negative):
        plain = without_voices(positive)
        self.has_voices = any(VOICES in extra for _, extra in positive)
        self.inner_set_conds(
            {
                "positive": positive,
                "negative": negative,
                MASKED: node_helpers.conditioning_set_values(plain, {JOINT: False}),
                VOICELESS: plain,
            }
        )

    def with_prompt(self, positive):
        """This guider with another prompt; the negative one and the scales stay."""
        other = copy.copy(self)
        other.original_conds = {}
        other.set_conds(positive, [])
        other.original_conds["negative"] = self.original_conds["negative"]
        return other

    def sample(self, noise, latent_image, sampler, sigmas, denoise_mask=None, **kwargs):
        shapes = [t.shape for t in (latent_image.unbind() if latent_image.is_nested else [latent_image])]
        config = self.model_patcher.model.nava_config
        check_latents(shapes, config, "NavaGuider, latent")
        self.lone_audio = len(shapes) == 1 and is_audio(shapes[0], config)
        has_audio = self.lone_audio or len(shapes) > 1
        self.weights = self.guidance.weights(not self.lone_audio, has_audio, self.has_voices)
        self.passes = [COND, *self.weights]
        self.told = set()
        if not self.lone_audio and not getattr(denoise_mask, "is_nested", False):
            if denoise_mask is not None:
                denoise_mask = per_latent_frame(denoise_mask, shapes[0][2])
            if getattr(latent_image, KEEPS_FIRST_FRAME, False):
                denoise_mask = holding_first_frame(denoise_mask, shapes[0])
        return super().sample(noise, latent_image, sampler, sigmas, denoise_mask=denoise_mask, **kwargs)

    def inner_sample(self, *args, latent_shapes=None, **kwargs):
        self.latent_shapes = latent_shapes
        sampling = self.model_patcher.get_model_object("model_sampling")
        self.contrast_sigmas = [float(sampling.percent_to_sigma(p)) for p in self.contrast_range]
        return super().inner_sample(*args, latent_shapes=latent_shapes, **kwargs)

    def predict_noise(self, x, timestep, model_options={}, seed=None):
        conds = {COND: self.conds["positive"], UNCOND: self.conds["negative"]} | self.conds
        weights = self.weights
        if self.contrast_range != (0.0, 1.0) or any(
            map(is_timed, conds.values())
        ):  # else the host need not wait for sigma
            sigma, (first, last) = float(timestep.max()), self.contrast_sigmas
            weights = {name: w for name, w in weights.items() if is_active(conds[name], sigma)}
            if not first >= sigma >= last:
                weights = {name: w for name, w in weights.items() if name == UNCOND}
        if model_options.get("disable_cfg1_optimization") and UNCOND not in weights:
            weights = {UNCOND: (0.0, 0.0), **weights}  # a cfg++ sampler steps along the unconditional pass
        run = [conds[p] if p == COND or p in weights else None for p in PASSES]
        outputs = comfy.samplers.calc_cond_batch(self.inner_model, run, x, timestep, model_options)
        name_unused(model_options, self.told)
        streams = dict(zip(PASSES, map(self._streams, outputs), strict=True))
        from_nodes, from_sampler = split_functions(model_options, self.model_options)
        both = (conds[COND], conds[UNCOND])
        if has_functions(from_nodes):
            mixed = self._through_functions(streams, weights, x, timestep, from_nodes, both)
        else:
            mixed = self.guidance.combine(streams, weights)
        result = packed(mixed)
        if from_sampler:
            given = [packed(streams[name]) if name in weights or name == COND else None for name in (COND, UNCOND)]
            result = through_post(
                from_sampler,
                result,
                given,
                x,
                timestep,
                self.inner_model,
                model_options,
                both,
                1 + max(weights.get(UNCOND, (0,))),
            )
        return result

    def _through_functions(self, streams, weights, x, timestep, model_options, conds):
        """As `Guidance.combine`, with the text contrast made by the functions that nodes put on the model."""
        out = []
        for i, (cond, given) in enumerate(zip(streams[COND], self._streams(x), strict=True)):
            if cond is None:
                out.append(None)
                continue
            uncond = streams[UNCOND][i] if UNCOND in weights else None
            scale = 1 + weights[UNCOND][i] if UNCOND in weights else 1.0
            contrasts = [(w[i], streams[name][i]) for name, w in weights.items() if name != UNCOND and w[i]]
            out.append(
                guided_stream(
                    cond,
                    uncond,
                    scale,
                    contrasts,
                    given,
                    timestep,
                    self.inner_model,
                    of_stream(i, model_options),
                    conds,
                )
            )
        return out

    def _streams(self, latent):
        """(video, audio) of a latent as the sampler sees it."""
        parts = comfy.utils.unpack_latents(latent, self.latent_shapes)
        if len(parts) == 2:
            return tuple(parts)
        return (None, parts[0]) if self.lone_audio else (parts[0], None)


def packed(streams):
    """(video, audio), either of them None, as the sampler sees them."""
    parts = [t for t in streams if t is not None]
    return parts[0] if len(parts) == 1 else comfy.utils.pack_latents(parts)[0]


def is_timed(conds) -> bool:
    """Whether any of these conditions acts in a part of sampling only."""
    return any("timestep_start" in c or "timestep_end" in c for c in conds)


def is_active(conds, sigma: float) -> bool:
    """Whether any of these conditions acts at this noise level; a pass without one would be a contrast with nothing."""
    return any(c.get("timestep_start", sigma) >= sigma >= c.get("timestep_end", sigma) for c in conds)


def check_text(conditioning, config, name: str) -> None:
    for text, _ in conditioning:
        if text is not None and text.shape[-1] != config.text_dim:
            raise ValueError(
                f"NavaGuider, {name}: the text encoder is {text.shape[-1]} wide, this NAVA model needs "
                f"{config.text_dim}. Use umT5-xxl (Load NAVA Text Encoder, or Load CLIP with type wan)."
            )
        if text is not None and text.shape[1] > config.text_len:
            raise ValueError(
                f"NavaGuider, {name}: {text.shape[1]} text tokens, NAVA reads {config.text_len}. Use NAVA Prompt."
            )


class NavaGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def scale(name, default, tooltip):
            return io.Float.Input(name, default=default, min=0.0, max=20.0, step=0.1, round=0.01, tooltip=tooltip)

        return io.Schema(
            node_id="NavaGuider",
            display_name="NAVA Guider",
            category="NAVA/sampling",
            description="Decides how closely picture and sound follow the prompt, each other, and the reference voices. Each of "
            "the three costs one more pass of the model at every step; those at 0 are left out.",
            inputs=[
                io.Model.Input("model", tooltip="From Load NAVA Model, with any LoRA or patch in between."),
                io.Conditioning.Input("positive", tooltip="From NAVA Prompt."),
                io.Conditioning.Input("negative", tooltip="From NAVA Prompt."),
                scale("video_text", 3.0, "How closely the picture follows the prompt. It is cfg minus 1: 3 is what other nodes call cfg 4."),
                scale("video_align", 3.0, "How closely the picture follows the sound. With audio_align at 0 too, a pass is saved."),
                scale("audio_text", 2.0, "How closely the sound follows the prompt. It is cfg minus 1: 2 is what other nodes call cfg 3."),
                scale("audio_align", 2.0, "How closely the sound follows the picture."),
                scale("audio_timbre", 3.0, "How closely speech follows the reference voices. Acts only when voices are connected."),
                io.Float.Input("contrast_start", default=0.0, min=0.0, max=1.0, step=0.01, advanced=True, tooltip="From which part of sampling on (0 to 1) the align and timbre scales act. 0: from the first step. Later is faster and loses some of their effect."),
                io.Float.Input("contrast_end", default=1.0, min=0.0, max=1.0, step=0.01, advanced=True, tooltip="Up to which part of sampling (0 to 1) the align and timbre scales act. 1: to the last step."),
                io.Vae.Input("audio_vae", optional=True, tooltip="The LTX-2.3 audio VAE. Only to hear the sound as it forms, in the live view: connect it and turn previews on. Changes nothing in the result."),
            ],
            outputs=[io.Guider.Output(tooltip="For SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, positive, negative, video_text, video_align, audio_text, audio_align, audio_timbre,
        contrast_start=0.0, contrast_end=1.0, audio_vae=None,
    ) -> io.NodeOutput:  # fmt: skip
        if audio_vae is not None:
            require_audio_vae(audio_vae, "NavaGuider, audio_vae")
        config = require_nava(model, "NavaGuider, model").nava_config
        check_text(positive, config, "positive")
        check_text(negative, config, "negative")
        guider = NavaGuidance(model)
        guider.set_conds(positive, negative)
        scales = Guidance(video_text, video_align, audio_text, audio_align, audio_timbre)
        guider.set_guidance(scales, contrast_start, contrast_end)
        guider.audio_vae = audio_vae
        return io.NodeOutput(guider)
