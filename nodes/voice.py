"""Recordings -> NAVA_VOICE: the speaker encoder and the voices it hears."""

import logging

import comfy.model_management
import comfy.model_patcher
import folder_paths
from comfy_api.latest import io

from ..nava_core.redimnet import SAMPLE_RATE
from ..nava_core.voice import AudioError, Voice, doubts, load_voice_encoder, prepare
from .checks import sound_of
from .load import is_there, naming

NavaVoiceType = io.Custom("NAVA_VOICE")
NavaVoiceEncoderType = io.Custom("NAVA_VOICE_ENCODER")


class NavaVoiceEncoderLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaVoiceEncoderLoader",
            display_name="Load NAVA Voice Encoder",
            category="NAVA/loaders",
            description="Loads the ReDimNet speaker encoder that hears whose voice a recording is.",
            inputs=[
                io.Combo.Input(
                    "encoder_name",
                    options=folder_paths.get_filename_list("audio_encoders"),
                    tooltip="ReDimNet M (vb2+vox2+cnc, ft_mix) in models/audio_encoders, .pt or .safetensors.",
                )
            ],
            outputs=[NavaVoiceEncoderType.Output("encoder", display_name="encoder", tooltip="For NAVA Voice.")],
        )

    @classmethod
    def validate_inputs(cls, encoder_name):
        return is_there("NavaVoiceEncoderLoader, encoder_name", "audio_encoders", encoder_name)

    @classmethod
    def execute(cls, encoder_name) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise("audio_encoders", encoder_name)
        with naming("NavaVoiceEncoderLoader, encoder_name"):
            encoder = load_voice_encoder(path)
        patcher = comfy.model_patcher.ModelPatcher(
            encoder,
            load_device=comfy.model_management.text_encoder_device(),
            offload_device=comfy.model_management.text_encoder_offload_device(),
        )
        return io.NodeOutput(patcher)


class NavaVoice(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaVoice",
            display_name="NAVA Voice",
            category="NAVA/conditioning",
            description="Hears whose voice a recording is. 5 to 15 seconds of one person speaking cleanly work best.",
            search_aliases=["speaker", "timbre", "voice clone"],
            inputs=[
                NavaVoiceEncoderType.Input("encoder", tooltip="From Load NAVA Voice Encoder."),
                io.Audio.Input("audio", tooltip="One person speaking; any sample rate and channel count. At most the first 30 s are heard."),
                io.String.Input("name", default="", tooltip="Speaker's name, for <S:Name> in the prompt. May stay empty: then the voice is taken in order."),
            ],
            outputs=[NavaVoiceType.Output("voice", display_name="voice", tooltip="For NAVA Prompt, or for NAVA Cast.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, encoder, audio, name) -> io.NodeOutput:
        name = name.strip()
        if set(name) & set("<>:") or name == "-":
            raise ValueError(f"NavaVoice, name: {name!r} cannot be written in a prompt. Leave out < > : and a lone -.")
        # a batch of recordings: the first one speaks
        waveforms, rate = sound_of(audio, "NavaVoice, audio")
        waveform = waveforms[:1]
        comfy.model_management.load_models_gpu([encoder])
        try:
            recording = prepare(waveform, rate)[0].cpu()
            embedding = encoder.model(recording[None], SAMPLE_RATE)[0].cpu()
        except AudioError as error:
            raise AudioError(f"NavaVoice, audio: {error}. Connect a recording of one person speaking.") from None
        warnings = doubts(waveform, rate)
        if len(waveforms) > 1:
            warnings.append("several recordings came in; only the first is heard")
        for warning in warnings:
            logging.warning("NavaVoice %s: about the recording: %s", name, warning)
        return io.NodeOutput(Voice(name, embedding, recording), ui={"text": warnings} if warnings else None)
