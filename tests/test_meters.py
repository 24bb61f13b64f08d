"""Meters against synthetic truth: exact is 1, jitter lowers it, and what does not matter does not matter."""

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import clicks, dot, shifted, voice
from support import one_loop

from nava_core import meters

SECONDS = 3.0
EVENTS = [0.42, 0.81, 1.30, 1.72, 2.25, 2.61]
FEW = settings(max_examples=6, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def one_core():
    """Small tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def gaps():
    """Event times at least 0.35 s apart, away from both ends."""
    return st.lists(st.floats(0.35, 0.6), min_size=3, max_size=4).map(
        lambda steps: [sum(steps[: i + 1]) for i in range(len(steps))]
    )


def f1(frames, sound, fps=24.0, rate=48000):
    return meters.synchrony(frames, fps, sound, rate).f1


@FEW
@given(gaps())
def test_exact_is_one_and_late_is_not(events):
    frames, sound = dot(events, SECONDS), clicks(events, SECONDS)
    measured = meters.synchrony(frames, 24.0, sound, 48000)
    assert measured.f1 == measured.av_align == measured.precision == measured.recall == 1
    assert measured.pairs == [(i, i) for i in range(len(events))]
    assert max(abs(a - b) for a, b in zip(measured.sounds, events, strict=True)) < 0.012
    assert abs(measured.lag) <= 0.03
    late = meters.synchrony(frames, 24.0, shifted(sound, 0.2), 48000)
    assert late.f1 < 0.3
    assert late.correlation < 0.3 < 0.5 < measured.correlation


def test_falls_as_jitter_grows():
    pictures = meters.events(dot(EVENTS, SECONDS), 24.0)
    generator = torch.Generator().manual_seed(0)
    means = []
    for jitter in (0, 0.04, 0.08, 0.16):
        found = []
        for _ in range(16):
            moved = (torch.tensor(EVENTS) + jitter * (2 * torch.rand(len(EVENTS), generator=generator) - 1)).tolist()
            sounds = meters.onsets(clicks(sorted(moved), SECONDS, 16000, channels=1), 16000)
            found.append(2 * len(meters.match(sounds, pictures, 1 / 24)) / (len(sounds) + len(pictures)))
        means.append(sum(found) / len(found))
    print("F1 at jitter of 0, 40, 80, 160 ms:", [round(m, 3) for m in means])
    assert means[0] == 1
    assert means[1] > means[2] > means[3]


@FEW
@given(st.floats(0.003, 1.9))
def test_loudness_does_not_matter(level):
    sound = clicks(EVENTS, SECONDS)
    measured = meters.onsets(sound * level, 48000)
    assert measured == pytest.approx(meters.onsets(sound, 48000), abs=0.0051)


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_sample_rate_and_channels_do_not_matter(rate, channels):
    measured = meters.onsets(clicks(EVENTS, SECONDS, rate, channels=channels), rate)
    assert measured == pytest.approx(EVENTS, abs=0.012)


def test_opposite_phases_do_not_cancel():
    sound = clicks(EVENTS, SECONDS)
    assert meters.onsets(sound * torch.tensor([[1.0], [-1.0]]), 48000) == meters.onsets(sound, 48000)


@pytest.mark.parametrize("fps", [12.0, 15.0, 23.976, 25.0, 30.0, 48.0, 60.0])
def test_frame_rate_does_not_matter(fps):
    assert f1(dot(EVENTS, SECONDS, fps), clicks(EVENTS, SECONDS), fps) == 1
    assert f1(dot(EVENTS, SECONDS, fps), shifted(clicks(EVENTS, SECONDS), 0.2), fps) < 0.3


@pytest.mark.parametrize("size", [(64, 64), (80, 128), (384, 96)])
def test_resolution_does_not_matter(size):
    assert f1(dot(EVENTS, SECONDS, width=size[0], height=size[1]), clicks(EVENTS, SECONDS)) == 1


@FEW
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_colour_does_not_matter(values):
    front, back = values[:3], values[3:]
    if max(abs(a - b) for a, b in zip(front, back, strict=True)) < 0.15:
        return  # it is not to be seen
    assert f1(dot(EVENTS, SECONDS, front=front, back=back), clicks(EVENTS, SECONDS)) == 1


def test_noise_hides_nothing():
    """Grain as of a generated picture, and a hiss 40 dB below."""
    generator = torch.Generator().manual_seed(1)
    frames, sound = dot(EVENTS, SECONDS), clicks(EVENTS, SECONDS)
    frames = (frames + 0.02 * torch.randn(frames.shape, generator=generator)).clamp(0, 1)
    sound = sound + 0.003 * torch.randn(sound.shape, generator=generator)
    assert f1(frames, sound) >= 0.9


def test_a_lamp_that_goes_on():
    """The flash counts and not its end, nor the click of a tone that is cut off."""
    frames = torch.full((72, 40, 64, 3), 0.2)
    tone = torch.zeros(2, 3 * 48000)
    for start in (10, 34, 58):
        frames[start : start + 4, 10:30, 20:44] = 0.8
        at = start * 2000
        tone[:, at : at + 8000] = 0.3 * torch.sin(2 * math.pi * 1000 * torch.arange(8000) / 48000)
    measured = meters.synchrony(frames, 24.0, tone, 48000)
    assert (len(measured.sounds), len(measured.pictures), measured.f1) == (3, 3, 1)


def test_even_motion_is_no_event():
    """A dot that only passes, slowly or so fast that it never covers its own place, and a picture that fades."""
    for speed in (0.2, 2.0):
        y, x = torch.meshgrid(torch.arange(80.0), torch.arange(256.0), indexing="ij")
        frames = torch.stack(
            [((x - 20 - speed * 5 * i).square() + (y - 40).square() < 100).float() for i in range(24)]
        )[..., None].expand(-1, -1, -1, 3)
        assert meters.events(frames, 24.0) == []


def test_matching_is_one_to_one_and_the_most_possible():
    assert meters.match([1.0, 1.02], [1.01], 0.042) == [(0, 0)]
    assert meters.match([1.0, 1.05], [1.04, 1.08], 0.042) == [(0, 0), (1, 1)]
    assert meters.match([], [1.0], 0.042) == meters.match([1.0], [], 0.042) == []
    assert len(meters.match([0.5], [0.54167], 1 / 24)) == 1


@pytest.mark.parametrize("seconds", [-0.6, -0.2, 0.0, 0.15, 0.5, 0.9])
def test_lag_is_found(seconds):
    later = [e + seconds for e in EVENTS if 0 <= e + seconds < SECONDS - 0.1]
    measured = meters.synchrony(dot(EVENTS, SECONDS), 24.0, clicks(later, SECONDS), 48000)
    assert measured.lag == pytest.approx(seconds, abs=0.03)
    assert measured.sharpness > 0.2


def test_a_steady_beat_has_no_sharp_lag():
    beat = [0.4 * (i + 1) for i in range(6)]
    measured = meters.synchrony(dot(beat, SECONDS), 24.0, clicks(beat, SECONDS), 48000)
    uneven = meters.synchrony(dot(EVENTS, SECONDS), 24.0, clicks(EVENTS, SECONDS), 48000)
    print("sharpness of a beat and of uneven events:", round(measured.sharpness, 3), round(uneven.sharpness, 3))
    assert measured.sharpness < 0.25 < uneven.sharpness


def test_controls_move():
    """Reversed, swapped between clips, frozen, silent."""
    other = [0.6, 1.05, 1.5, 1.98, 2.45]
    frames, sound = dot(EVENTS, SECONDS), clicks(EVENTS, SECONDS)
    assert f1(frames, sound.flip(-1)) < 0.6
    assert f1(frames, clicks(other, SECONDS)) < 0.6
    assert f1(dot(other, SECONDS), sound) < 0.6
    frozen = meters.synchrony(frames[:1].expand(72, -1, -1, -1), 24.0, sound, 48000)
    assert (frozen.f1, frozen.precision, frozen.recall, frozen.lag) == (0, 0, None, None)
    assert frozen.notes == ["nothing is seen to happen: the picture is still, or moves evenly"]
    silent = meters.synchrony(frames, 24.0, sound * 0, 48000)
    assert (silent.f1, silent.precision, silent.recall) == (0, None, 0)
    assert silent.notes == ["there is only silence"]
    neither = meters.synchrony(frames[:1].expand(72, -1, -1, -1), 24.0, sound * 0, 48000)
    assert neither.f1 is None and neither.av_align is None and len(neither.notes) == 2


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_very_short_clips(count):
    measured = meters.synchrony(torch.rand(count, 8, 8, 3), 24.0, torch.rand(1, count * 10), 48000)
    assert measured.notes


@pytest.mark.parametrize(
    ("frames", "fps", "sound", "rate", "message"),
    [
        (torch.zeros(4, 8, 8), 24, torch.zeros(1, 9), 9, r"must be \[frames, height, width, channels\]"),
        (torch.zeros(0, 8, 8, 3), 24, torch.zeros(1, 9), 9, r"must be \[frames, height, width, channels\]"),
        (torch.zeros(4, 8, 8, 3), 0, torch.zeros(1, 9), 9, "frame rate is 0"),
        (torch.zeros(4, 8, 8, 3), math.nan, torch.zeros(1, 9), 9, "frame rate is nan"),
        (torch.zeros(4, 8, 8, 3), 24, torch.zeros(1, 0), 9, r"must be \[channels, samples\]"),
        (torch.zeros(4, 8, 8, 3), 24, torch.full((1, 9), math.nan), 9, "NaN or infinite"),
        (torch.zeros(4, 8, 8, 3), 24, torch.zeros(1, 9), 0, "sample rate is 0"),
    ],
)
def test_bad_input(frames, fps, sound, rate, message):
    with pytest.raises(ValueError, match=message):
        meters.synchrony(frames, fps, sound, rate)


def test_fast_enough():
    """About twenty times real time at 256x160 on one core that does a million steps of Python in 0.04 s."""
    frames, sound = dot(EVENTS, SECONDS, width=256, height=160), clicks(EVENTS, SECONDS)
    meters.synchrony(frames, 24.0, sound, 48000)
    took, loop = math.inf, one_loop()
    for _ in range(5):  # the least: other work on the machine slows it
        start = time.process_time()
        meters.synchrony(frames, 24.0, sound, 48000)
        took = min(took, time.process_time() - start)
    print(f"{SECONDS / took:.0f} times real time")
    assert took < 8 * loop, (took, loop)


# mouths


def mouth(opening):
    """A face whose mouth is `opening [T]` open, in the lower middle of 64x64."""
    frames = torch.full((len(opening), 64, 64, 3), 0.7)
    for frame, wide in zip(frames, opening, strict=True):
        frame[44 : 45 + round(12 * float(wide)), 22:42] = torch.tensor([0.3, 0.05, 0.1])
    return frames


def test_mouth_follows_its_own_voice():
    generator = torch.Generator().manual_seed(3)
    level = torch.rand(24, generator=generator).repeat_interleave(3)
    level[:12] = 0
    sound = (level.repeat_interleave(2000) * torch.sin(torch.arange(144000) * 0.03))[None]
    box = (0.3, 0.6, 0.4, 0.35)
    frames = mouth(level)
    own = meters.mouth_agreement(frames, 24.0, sound, 48000, box)
    late = meters.mouth_agreement(frames, 24.0, shifted(sound, 0.2), 48000, box)
    backwards = meters.mouth_agreement(frames, 24.0, sound.flip(-1), 48000, box)
    print("mouth agreement: own, 0.2 s late, reversed", own, late, backwards)
    assert own > 0.8
    assert max(late, backwards) < own - 0.3
    assert meters.mouth_agreement(frames, 24.0, sound, 48000, (0, 0, 0.3, 0.3)) is None  # nothing moves there
    assert meters.mouth_agreement(frames, 24.0, sound * 0, 48000, box) is None
    for bad in ((-0.1, 0, 0.5, 0.5), (0, 0, 0, 0.5), (0.6, 0, 0.5, 0.5), (math.nan, 0, 0.5, 0.5)):
        with pytest.raises(ValueError, match="the region"):
            meters.mouth_agreement(frames, 24.0, sound, 48000, bad)


# voices


def by_spectrum(waveform, rate):
    """A speaker encoder of sorts: where the energy lies."""
    spectrum = torch.fft.rfft(waveform.mean(0), n=16000).abs()[:4000].unflatten(0, (80, 50)).mean(1)
    return torch.log(spectrum + 1e-3 * spectrum.max())


ADA, BEN = (210, (700, 1900)), (105, (420, 1100))


def test_spans_are_found_and_swapped_voices_show():
    pause = torch.zeros(1, 8000)
    sound = torch.cat([pause, voice(*ADA, 1.0, seed=1), pause, voice(*BEN, 1.0, seed=2), pause], -1)
    references = [by_spectrum(voice(*who, 2.0, seed=3), 16000) for who in (ADA, BEN)]
    spans = meters.voiced_spans(sound, 16000)
    assert [t for s in spans for t in s] == pytest.approx([0.5, 1.5, 2.0, 3.0], abs=0.06)
    right = meters.voice_match(sound, 16000, by_spectrum, references, spans, [0, 1])
    swapped = meters.voice_match(sound, 16000, by_spectrum, references, spans, [1, 0])
    assert [s.right for s in right] == [True, True]
    assert [s.right for s in swapped] == [False, False]
    assert all(-1.001 <= c <= 1.001 for s in right for c in s.cosines)
    alone = meters.voice_match(sound, 16000, by_spectrum, references[:1])
    assert [(s.own, s.right) for s in alone] == [(0, None), (0, None)]
    assert meters.line_voices(sound, 16000, by_spectrum, references, [0, 1]) == right
    assert meters.line_voices(sound, 16000, by_spectrum, references, [0, 1, 0]) is None
    score = meters.voice_score(right)
    assert (score.nearest, meters.voice_score(swapped).nearest) == (1, 0) and score.own > score.other
    second = meters.voice_score(meters.line_voices(sound, 16000, by_spectrum, references, [None, 1]))
    assert second.own == right[1].cosines[1]
    unknown = meters.voice_match(sound, 16000, by_spectrum, references)
    assert [(s.own, s.right) for s in unknown] == [(None, None), (None, None)]


def test_voices_of_silence_and_bad_spans():
    assert meters.voiced_spans(torch.zeros(1, 16000), 16000) == []
    quiet = meters.voice_match(torch.zeros(1, 16000), 16000, by_spectrum, [torch.ones(80)], [(0.0, 1.0)], [0])
    assert quiet[0].cosines is None
    with pytest.raises(ValueError, match="no voice"):
        meters.voice_match(torch.zeros(1, 16000), 16000, by_spectrum, [])
    with pytest.raises(ValueError, match="not within the sound"):
        meters.voice_match(torch.zeros(1, 16000), 16000, by_spectrum, [torch.ones(80)], [(1.0, 2.0)], [0])
    with pytest.raises(ValueError, match="1 spans and 2 owners"):
        meters.voice_match(torch.zeros(1, 16000), 16000, by_spectrum, [torch.ones(80)], [(0.0, 1.0)], [0, 0])


# words, sound, picture


def test_error_rates():
    assert meters.error_rate(["a", "red", "ball"], ["a", "red", "ball"]) == 0
    assert meters.error_rate(["a", "red", "ball", "falls"], ["red", "bell", "falls", "down"]) == 3 / 4
    assert meters.error_rate(list("你好吗"), list("你们好")) == 2 / 3
    assert meters.error_rate([], ["x"]) is None


def sine(level=0.5, rate=48000, hertz=997, seconds=2.0):
    return (level * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate)) / rate)).expand(2, -1)


def test_sound_quality_moves():
    plain = meters.sound_quality(sine(), 48000)
    assert (plain.clipped, plain.silence, plain.balance) == (0, 0, 0)
    assert abs(plain.dc) < 1e-3
    # BS.1770: a 997 Hz sine of full scale in one channel reads -3.01 LKFS; two channels add 3.01
    assert meters.sound_quality(sine(1.0), 48000).loudness == pytest.approx(0.0, abs=0.3)
    assert meters.sound_quality(sine(0.1), 48000).loudness == pytest.approx(-20.0, abs=0.3)
    assert 900 < plain.bandwidth < 1200
    assert meters.sound_quality((3 * sine()).clamp(-1, 1), 48000).clipped > 0.3
    assert meters.sound_quality(sine() + 0.1, 48000).dc == pytest.approx(0.1, abs=0.001)
    left = sine() * torch.tensor([[1.0], [0.5]])
    assert meters.sound_quality(left, 48000).balance == pytest.approx(-0.6)
    half = sine().clone()
    half[:, 48000:] = 0
    assert meters.sound_quality(half, 48000).silence == 0.5
    assert meters.sound_quality(sine()[:1], 48000).balance is None
    silent = meters.sound_quality(torch.zeros(2, 48000), 48000)
    assert (silent.loudness, silent.silence, silent.bandwidth, silent.balance) == (None, 1, None, None)
    meters.sound_quality(torch.ones(1, 1), 48000)
    noise = torch.randn(1, 96000, generator=torch.Generator().manual_seed(0)) * 0.1
    spectrum = torch.fft.rfft(noise)
    spectrum[:, torch.fft.rfftfreq(96000, 1 / 48000) > 8000] = 0
    assert meters.sound_quality(torch.fft.irfft(spectrum), 48000).bandwidth == pytest.approx(8000, abs=150)


def test_picture_quality_moves():
    frames = dot(EVENTS, SECONDS)
    plain = meters.picture_quality(frames)
    assert plain.stillness < 0.05
    assert meters.picture_quality(frames[:1].expand(9, -1, -1, -1)).stillness == 1
    blinking = frames.clone()
    blinking[::2] *= 0.9
    assert meters.picture_quality(blinking).flicker > 0.01 > 10 * plain.flicker
    fading = frames * torch.linspace(1, 0.5, len(frames))[:, None, None, None]
    assert meters.picture_quality(fading).drift > 0.05 > 5 * plain.drift
    jumped = frames.clone()
    jumped[0] = 1 - jumped[0]
    assert meters.picture_quality(jumped).jump > 0.1 > 10 * abs(plain.jump)
    assert meters.picture_quality(frames[:1]) == meters.PictureQuality(None, None, None, None)


def test_marks_fall_with_every_fault():
    """Of one clip in time: late sound, clipped sound, silence, a frozen, flickering or jumping picture, swapped voices."""
    times = [0.42, 0.81, 1.30, 1.72, 2.25, 2.61]
    frames, sound = dot(times, 3.0, width=64, height=48), clicks(times, 3.0)
    good = meters.VoiceScore(0.8, 0.1, 1.0)

    def marks(picture=frames, heard=sound, voices=good):
        return meters.judge(picture, 24.0, heard, 48000, voices)

    best = marks()
    print(best)
    assert best.sync == 1 and best.picture > 0.9 and best.sound > 0.5 and best.voice == 0.8
    assert marks(heard=shifted(sound, 0.2)).sync < 0.3
    assert marks(heard=(sound * 50).clamp(-1, 1)).sound < best.sound - 0.3
    assert marks(heard=sound * 0).sound == 0 == marks(heard=sound * 0).sync
    frozen = frames[:1].expand_as(frames)
    assert marks(picture=frozen).picture == 0 == marks(picture=frozen).sync
    flicker = (frames + 0.1 * (torch.arange(72) % 2)[:, None, None, None]).clamp(0, 1)
    assert marks(picture=flicker).picture < 0.1
    jump = torch.cat([1 - frames[:1], frames[1:]])
    assert marks(picture=jump).picture < 0.1
    assert marks(voices=meters.VoiceScore(0.4, 0.5, 0.5)).voice == pytest.approx(0.2)
    assert marks(voices=meters.VoiceScore(None, None, None)).voice == 0
    assert meters.judge(None, 24.0, sound, 48000) == meters.Marks(sound=best.sound)

    weights = meters.Marks(sync=1, sound=0.5, picture=0, voice=None)
    assert meters.weighted(meters.Marks(0.2, 0.8, 0.1, 0.9), weights) == pytest.approx(0.4)
    assert meters.weighted(meters.Marks(None, 0.8), weights) == pytest.approx(0.8)
    assert meters.weighted(meters.Marks(picture=1.0), weights) is None
