"""Meters as nodes: synchrony measured, and sound moved to where it belongs."""

from comfy_api.latest import io, ui

from ..nava_core.meters.plot import plot
from ..nava_core.meters.synchrony import FRAME, Synchrony, shift, synchrony
from .checks import pictures_of, sound_of
from .graph import tell


def measure(node: str, images, audio, fps: float) -> Synchrony:
    """The synchrony of a clip; a batch of sounds has its first one measured. Errors name the node."""
    waveform, rate = sound_of(audio, f"{node}, audio")
    images = pictures_of(images, f"{node}, images")
    try:
        return synchrony(images, fps, waveform[0], rate)
    except ValueError as error:
        raise ValueError(
            f"{node}: {error}. Connect the frames and the sound of one clip, and its frame rate."
        ) from None


def report(measured: Synchrony) -> str:
    """A few lines for a person."""

    def said(value, unit=""):
        return "not measured" if value is None else f"{value:.2f}{unit}"

    lag = measured.lag
    where = "" if not lag else " (sound late)" if lag > 0 else " (sound early)"
    lines = [
        f"F1 {said(measured.f1)} · AV-Align {said(measured.av_align)} · precision {said(measured.precision)} · recall {said(measured.recall)}",
        f"{len(measured.sounds)} sounds begin, {len(measured.pictures)} events are seen, {len(measured.pairs)} match",
        f"best lag {said(lag, ' s')}{where}, sharpness {said(measured.sharpness)} · correlation {said(measured.correlation)}",
        *measured.notes,
    ]
    return "\n".join(lines)


class NavaSyncMeter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaSyncMeter",
            display_name="NAVA Sync Meter",
            category="NAVA/meters",
            description="Measures whether sounds begin when something is seen to happen: an impact, a turn, a light. "
            "Made for events; speech and steady weather score low even when they are right.",
            search_aliases=["synchronisation", "lip sync", "av sync", "score", "offset"],
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="Frames of the clip."),
                io.Audio.Input("audio", tooltip="Sound of the clip, beginning with its first frame. Of a batch, the first is measured."),
                io.Float.Input("fps", default=24.0, min=1.0, max=240.0, step=0.01, tooltip="Frame rate of the clip."),
            ],
            outputs=[
                io.Float.Output("score", display_name="score", tooltip="F1 of sounds and events that match within a frame, 0 to 1. 0 also when nothing can be measured; the report says so."),
                io.Float.Output("lag", display_name="lag", tooltip="Seconds by which the sound is late; negative: early. 0 when it cannot be measured."),
                io.Float.Output("sharpness", display_name="sharpness", tooltip="How sure the lag is: near 0 when another fits as well (a steady beat), near 1 when none does."),
                io.Image.Output("plot", display_name="plot", tooltip="Events seen (above) and sounds heard (below), matches in green."),
                io.String.Output("report", display_name="report", tooltip="All figures in words."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(cls, images, audio, fps) -> io.NodeOutput:
        measured = measure("NavaSyncMeter", images, audio, fps)
        text = report(measured)
        figures = (measured.f1 or 0.0, measured.lag or 0.0, measured.sharpness or 0.0)
        picture, shown = plot(measured)[None], tell(cls.hidden, text)
        if cls.hidden is not None and cls.hidden.unique_id is not None:
            shown |= ui.PreviewImage(picture, cls=cls).as_dict()
        return io.NodeOutput(*figures, picture, text, ui=shown)


class NavaFixLag(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaFixLag",
            display_name="NAVA Fix Lag",
            category="NAVA/meters",
            description="Moves the sound earlier or later by the measured lag, when that is clear, more than a frame, and makes more sounds match. "
            "Otherwise the sound stays as it is. The length stays: silence fills the gap.",
            search_aliases=["synchronise", "offset audio", "delay"],
            inputs=[
                io.Image.Input("images", tooltip="Frames of the clip."),
                io.Audio.Input("audio", tooltip="Sound of the clip. Of a batch, the first is measured and all are moved."),
                io.Float.Input("fps", default=24.0, min=1.0, max=240.0, step=0.01, tooltip="Frame rate of the clip."),
                io.Float.Input("min_sharpness", default=0.3, min=0.0, max=1.0, step=0.01, tooltip="How clear the lag must be to be mended (0 to 1). A steady beat has a sharpness near 0, as every beat fits as well as the next."),
            ],
            outputs=[
                io.Audio.Output("audio", display_name="audio"),
                io.Float.Output("moved", display_name="moved", tooltip="Seconds by which the sound was moved earlier; negative: later; 0: it was left alone."),
                io.String.Output("report", display_name="report", tooltip="What was measured and done."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(cls, images, audio, fps, min_sharpness) -> io.NodeOutput:
        before = measure("NavaFixLag", images, audio, fps)
        rate = int(audio["sample_rate"])
        reason = None
        if before.lag is None:
            reason = "; ".join(before.notes)
        elif abs(before.lag) <= max(1 / fps, FRAME):
            reason = f"the lag of {before.lag:.3f} s is within a frame"
        elif before.sharpness < min_sharpness:
            reason = (
                f"the lag of {before.lag:.3f} s is not sharp enough ({before.sharpness:.2f} of {min_sharpness:.2f})"
            )
        else:
            moved = {**audio, "waveform": shift(audio["waveform"], -before.lag, rate)}
            after = measure("NavaFixLag", images, moved, fps)
            if (after.f1 or 0) <= before.f1:
                reason = f"moving it by {before.lag:.3f} s would not make more sounds match"
        if reason:
            text = f"Left as it is: {reason}."
            return io.NodeOutput(audio, 0.0, text, ui=tell(cls.hidden, text))
        text = f"Moved by {before.lag:.3f} s: F1 {before.f1:.2f} → {after.f1:.2f}."
        return io.NodeOutput(moved, before.lag, text, ui=tell(cls.hidden, text))
