"""Media files as people bring them: turned, with covers, with streams that begin at different times."""

import shutil
import subprocess

import pytest
import torch

from nava_core.audio import cancels, fold, one_channel
from nava_core.media_file import MediaError, MediaFile, all_frames
from nava_core.voice import doubts, prepare

RATE = 48000
pytestmark = pytest.mark.skipif(
    not shutil.which("ffmpeg"), reason="the files are made with ffmpeg (Debian's), which is not installed"
)


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """flash.mp4 and click.wav: a flash and a click at 0.6 s; corner.mp4: white strip on top, red left, blue right."""
    folder = tmp_path_factory.mktemp("media")
    whole = "x=0:y=0:w=64:h=48:color=white:t=fill:enable='between(t,0.6,0.7)'"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"color=c=black:s=64x48:r=24:d=1.5,drawbox={whole}",
        "-pix_fmt",
        "yuv420p",
        folder / "flash.mp4",
    )
    click = "aevalsrc='0.8*sin(2*PI*1000*t)*between(t,0.6,0.65)':d=1.5:s=48000"
    ffmpeg("-f", "lavfi", "-i", click, folder / "click.wav")
    ffmpeg("-ss", "0.4", "-i", folder / "click.wav", folder / "late.wav")
    boxes = "drawbox=x=48:y=0:w=48:h=64:color=blue:t=fill,drawbox=x=0:y=0:w=96:h=16:color=white:t=fill"
    ffmpeg("-f", "lavfi", "-i", f"color=c=red:s=96x64:r=24:d=0.5,{boxes}", "-pix_fmt", "yuv420p", folder / "corner.mp4")
    ffmpeg("-f", "lavfi", "-i", "color=c=green:s=60x60", "-frames:v", 1, folder / "cover.jpg")
    return folder


def flash(media: MediaFile) -> float:
    light = all_frames(media, 24).float().mean((1, 2, 3))
    return int((light > 128).nonzero()[0]) / 24


def click(media: MediaFile) -> float:
    heard = media.waveform().abs().amax(0)
    return int((heard > 0.4).nonzero()[0]) / media.rate


def corners(picture: torch.Tensor) -> list[str]:
    """Colour in the middle of the top, the lower left and the lower right."""
    height, width = picture.shape[:2]
    places = (height // 8, width // 2), (height * 3 // 4, width // 8), (height * 3 // 4, width * 7 // 8)
    names = {(True, True, True): "white", (True, False, False): "red", (False, False, True): "blue"}
    return [names.get(tuple((picture[y, x] > 128).tolist()), "?") for y, x in places]


@pytest.mark.parametrize("turn, filters", [(90, "transpose=1"), (180, "hflip,vflip"), (270, "transpose=2")])
def test_a_turned_clip_is_upright(media, tmp_path, turn, filters):
    ffmpeg("-i", media / "corner.mp4", "-vf", filters, "-pix_fmt", "yuv420p", tmp_path / "stored.mp4")
    ffmpeg("-i", tmp_path / "stored.mp4", "-metadata:s:v", f"rotate={turn}", "-c", "copy", tmp_path / "a.mov")
    found = MediaFile(tmp_path / "a.mov")
    assert found.size == (96, 64)
    assert corners(all_frames(found, 24)[3]) == ["white", "red", "blue"]


@pytest.mark.parametrize(
    "how", ["flip=horizontal", "rotate=90:flip=horizontal", "rotate=90:flip=vertical", "rotate=180"]
)
def test_a_mirrored_clip_is_as_players_show_it(media, tmp_path, how):
    change = f"h264_metadata=display_orientation=insert:{how}"
    ffmpeg("-i", media / "corner.mp4", "-c", "copy", "-bsf:v", change, tmp_path / "a.mp4")
    found = all_frames(MediaFile(tmp_path / "a.mp4"), 24)[3]
    matrix = MediaFile(tmp_path / "a.mp4").matrix
    assert corners(found) != ["white", "red", "blue"]
    a, b, c, d = matrix  # FFmpeg's own definition: (x, y) goes to (a x + c y, b x + d y)
    stored = all_frames(MediaFile(media / "corner.mp4"), 24)[3]
    width, height = 96, 64
    x, y = 10, 60
    across, down = a * x + c * y, b * x + d * y
    across += 0 if (a or c) > 0 else (width if a else height) - 1
    down += 0 if (b or d) > 0 else (height if d else width) - 1
    assert (found[down, across].float() - stored[y, x].float()).abs().max() < 40


def test_wide_pixels_are_made_square(media, tmp_path):
    ffmpeg("-i", media / "corner.mp4", "-vf", "setsar=2", "-pix_fmt", "yuv420p", tmp_path / "a.mp4")
    assert MediaFile(tmp_path / "a.mp4").size == (192, 64)
    ffmpeg("-i", media / "corner.mp4", "-vf", "setsar=1/2", "-pix_fmt", "yuv420p", tmp_path / "b.mp4")
    assert MediaFile(tmp_path / "b.mp4").size == (96, 128)


@pytest.mark.parametrize(
    "name, codec", [("a.mp4", "aac"), ("a.ts", "aac"), ("a.mkv", "libopus"), ("a.mov", "pcm_s16le")]
)
@pytest.mark.parametrize("late", [False, True])
def test_picture_and_sound_are_on_one_clock(media, tmp_path, name, codec, late):
    sound = ["-itsoffset", "0.4", "-i", media / "late.wav"] if late else ["-i", media / "click.wav"]
    ffmpeg(
        "-i", media / "flash.mp4", *sound, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", codec, tmp_path / name
    )
    found = MediaFile(tmp_path / name)
    assert abs(flash(found) - 0.6) < 0.03 and abs(click(found) - 0.6) < 0.015


def test_a_picture_that_begins_later_stands_until_then(media, tmp_path):
    both = ["-itsoffset", "0.4", "-i", media / "flash.mp4", "-i", media / "click.wav"]
    ffmpeg(*both, "-map", "0:v", "-map", "1:a", "-c:v", "copy", tmp_path / "a.mp4")
    found = MediaFile(tmp_path / "a.mp4")
    assert abs(flash(found) - 1.0) < 0.05 and abs(click(found) - 0.6) < 0.015


def test_frames_of_variable_rate_are_taken_by_their_time(media, tmp_path):
    choose = "select='if(lt(t,0.3),1,not(mod(n,4)))'"
    ffmpeg("-i", media / "flash.mp4", "-vf", choose, "-vsync", "vfr", tmp_path / "a.mp4")
    assert abs(flash(MediaFile(tmp_path / "a.mp4")) - 0.6) < 0.1


@pytest.mark.parametrize("name, codec", [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.flac", "flac")])
def test_a_cover_is_not_the_picture(media, tmp_path, name, codec):
    maps = ["-map", 0, "-map", 1, "-c:v", "mjpeg", "-c:a", codec, "-disposition:v", "attached_pic"]
    ffmpeg("-i", media / "click.wav", "-i", media / "cover.jpg", *maps, tmp_path / name)
    found = MediaFile(tmp_path / name)
    assert found.size is None and found.left_out == ["its cover"] and abs(click(found) - 0.6) < 0.03


def test_what_is_no_media_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no media")
    with pytest.raises(MediaError, match=r"a\.mp4 cannot be read"):
        MediaFile(tmp_path / "a.mp4")


def test_surround_is_folded_by_bs775():
    g = torch.Generator().manual_seed(0)
    left, right, centre, effects, behind = (torch.randn(1000, generator=g) * 0.1 for _ in range(5))
    out = fold(torch.stack([left, right, centre, effects, behind, right]))
    torch.testing.assert_close(out[0], left + 0.5**0.5 * (centre + behind))
    torch.testing.assert_close(out[1], right + 0.5**0.5 * (centre + right))
    seven = fold(torch.stack([left * 0, left * 0, centre, effects, *[left * 0] * 4]))
    torch.testing.assert_close(seven, 0.5**0.5 * centre.expand(2, -1))


def test_sides_that_cancel_out_are_heard_and_said():
    voice = torch.randn(1, 5 * RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    opposite = torch.cat([voice, -voice])
    assert cancels(opposite) and not cancels(voice) and not cancels(torch.cat([voice, voice * 0]))
    torch.testing.assert_close(one_channel(opposite), voice[0])
    assert any("cancel each other out" in d for d in doubts(opposite, RATE))
    assert prepare(opposite, RATE).abs().max() > 0.1


def test_the_part_where_somebody_speaks_is_heard():
    quiet = torch.zeros(1, 40 * 16000)
    voice = torch.randn(1, 10 * 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    late = torch.cat([quiet, voice], 1)
    assert prepare(late, 16000).abs().max() > 0.1
    assert any("s from" in d for d in doubts(late, 16000))
