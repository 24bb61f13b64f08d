"""Strangers' input: files, workflows, requests and texts, broken at random. Longer with NAVA_FUZZ=100 (times as many examples).

Whatever comes, the answer is a result or one of the errors that say what is wrong, soon.
"""

import copy
import functools
import http.client
import json
import os
import pickle
import struct
import time
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shipped import BY_KEY
from support import DATA, one_loop
from workflow import WorkflowError, load, to_api

import nava_core.cast as casts
from nava_core import prompt as prompts
from nava_core.checkpoint import CheckpointError, identify, read_header, without_prefix
from nava_core.config import ConfigError, NavaConfig
from nava_core.dialogue import compose
from nava_core.gguf_file import read_gguf
from nava_core.spans import parse_spans
from nava_core.storyboard import parse as parse_board
from nava_core.voice import load_voice_encoder

TIMES = int(os.environ.get("NAVA_FUZZ", "1"))


def soon(test):
    """The same, done in 150 million steps of Python at most: others may be busy beside it."""

    @functools.wraps(test)
    def timed(*args, **kwargs):
        start = time.process_time()
        test(*args, **kwargs)
        assert time.process_time() - start < 150 * one_loop()

    return timed


def fuzzed(examples):
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    tried = settings(max_examples=examples * TIMES, deadline=None, suppress_health_check=checks, derandomize=TIMES == 1)

    def each(test):
        test.hypothesis.inner_test = soon(test.hypothesis.inner_test)
        return tried(test)

    return each


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
PIECES = ("<S>", "<E>", "<S:", ">", "Anna", ": ", "：", "(", ")", "\n", "--- ", "1.5 s", ", continue", "&#1234;", "&amp;", "“", "#e0a030", " ", "汉", "\ud800", "\u202e", "\0", "-", "0-", "9" * 40, "e9", "nan", "%")  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=40).map("".join)


def broken(content: bytes, edits: list[tuple[int, int]], cut: int) -> bytes:
    """A file with some bytes changed, all near its header, and perhaps cut short."""
    changed = bytearray(content[:cut])
    for at, value in edits:
        if changed:
            changed[at % min(len(changed), 4096)] = value
    return bytes(changed)


edits = st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=6)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@fuzzed(60)
@given(edits, st.integers(0, 3_000_000))
def test_safetensors_headers(place, edits, cut):
    path = place / "model.safetensors"
    path.write_bytes(broken((DATA / "nava_tiny.safetensors").read_bytes(), edits, cut))
    try:
        shapes, metadata = read_header(path)
        identify(without_prefix(shapes), metadata, path.name)
    except CheckpointError as error:
        assert "model.safetensors" in str(error)


TINY_SHAPES, TINY_METADATA = read_header(DATA / "nava_tiny.safetensors")
SIZES = json.loads(TINY_METADATA.get("nava_config", "{}")) or {"dim": 1}


@fuzzed(80)
@given(
    st.dictionaries(
        st.sampled_from(sorted(NavaConfig.__dataclass_fields__)), anything | st.integers(-9, 10**12), max_size=3
    )
)
def test_model_metadata(changes):
    metadata = {"nava_config": json.dumps(SIZES | changes)}
    try:
        identify(without_prefix(TINY_SHAPES), metadata, "model")
    except CheckpointError as error:
        assert "model" in str(error)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "9" * 5000, '{"num_heads": 0}', '{"num_single_layers": 1000000000}', '{"dim": "x"}']
)
def test_hostile_model_metadata_is_refused(text):
    with pytest.raises(ConfigError):
        NavaConfig.from_shapes(without_prefix(TINY_SHAPES), {"nava_config": text})


@soon
def test_a_block_with_an_enormous_number_is_refused_at_once():
    shapes = without_prefix(TINY_SHAPES)
    for key in ("double_blocks.999999999.x", "double_blocks.x.y", "single_blocks.9999999999999999999.x"):
        with pytest.raises(CheckpointError):
            identify(shapes | {key: (1,)}, TINY_METADATA, "model")


class Runs:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture(scope="module")
def voice_file():
    return torch.load(DATA / "redimnet_tiny.pt", weights_only=True)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_that_run_are_refused(place, zipped, voice_file):
    path, sign = place / "voice.pt", place / "it_ran"
    torch.save(voice_file | {"extra": Runs(sign)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"voice\.pt cannot be read safely"):
        load_voice_encoder(path)
    path.write_bytes(pickle.dumps(Runs(sign)))
    with pytest.raises(CheckpointError, match=r"voice\.pt cannot be read safely"):
        load_voice_encoder(path)
    assert not sign.exists()


@fuzzed(60)
@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from(b"(}])]\x80\x02.ucqQRbtahse0123NIJKX\x85"), max_size=40).map(bytes)
)
def test_any_pickle_is_a_clear_error(place, program):
    path = place / "program.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("program/data.pkl", program)
        file.writestr("program/version", "3\n")
        file.writestr("program/byteorder", "little")
    with pytest.raises(CheckpointError, match=r"program\.pt"):
        load_voice_encoder(path)


@fuzzed(40)
@given(st.data())
def test_voice_encoders_that_describe_themselves_wrongly(place, voice_file, data):
    content, path = copy.copy(voice_file), place / "voice.pt"
    config = copy.deepcopy(content["model_config"])
    key = data.draw(st.sampled_from(sorted(config)))
    config[key] = data.draw(anything | st.integers(-3, 10**12))
    content["model_config"] = config if data.draw(st.booleans()) else data.draw(anything)
    torch.save(content, path)
    try:
        load_voice_encoder(path)
    except CheckpointError as error:
        assert "voice.pt" in str(error)


@pytest.mark.parametrize("change", [{"F": 10**9}, {"stages_setup": [[1, 10**9, 2, [(3, 3)], 4]]}, {"stages_setup": 3}, {"group_divisor": 0}, {"C": 512, "F": 512}])  # fmt: skip
@soon
def test_enormous_voice_encoders_are_refused_before_memory_is_taken(place, voice_file, change):
    path = place / "voice.pt"
    torch.save(voice_file | {"model_config": voice_file["model_config"] | change}, path)
    with pytest.raises(CheckpointError, match=r"voice\.pt"):
        load_voice_encoder(path)


def gguf_of(entries: bytes, count: int, tensors: int = 0) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, tensors, count) + entries


def text_of(name: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name


GGUF = gguf_of(
    text_of(b"nava_config") + struct.pack("<I", 8) + text_of(b"{}") + text_of(b"b") + struct.pack("<IIQ3I", 9, 4, 3, 1, 2, 3),
    2, 1,
) + text_of(b"x.weight") + struct.pack("<I2QIQ", 2, 4, 2, 0, 0) + bytes(64)  # fmt: skip


@fuzzed(80)
@given(edits, st.integers(0, 300))
def test_gguf_headers(place, edits, cut):
    path = place / "model.gguf"
    path.write_bytes(broken(GGUF, [(at % 200, value) for at, value in edits], cut))
    try:
        read_gguf(path)
    except CheckpointError as error:
        assert "model.gguf" in str(error)


@pytest.mark.parametrize(
    "content",
    [
        gguf_of(text_of(b"a") + struct.pack("<IIQ", 9, 0, 2**60) + bytes(40), 1),
        gguf_of(text_of(b"a") + struct.pack("<IIQ", 9, 9, 1) * 2000, 1),
        gguf_of(b"", 2**62),
        gguf_of(b"", 0, 2**62),
        gguf_of(struct.pack("<Q", 2**63), 1),
        gguf_of(text_of(b"nava_config") + struct.pack("<I", 8) + text_of(b"\xff\xfe"), 1),
    ],
    ids=["array", "nested", "entries", "tensors", "name", "not text"],
)
@soon
def test_endless_gguf_headers_are_refused_at_once(place, content):
    path = place / "endless.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"endless\.gguf"):
        read_gguf(path)


def test_the_gguf_file_that_is_broken_here_can_be_read(place):
    path = place / "whole.gguf"
    path.write_bytes(GGUF)
    weights, shapes, metadata = read_gguf(path)
    assert shapes == {"x.weight": (2, 4)} and metadata == {"nava_config": "{}"} and weights["x.weight"].sum() == 0


@fuzzed(60)
@given(texts, texts, texts)
def test_texts(first, second, third):
    for read, errors in (
        (lambda: prompts.parse(first), ()),
        (lambda: compose(first, second, third), prompts.PromptError),
        (lambda: casts.parse_characters(first).with_looks(second), casts.CastError),
        (lambda: parse_board(first, 4.0), ValueError),
        (lambda: parse_spans(second, 6.0), ValueError),
    ):
        try:
            read()
        except errors as error:
            assert type(error) is not UnicodeError and str(error)


TREE = load(BY_KEY["nava_text_to_av"].path)


def spots(value, path=()):
    """Every place in a document."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from spots(value[key], (*path, key))


SPOTS = [s for s in spots({k: TREE[k] for k in ("nodes", "links", "definitions")}) if s]


def changed(document, path, value):
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


@fuzzed(60)
@given(st.sampled_from(SPOTS), anything)
def test_workflows(object_info, path, value):
    try:
        to_api(changed(TREE, path, value), object_info)
    except WorkflowError as error:
        assert len(str(error)) < 2000


@pytest.mark.parametrize(
    "document", [{}, {"nodes": 3}, {"nodes": [{}]}, {"nodes": [{"id": [], "type": "x"}]}, [], None, "text"]
)
def test_what_is_no_workflow_is_called_so(document):
    with pytest.raises(WorkflowError):
        to_api(document, {})


FIELDS = ("prompt", "voices", "dialogue", "cast", "mode", "width", "height", "seconds", "batch_size", "scene", "script", "sounds", "characters", "file")  # fmt: skip
bodies = st.dictionaries(st.sampled_from(FIELDS), anything | texts | st.lists(texts, max_size=3), max_size=6)
nested = st.builds(
    lambda body, name, inner: body | {name: inner}, bodies, st.sampled_from(("dialogue", "cast")), bodies
)


@fuzzed(60)
@given(
    st.sampled_from(["/nava/prompt", "/nava/size"]),
    st.binary(max_size=80) | (bodies | nested).map(lambda b: json.dumps(b).encode()),
)
def test_routes(server, path, body):
    told = server.log.stat().st_size
    connection = http.client.HTTPConnection(server.address, timeout=5)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status in (200, 400, 413, 503), (answer.status, content[:300])
        if answer.status == 200:
            json.loads(content)
    finally:
        connection.close()
    with open(server.log, encoding="utf-8", errors="replace") as log:
        log.seek(told)
        assert "Traceback" not in log.read()


def test_large_and_slow_bodies_do_not_hold_the_server(server):
    """A body far over the limit is refused, one that never comes holds nobody else up."""
    slow = http.client.HTTPConnection(server.address, timeout=5)
    slow.putrequest("POST", "/nava/prompt")
    slow.putheader("Content-Length", "60000")
    slow.endheaders()
    slow.send(b'{"prompt": "')
    large = http.client.HTTPConnection(server.address, timeout=5)
    large.request("POST", "/nava/prompt", b" " * 100_000)
    assert large.getresponse().status == 413
    start = time.monotonic()
    assert server.post("/nava/prompt", {"prompt": "still there"})["tokens"] > 0
    assert time.monotonic() - start < 5
    slow.close()
    large.close()
