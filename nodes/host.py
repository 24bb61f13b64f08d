"""NAVA as a ComfyUI MODEL: the BaseModel subclass, its latent format, its noise schedule and its patcher."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from comfy import conds as comfy_conds
from comfy import (
    latent_formats,
    model_base,
    model_management,
    model_patcher,
    model_prefetch,
    supported_models_base,
    utils,
)
from comfy.ldm.modules.attention import optimized_attention
from comfy.model_base import ModelType
from comfy.model_sampling import CONST, ModelSamplingDiscreteFlow, reshape_sigma
from comfy.nested_tensor import NestedTensor
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers

from ..nava_core.config import NavaConfig
from ..nava_core.latents import audio_to_tokens, tokens_to_audio
from ..nava_core.schedule import FIRST_SIGMA
from ..nava_core.transformer import NavaTransformer
from . import kernels, lora
from .checks import check_conditioning, check_latents, check_model_options, check_places, check_schedule
from .formats import AUDIO_CHANNELS, is_audio
from .held import Held, level_at
from .kept_numbers import keep_stored
from .live import LiveView
from .saving import saved

MAX_TIMESTEP = 999  # the released sampler tells the network no later one; schedules of the host begin at 1000
SMALLEST_REST = 1e-6
# Float32 copies of the latent that sampler, guidance and the host keep around the network, for each row of a pass: traced,
# with four passes a step and the two rows that the host plans for.
OUTSIDE_COPIES = 12

# Keys that NavaTextEncode and NavaGuider put into CONDITIONING.
VOICES, VOICE_POSITIONS, JOINT = "nava_voices", "nava_voice_positions", "nava_joint"
SPOKEN_LINES = "nava_spoken_lines"  # for each line its row of VOICES, or None: for meters, the model does not read it
LATENT_SHAPES = "nava_latent_shapes"  # of a packed latent, for trainers that hand over nothing else
TEXT_MEMORIES = "nava_text_memories"  # in transformer_options, for the length of one sampling run


class NavaDiffusionModel(NavaTransformer):
    """The transformer behind the calling convention of ComfyUI's diffusion models."""

    def __init__(self, config: NavaConfig, device=None, dtype=None, operations=None):
        super().__init__(
            config,
            operations,
            optimized_attention,
            kernels.rotate,
            device,
            dtype,
            activated=kernels.activated,
            adaln=kernels.adaln,
            held=kernels.held,
        )
        self.in_channels = max(config.vid_in_dim, AUDIO_CHANNELS)  # RenormCFG asks how many channels to look at

    def forward(self, x, timestep, context, transformer_options={}, **kwargs):
        """x: a video or audio latent, or [video, audio]; context: rows from `embed_context`. Returns the same form."""
        return WrapperExecutor.new_class_executor(
            self._forward, self, get_all_wrappers(WrappersMP.DIFFUSION_MODEL, transformer_options)
        ).execute(x, timestep, context, transformer_options, **kwargs)

    def _forward(self, x, timestep, context, transformer_options={}, nava=None, **kwargs):
        check_places(transformer_options)
        levels_and_joint = levels_now(nava or {}, timestep)
        raw = levels_and_joint.pop("raw_text", None)
        if raw is not None:
            count = context.shape[0]
            voices = None if raw.voices is None else [raw.voices.to(context)] * count
            context = self.embed_context(context, voices, None if voices is None else [raw.positions] * count)
        if isinstance(x, (list, tuple)):
            video, audio = x
        elif is_audio(x.shape, self.config):
            video, audio = None, x
        else:
            video, audio = x, None
        tokens = None if audio is None else audio_to_tokens(audio.squeeze(2) if audio.ndim == 5 else audio)
        video_out, tokens_out = self.velocity(
            video,
            tokens,
            timestep,
            context,
            **levels_and_joint,
            options={"transformer_options": transformer_options},
            text_memory=None if raw is not None else self._text_memory(context, transformer_options),
        )
        audio_out = None if audio is None else tokens_to_audio(tokens_out, AUDIO_CHANNELS).reshape(audio.shape)
        if isinstance(x, (list, tuple)):
            return [video_out, audio_out]
        return video_out if audio is None else audio_out

    def weights_ahead(self, device, options):
        """Where VRAM is managed dynamically, a block's weights cross the bus together, while the one before computes."""
        blocks = [*self.double_blocks, *self.single_blocks]
        queue = model_prefetch.make_prefetch_queue(blocks, device, options.get("transformer_options", {}))
        return lambda block: model_prefetch.prefetch_queue_pop(queue, device, block)

    def _text_memory(self, context, transformer_options) -> dict | None:
        """Where this pass keeps the keys and values of its context, if there is a run to keep them for, and room."""
        run = transformer_options.get(TEXT_MEMORIES)
        if run is None or torch.compiler.is_compiling():
            return None
        memories = run.memories
        key = (*transformer_options["uuids"], context.device)
        if key not in memories:
            size = self.config.context_memory_values * context.shape[0] * context.element_size()
            memories[key] = {} if size * 8 < model_management.get_free_memory(context.device) else None
        return memories[key]


def levels_now(payload: dict, timestep) -> dict:
    """The payload of a pass, with what is released of a hard hold by now."""
    out = dict(payload)
    for name in ("video_levels", "audio_levels"):
        levels = payload.get(name)
        if levels is None:
            continue
        if torch.is_tensor(levels):
            if bool((levels < 0).any()):
                out[name] = level_at(levels, float(timestep.max()))
        elif min(levels) < 0:
            out[name] = [level_at(level, float(timestep.max())) for level in levels]
    return out


def window_indices(window) -> list[int]:
    """What a context window holds, with the frame that the host may put before it as an anchor."""
    anchor = getattr(window, "causal_anchor_index", None)
    return [*([] if anchor is None or anchor < 0 else [anchor]), *window.index_list]


@dataclass(frozen=True, eq=False)
class RawText:
    """For a pass that embeds its context itself, because weights change between passes: voices and the rows they take."""

    voices: torch.Tensor | None = None
    positions: tuple[int, ...] = ()


NO_VOICES = RawText()  # one for all: the host computes passes together whose payloads are equal


class TextMemories:
    """What one sampling run remembers of its contexts. An object, because the host copies every dict of its options."""

    def __init__(self):
        self.memories: dict[tuple, dict | None] = {}


class NavaSampling(ModelSamplingDiscreteFlow, CONST):
    """Flow matching that starts at pure noise, as the released sampler does (its first sigma is just below 1)."""

    def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
        rest = self._rest(sigma, noise.ndim)
        if max_denoise or float(sigma.max()) >= FIRST_SIGMA:
            # where no noise is added, a run goes on from what an earlier one left
            return torch.where(noise == 0, rest * latent_image, noise)
        return reshape_sigma(sigma, noise.ndim) * noise + rest * latent_image

    def inverse_noise_scaling(self, sigma, latent):
        return latent / self._rest(sigma, latent.ndim)

    def _rest(self, sigma, ndim):
        """1 - sigma, and never 0: a run that stops at pure noise can be taken up again."""
        return (1.0 - reshape_sigma(sigma, ndim)).clamp(min=SMALLEST_REST)


class FittingChannels(int):
    """The picture's channel count, that does not differ from the sound's: the host leaves empty latents of either be."""

    def __ne__(self, other):
        return int(self) != other and other != AUDIO_CHANNELS


class NavaLatents(latent_formats.Wan22):
    """Wan2.2's latents; when sound is made alone, its latent is previewed as a strip (time across, mel bins up)."""

    latent_channels = FittingChannels(latent_formats.Wan22.latent_channels)

    def latent_rgb_factors_reshape(self, x0):
        if x0.shape[1] != AUDIO_CHANNELS:
            return x0
        strip = (x0.squeeze(2) if x0.ndim == 5 else x0)[0].abs().mean(0).T.flip(0).clamp(max=2) - 1
        # the grey whose projection by the host's rgb factors is the strip
        to_rgb = torch.tensor(self.latent_rgb_factors, dtype=x0.dtype, device=x0.device)
        bias = torch.tensor(self.latent_rgb_factors_bias, dtype=x0.dtype, device=x0.device)
        grey = strip[..., None].expand(*strip.shape, 3) - bias
        return (grey @ torch.linalg.pinv(to_rgb.float()).to(x0)).movedim(-1, 0)[None]


class PlainVideoLatents(latent_formats.LatentFormat):
    """For models whose picture is not 48 Wan channels (test models): nothing to normalise."""

    latent_dimensions = 3
    spacial_downscale_ratio = 16
    temporal_downscale_ratio = 4

    def __init__(self, channels: int):
        self.latent_channels = FittingChannels(channels)


class NoSuchSetting(KeyError, ValueError):
    def __str__(self):
        return (
            f"NAVA is not a UNet: it has no {self.args[0]}, which a node on the model asks for (FreeU, HyperTile and Deep Shrink do "
            "so). Take that node off the model."
        )


class Settings(dict):
    """The settings by which the host builds the network, with a sentence for nodes that ask for those of other models."""

    def __missing__(self, key):
        raise NoSuchSetting(key)


class NavaModelConfig(supported_models_base.BASE):
    """What ComfyUI wants to know of a model before it builds it."""

    unet_extra_config = {}
    sampling_settings = {"shift": 5.0}
    latent_format = NavaLatents
    supported_inference_dtypes = [torch.bfloat16, torch.float16, torch.float32]  # fp16: cards older than bf16

    def __init__(self, config: NavaConfig):
        super().__init__({"config": config})
        self.unet_config = Settings(self.unet_config)
        if config.vid_in_dim != self.latent_format.latent_channels:
            self.latent_format = PlainVideoLatents(config.vid_in_dim)

    def get_model(self, state_dict, prefix="", device=None):
        return NavaModel(self, device=device)


class NavaModel(model_base.BaseModel):
    """NAVA in ComfyUI: video latents raw as the Wan2.2 VAE gives them, audio latents as the LTX audio VAE does."""

    network = NavaDiffusionModel
    embeds_in_passes = False  # whether the text is handed to the passes as it is, see RawText

    def __init__(self, model_config: NavaModelConfig, device=None):
        super().__init__(model_config, ModelType.FLOW, device=device, unet_model=self.network)
        self.model_sampling = NavaSampling(model_config)
        self.parallel: dict = {}  # patchers of this model over several processes, by what they run on

    @property
    def nava_config(self) -> NavaConfig:
        return self.diffusion_model.config

    def state_dict_for_saving(self, *args, **kwargs):
        return saved(super().state_dict_for_saving(*args, **kwargs), self)

    def process_timestep(self, timestep, **kwargs):
        return torch.floor(timestep).clamp(max=MAX_TIMESTEP)

    def scale_latent_inpaint(self, latent_image, **kwargs):
        return latent_image  # clean parts stay clean: the network is told so per token

    def process_latent_in(self, latent):
        return self._with_video(latent, self.latent_format.process_in)

    def process_latent_out(self, latent):
        return self._with_video(latent, self.latent_format.process_out)

    def _with_video(self, latent, process):
        """Only the picture is normalised. A packed latent carries no shapes: see `unpacked_latents`."""
        if latent.is_nested:
            return NestedTensor([self._with_video(t, process) for t in latent.unbind()])
        if latent.ndim == 5 and not is_audio(latent.shape, self.nava_config):
            return process(latent)
        return latent

    def extra_conds(self, **kwargs):
        out = super().extra_conds(**kwargs)
        shapes = kwargs.get("latent_shapes") or [kwargs["noise"].shape]
        if len(shapes) == 1 and len(shapes[0]) == 3:  # a packed latent, as trainers give one
            shapes = kwargs.get(LATENT_SHAPES) or shapes
        payload = {"joint": kwargs.get(JOINT, True), **self._noise_levels(kwargs, shapes)}
        text = kwargs.get("cross_attn")
        if text is None:  # an unconditional pass: no words at all
            text = torch.zeros(1, 0, self.nava_config.text_dim)
        text = text.to(device=kwargs["device"], dtype=self.get_dtype_inference())
        # ConditioningZeroOut leaves the voices in what becomes the negative; the unconditional pass has none
        voices = kwargs.get(VOICES) if kwargs.get("prompt_type") != "negative" else None
        positions = kwargs.get(VOICE_POSITIONS, ())
        if kwargs.get("hooks") is not None or model_management.in_training or self.embeds_in_passes:
            payload["raw_text"] = NO_VOICES if voices is None else RawText(voices.clone(), tuple(positions))
            rows = F.pad(text, (0, 0, 0, max(0, self.nava_config.text_len - text.shape[1])))
        else:  # the text never changes during a run: embed it once here, voices included
            rows = self.diffusion_model.embed_context(
                text,
                None if voices is None else [voices.to(text)] * text.shape[0],
                None if voices is None else [positions] * text.shape[0],
            )
        out["c_crossattn"] = comfy_conds.CONDRegular(rows)
        if len(shapes) > 1:  # a lone latent is never packed
            out["latent_shapes"] = comfy_conds.CONDConstant(shapes)
        out["nava"] = comfy_conds.CONDConstant(payload)
        return out

    def _noise_levels(self, kwargs, shapes) -> dict:
        """The noise mask in the model's own terms (see `transformer.NoiseLevels`)."""
        mask = kwargs.get("denoise_mask")
        if mask is None:
            return {}
        found = {}
        for part, shape in zip(utils.unpack_latents(mask, shapes), shapes, strict=True):
            part = part.expand(shape).float().mean(1)
            if is_audio(shape, self.nava_config):
                steps = part.mean(-1)
                same = bool((steps == steps[:1]).all())
                found["audio_levels"] = steps[0].tolist() if same else steps
                continue
            frames = part.mean((2, 3))
            uniform = torch.equal(part, frames[..., None, None].expand_as(part)) and bool((frames == frames[:1]).all())
            found["video_levels"] = frames[0].tolist() if uniform else part
        return found

    def map_context_window_to_modalities(self, primary_indices, latent_shapes, dim):
        """The sound of a window of frames: the audio steps that those frames last."""
        windows = [primary_indices]
        for shape in latent_shapes[1:]:
            pace = shape[dim] / latent_shapes[0][dim]
            spans = [range(round(i * pace), max(round(i * pace) + 1, round((i + 1) * pace))) for i in primary_indices]
            windows.append(list(dict.fromkeys(min(step, shape[dim] - 1) for span in spans for step in span)))
        return windows

    def resize_cond_for_context_window(self, cond_key, cond_value, window, x_in, device, retain_index_list=[]):
        if cond_key != "nava":
            return None
        payload = dict(cond_value.cond)
        if "video_levels" in payload:
            levels, frames = payload["video_levels"], window_indices(window)
            payload["video_levels"] = levels[:, frames] if torch.is_tensor(levels) else [levels[i] for i in frames]
        if "audio_levels" in payload and window.modality_windows:
            levels, steps = payload["audio_levels"], window_indices(window.modality_windows[1])
            payload["audio_levels"] = levels[:, steps] if torch.is_tensor(levels) else [levels[i] for i in steps]
        return cond_value._copy_with(payload)

    def memory_required(self, input_shape, cond_shapes={}):
        """Bytes that passes over latents of this (possibly packed) shape take, with what lies around them."""
        c = self.nava_config
        if len(input_shape) == 4:  # sound alone
            tokens = input_shape[2]
        else:  # a packed latent does not say how its numbers divide, but almost all of them are picture
            tokens = math.prod(input_shape[1:]) / (c.vid_in_dim * math.prod(c.patch_size))
        itemsize = model_management.dtype_size(self.get_dtype_inference())
        inside = c.activation_values(tokens, input_shape[0], itemsize) * itemsize
        return inside + OUTSIDE_COPIES * math.prod(input_shape) * 4


def unpacked_latents(executor, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None,
                     disable_pbar=False, seed=None, latent_shapes=None):  # fmt: skip
    """OUTER_SAMPLE wrapper: normalise the picture inside a packed latent, and unwrap a lone audio latent.

    The host packs nested latents to `[B, 1, N]` and then asks the model to normalise them, without saying which
    numbers are picture; here the shapes are known.
    """
    guider = executor.class_obj
    model = guider.model_patcher.model
    shapes = latent_shapes or [noise.shape]
    if not model_management.in_training:
        check_latents(shapes, model.nava_config, "NAVA, latent")
        check_schedule(sigmas)
        check_conditioning(guider.conds, packed=len(shapes) > 1)
        check_model_options(guider.model_options)
    shown = getattr(guider, "passes", ()), getattr(guider, "audio_vae", None)
    callback = LiveView(model, latent_shapes or [noise.shape], *shown).wrap(callback)
    options = guider.model_options.setdefault("transformer_options", {})
    if not guider.model_patcher.hook_patches:  # scheduled weight changes would make remembered values stale
        options[TEXT_MEMORIES] = TextMemories()
    try:
        return _sample_unpacked(executor, model, noise, latent_image, sampler, sigmas, denoise_mask, callback,
                                disable_pbar, seed, latent_shapes)  # fmt: skip
    finally:
        options.pop(TEXT_MEMORIES, None)
        model.diffusion_model.forget()


def _sample_unpacked(executor, model, noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed,
                     latent_shapes):  # fmt: skip
    if noise.shape != latent_image.shape and not torch.count_nonzero(noise):
        noise = torch.zeros_like(latent_image)  # KSamplerAdvanced without noise makes the zeros of one stream
    if latent_shapes is not None and len(latent_shapes) == 1:
        # Sound alone travels as a nested latent of one, or has got a dimension of the picture from stock samplers.
        shape = latent_shapes[0]
        if len(shape) == 5 and is_audio(shape, model.nava_config):
            shape = torch.Size((shape[0], shape[1], *shape[3:]))
            denoise_mask = None if denoise_mask is None else denoise_mask.squeeze(2)
        latent_shapes = [shape]
        noise, latent_image = noise.reshape(shape), latent_image.reshape(shape)
    packed = latent_shapes is not None and len(latent_shapes) > 1

    def normalised(latent, process):
        if not packed:
            return process(latent)
        return utils.pack_latents([process(t) for t in utils.unpack_latents(latent, latent_shapes)])[0]

    def process_in(latent):  # an empty latent stays empty, as the host does for single ones
        return model.process_latent_in(latent) if torch.count_nonzero(latent) else latent

    clean = normalised(latent_image, process_in)
    held = None
    if denoise_mask is not None:
        guider = executor.class_obj
        sampling = guider.model_patcher.get_model_object("model_sampling")
        held = Held(denoise_mask, sampling, sigmas, "denoise_mask_function" in guider.model_options)
        noise, denoise_mask = held.begin(guider, clean, noise, seed, latent_shapes or [noise.shape])
    rest = (sampler, sigmas, denoise_mask, callback, disable_pbar, seed)
    if packed:
        out = normalised(executor(noise, clean, *rest, latent_shapes=latent_shapes), model.process_latent_out)
    else:  # the host normalises a single one
        out = executor(noise, latent_image, *rest, latent_shapes=latent_shapes)
    return out if held is None else held.finish(out, latent_image)


def build_patcher(
    weights: dict[str, torch.Tensor],
    config: NavaConfig,
    dtype: torch.dtype | None = None,
    fast_fp8: bool = False,
    operations=None,
    disable_dynamic: bool = False,
) -> model_patcher.ModelPatcher:
    """A patcher around a NavaModel with these (unprefixed) weights.

    dtype None lets the host choose; operations None means the host's layer classes; disable_dynamic asks for a patcher
    without dynamic VRAM, as the host needs for some patches.
    """
    model_config = NavaModelConfig(config)
    model_config.quant_config = utils.detect_layer_quantization(weights, "")
    device, offload = model_management.get_torch_device(), model_management.unet_offload_device()
    supported = model_config.supported_inference_dtypes
    quantised = model_config.quant_config is not None
    if dtype is None:
        dtype = model_management.unet_dtype(
            model_params=utils.calculate_parameters(weights),
            supported_dtypes=list(supported),
            weight_dtype=None if quantised else utils.weight_dtype(weights),
        )
    cast = model_management.unet_manual_cast(None if quantised else dtype, device, supported)
    model_config.set_inference_dtype(dtype, cast, device=device)
    model_config.custom_operations = operations
    if fast_fp8:
        model_config.optimizations["fp8"] = True
    model = model_config.get_model(weights)
    patcher_class = model_patcher.ModelPatcher if disable_dynamic else model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=device, offload_device=offload)
    if not model_management.is_device_cpu(offload):
        model.to(offload)
    # Weights that are as they shall be stay in the file's mapping instead of being copied.
    as_they_are = operations is None and not quantised and all(w.dtype == dtype for w in weights.values())
    model.load_model_weights(weights, "", assign=patcher.is_dynamic() or as_they_are)
    patcher.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "nava", unpacked_latents)
    keep_stored(patcher)
    return patcher


def require_nava(model, node_input: str) -> NavaModel:
    """The NavaModel inside a MODEL, or a clear error that names the input."""
    inner = getattr(model, "model", None)
    if not isinstance(inner, NavaModel):
        kind = type(inner).__name__ if inner is not None else type(model).__name__
        raise ValueError(f"{node_input}: this MODEL is not NAVA (it is {kind}). Load one with Load NAVA Model.")
    return inner


lora.install(lambda model: isinstance(model, NavaModel))
