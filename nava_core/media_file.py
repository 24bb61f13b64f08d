"""A media file as it is played: upright, square pixels, picture and sound on one clock. All who open media read it by this.

The clock starts with the picture's first frame; where the sound begins more than a frame earlier, with the sound, and the first
frame stands until the second one comes. What begins later comes later: silence, or the first frame, is put before it.
"""

import io
import itertools
import math
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.sidedata.sidedata import Type as SideData
from torch import Tensor

from .audio import fold

GAP = 0.02  # seconds by which time stamps of sound may jitter before a gap is filled or an overlap dropped
WIDEST = 16  # times as wide as high, or as high as wide: pixels beyond this are a broken header's


class MediaError(ValueError):
    """A file that cannot be read; the message begins with its name."""


class TooLarge(MediaError):
    """Its picture has more pixels than the caller allows."""


class MediaFile:
    """The header of a media file, and its content by time.

    size: (width, height) in pixels as played, None without a picture. fps: mean rate of frames. rate, channels: of the sound,
    None without one. seconds: length. left_out: what is in the file and not read, in words.
    """

    def __init__(self, source: str | Path | io.BytesIO, format: str | None = None, most_pixels: int | None = None):
        """format: the only demuxer that may read it. Raises MediaError for what is no media file, TooLarge for pictures of more pixels."""
        self.source, self.format = source, format
        self.name = "the video" if isinstance(source, io.BytesIO) else Path(source).name
        try:
            with self.opened() as media:
                picture, sound = self.choose(media)
                if picture is None and sound is None:
                    raise MediaError(f"{self.name} has neither a picture nor sound that can be read")
                self.picture = None if picture is None else picture.index
                self.sound = None if sound is None else sound.index
                self.fps = None if picture is None else float(picture.average_rate or picture.guessed_rate or 24)
                duration = media.duration
                if picture is not None and most_pixels and picture.width * picture.height > most_pixels:
                    raise TooLarge(f"{self.name}: its picture is larger than can be read")
            first_frame = self.first(self.picture)
            first_sound = self.first(self.sound)
            if first_frame is None and first_sound is None:
                raise MediaError(f"{self.name} has neither a picture nor sound that can be decoded")
            self.size = self.rate = self.channels = None
            if first_frame is None:
                self.picture = self.fps = None
            else:
                self.aspect = pixel_aspect(first_frame, self.aspect)
                self.stored = (first_frame.width, first_frame.height)
                width, height = self.squared = square(*self.stored, self.aspect)
                self.matrix = display_matrix(first_frame)
                self.size = (height, width) if swaps(self.matrix) else (width, height)
            if first_sound is None:
                self.sound = None
            else:
                self.rate, self.channels = first_sound.sample_rate, first_sound.layout.nb_channels
                self.layout = first_sound.layout.name
                self.places = [c.name for c in first_sound.layout.channels]
            starts = [None if f is None else float(f.time or 0) for f in (first_frame, first_sound)]
            self.zero = next(s for s in starts if s is not None)
            if None not in starts and starts[0] - starts[1] > 1 / self.fps:
                self.zero = starts[1]
            self.seconds = duration / av.time_base if duration else self.measured()
        except av.FFmpegError as error:
            raise self.unreadable(error) from None

    def opened(self):
        if isinstance(self.source, io.BytesIO):
            self.source.seek(0)
            return av.open(self.source, format=self.format)
        return av.open(str(self.source), format=self.format)

    def unreadable(self, error: Exception) -> MediaError:
        reason = getattr(error, "strerror", None) or str(error)
        return MediaError(f"{self.name} cannot be read as a media file: {reason}")

    def choose(self, media) -> tuple:
        """(picture, sound) of the streams: the first that can be decoded and is no cover. What else there is goes into left_out."""
        self.left_out, self.aspect = [], None
        covers = [s for s in media.streams.video if s.disposition & av.stream.Disposition.attached_pic]
        if covers:
            self.left_out.append("its cover")
        chosen = []
        for kind, streams in (
            ("picture", [s for s in media.streams.video if s not in covers]),
            ("sound", media.streams.audio),
        ):
            # a stream without a decoder has no codec context, and decoding it ends the process
            known = [s for s in streams if s.codec_context is not None]
            if len(known) < len(streams):
                self.left_out.append(f"{kind} in a format that cannot be decoded")
            if len(known) > 1:
                self.left_out.append(f"all {kind} tracks but the first")
            chosen.append(known[0] if known else None)
        if chosen[0] is not None:
            self.aspect = chosen[0].sample_aspect_ratio
        return tuple(chosen)

    def first(self, index: int | None):
        """The first frame of a stream that can be decoded, None when there is none."""
        return None if index is None else next((f for f in self.decoded(index)), None)

    def decoded(self, index: int) -> Iterator:
        """Frames of a stream. A broken packet at the beginning or end is passed over as players do; nothing at all is an error."""
        try:
            with self.opened() as media:
                yield from media.decode(media.streams[index])
        except av.FFmpegError as error:
            raise self.unreadable(error) from None

    def measured(self) -> float:
        """Length by the packets, for files that do not say it (recorded live)."""
        end = self.zero
        with self.opened() as media:
            for packet in media.demux([media.streams[i] for i in (self.picture, self.sound) if i is not None]):
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        return end - self.zero

    def frames(
        self,
        fps: float,
        start: float = 0.0,
        count: int | None = None,
        most: int | None = None,
        check: Callable[[], None] | None = None,
    ) -> Iterator[tuple[Tensor, int]]:
        """(picture `[H, W, 3]` uint8, how often it is shown), from second `start` on, at `fps` frames a second by time stamps.

        count: frames in all, where the last one fills up; None: as many as there are, or `most`. check is called for every decoded frame.
        """
        shown, last, end, time = 0, None, 0.0, 0.0
        limit = most if count is None else count
        for i, frame in enumerate(self.decoded(self.picture)):
            if check is not None:
                check()
            time = (frame.time - self.zero - start) if frame.time is not None else time + (1 / self.fps if i else 0)
            due = math.floor(time * fps + 0.5)
            due = due if limit is None else min(due, limit)
            if last is not None and due > shown:
                yield self.upright(last), due - shown
                shown = due
            if shown == limit:
                return
            last = frame
            end = time + (float(frame.duration * frame.time_base) if frame.duration else 1 / self.fps)
        if last is None:
            raise MediaError(f"{self.name} has no picture that can be decoded")
        if count is None:
            count = math.floor(end * fps + 0.5)
            if count <= shown and (shown or end <= 0):
                return
            count = max(count, 1) if most is None else max(1, min(count, most))
        yield self.upright(last), count - shown

    def upright(self, frame) -> Tensor:
        """A decoded frame as it is shown, `[H, W, 3]` uint8."""
        width, height = self.squared
        if (frame.width, frame.height) == (width, height):
            picture = frame.to_ndarray(format="rgb24")
        else:
            picture = frame.reformat(width, height, "rgb24", interpolation="BICUBIC").to_ndarray()
        return torch.from_numpy(turned(picture, self.matrix))

    def waveform(
        self, start: float = 0.0, seconds: float | None = None, check: Callable[[], None] | None = None
    ) -> Tensor:
        """`[channels, N]` float32 from second `start` on, all or at most `seconds`; gaps are silence."""
        limit = math.inf if seconds is None else round(seconds * self.rate)
        skip = round(start * self.rate)
        parts, length = [torch.zeros(self.channels, 0)], 0
        for at, wave in self.waves(check):
            at = min(at - skip, limit)
            if at > length:
                parts.append(torch.zeros(self.channels, at - length))
                length = at
            parts.append(wave[:, length - at :])
            length += parts[-1].shape[-1]
            if length >= limit:
                break
        return torch.cat(parts, dim=1)[:, : min(length, limit)]

    def waves(self, check) -> Iterator[tuple[int, Tensor]]:
        """(sample on the file's clock, `[channels, N]`) of each decoded piece of sound, one following the other where stamps only jitter."""
        resampler = av.AudioResampler("fltp", self.layout, self.rate)
        follows = None
        for frame in itertools.chain(self.decoded(self.sound), [None]):  # None gives what the resampler still holds
            if check is not None:
                check()
            stamp = None if frame is None or frame.time is None else round((frame.time - self.zero) * self.rate)
            for part in resampler.resample(frame):
                wave = torch.from_numpy(np.ascontiguousarray(part.to_ndarray()))
                at = follows
                if follows is None or (stamp is not None and abs(stamp - follows) > GAP * self.rate):
                    at = stamp or 0
                yield at, wave
                follows, stamp = at + wave.shape[-1], None

    def stereo(self, start: float = 0.0, seconds: float | None = None) -> Tensor:
        """As waveform, folded down to `[2, N]`."""
        return fold(self.waveform(start, seconds), self.places)


def pixel_aspect(frame, of_stream) -> Fraction:
    """Width of a pixel by its height; the container's word counts, then the picture's own."""
    for value in (of_stream, getattr(frame, "sample_aspect_ratio", None)):
        if value and Fraction(1, WIDEST) <= value <= WIDEST:
            return Fraction(value)
    return Fraction(1)


def square(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The size with square pixels that loses no row and no column."""
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def display_matrix(frame) -> tuple[int, int, int, int]:
    """(a, b, c, d): what is stored at (x, y) is shown at (a x + c y, b x + d y). Turns and mirrors alone; (1, 0, 0, 1) for none."""
    data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if data is None or len(bytes(data)) < 20:
        return (1, 0, 0, 1)
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    sign = lambda x: (x > 0) - (x < 0)  # noqa: E731
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (sign(a) or 1, 0, 0, sign(d) or 1)
    return (0, sign(b) or 1, sign(c) or 1, 0)


def swaps(matrix: tuple[int, int, int, int]) -> bool:
    return matrix[0] == 0


def turned(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """`[H, W, C]` as `display_matrix` says."""
    a, b, c, d = matrix
    across, down = (c, b) if swaps(matrix) else (a, d)
    picture = picture.swapaxes(0, 1) if swaps(matrix) else picture
    return np.ascontiguousarray(picture[:: 1 if down > 0 else -1, :: 1 if across > 0 else -1])


def read_all(source: str | Path) -> tuple[Tensor | None, float | None, Tensor | None, int | None]:
    """(frames `[T, H, W, 3]` 0..1, fps, waveform `[C, N]`, sample rate) of a media file; None for what it has not."""
    media = MediaFile(source)
    frames = None if media.picture is None else all_frames(media, media.fps).float() / 255
    return frames, media.fps, None if media.sound is None else media.waveform(), media.rate


def all_frames(media: MediaFile, fps: float, **limits) -> Tensor:
    """`[T, H, W, 3]` uint8 at `fps` frames a second; limits as for `MediaFile.frames`."""
    pictures = [p for picture, times in media.frames(fps, **limits) for p in [picture] * times]
    if not pictures:
        raise MediaError(f"{media.name} has no picture in the chosen part")
    return torch.stack(pictures)
