"""Guidance by contrast: against the negative prompt, the masked-modality pass and the voiceless pass (paper section 4)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

COND, UNCOND, MASKED, VOICELESS = "cond", "uncond", "masked", "voiceless"
Pair = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Guidance:
    """Scales of the contrasts; each is the weight of (cond - other), 0 turns it off. Defaults as released."""

    video_text: float = 3.0
    video_align: float = 3.0
    audio_text: float = 2.0
    audio_align: float = 2.0
    audio_timbre: float = 3.0

    def weights(self, has_video: bool, has_audio: bool, has_voices: bool) -> dict[str, tuple[float, float]]:
        """The contrasts that act: name of the other pass -> (weight for the picture, weight for the sound).

        With one modality there is nothing to align, and the voiceless pass needs voices.
        """
        both = has_video and has_audio
        contrasts = {
            UNCOND: (self.video_text * has_video, self.audio_text * has_audio),
            MASKED: (self.video_align * both, self.audio_align * both),
            VOICELESS: (0.0, self.audio_timbre * (has_audio and has_voices)),
        }
        return {name: w for name, w in contrasts.items() if any(w)}

    def combine(self, outputs: Mapping[str, Pair], weights: Mapping[str, tuple[float, float]]) -> Pair:
        """Combine (video, audio) outputs of all passes; velocities or x0 estimates alike, the rule is linear."""

        def mix(stream: int) -> Tensor | None:
            cond = outputs[COND][stream]
            if cond is None:
                return None
            result = cond
            for name, weight in weights.items():
                if weight[stream]:
                    result = result + weight[stream] * (cond - outputs[name][stream])
            return result

        return mix(0), mix(1)
