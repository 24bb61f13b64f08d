"""The small world: procedural, seeded scenes whose picture, sound and caption are known to the frame.

`scene(seed)` gives a Clip: frames, 48 kHz stereo sound, captions in English and Chinese, event times, speakers and spans.
"""

from .clip import FPS, RATE, Clip, Speech
from .scenes import KINDS, Request, scene

__all__ = ["FPS", "KINDS", "RATE", "Clip", "Request", "Speech", "scene"]
