"""Names that people type, as files on Windows, macOS and Linux."""

import unicodedata
from pathlib import PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nava_core.files import file_name, whole

PIECES = (
    "con",
    "NUL",
    "com1",
    "LPT³",
    ".",
    " ",
    "/",
    "\\",
    ":",
    "*",
    "é",
    "e\u0301",
    "漢",
    "한",
    "😀",
    "\ud800",
    "\u202e",
    "\0",
    "x" * 99,
)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("storm", "storm"), (" my cast ", "my cast"), ("安娜和本", "安娜和本"), ("Cafe\u0301", "Café"), ("a.b", "a.b"), ("console", "console"),
        ("comé", "comé"), ("😀", "😀"), ("com10", "com10"), ("x" * 100, "x" * 100),
    ],
)  # fmt: skip
def test_good_names_stay(typed, name):
    assert file_name(typed) == name


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("", "empty"), ("  ", "empty"), (".", "dot"), ("..", "dot"), (".hidden", "dot"), ("a/b", "letters such as"), ("a\\b", "letters such as"),
        ("C:x", "letters such as"), ("what?", "letters such as"), ("a\nb", "letters such as"), ("a\0", "letters such as"),
        ("\u202egnp.exe", "letters such as"), ("\ud800", "letters such as"), ("end.", "dot at the end"), ("end. ", "dot at the end"),
        ("con", "device"), ("Aux", "device"), ("nul.tar", "device"), ("COM1 .x", "device"), ("lpt²", "device"), ("CONIN$", "device"),
        ("x" * 101, "longer than"), ("漢" * 67, "longer than"),
    ],
)  # fmt: skip
def test_names_that_some_system_refuses_or_changes(typed, why):
    with pytest.raises(ValueError, match=f"cannot be a file name .*{why}.*: use letters"):
        file_name(typed)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=6).map("".join))
def test_what_is_taken_is_a_name_everywhere(tmp_path_factory, text):
    try:
        name = file_name(text)
    except ValueError as error:
        assert len(str(error)) < 300
        return
    windows = PureWindowsPath(name)
    assert windows.parts == (name,) and not windows.is_reserved()
    assert name == name.rstrip(". ") == unicodedata.normalize("NFC", name) == file_name(name)
    with whole(tmp_path_factory.getbasetemp() / f"{name}_9999.safetensors") as part:
        part.write_bytes(b"")
