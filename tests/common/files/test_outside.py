"""Files from outside: what they claim is checked before it is believed."""

import io
import json
import struct
import zipfile

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

from common.files import outside
from common.files.errors import UserError


@pytest.fixture
def params(tmp_path):
    """A file of two arrays, and what is in it."""
    arrays = {"net:weight": mx.nd.array(np.arange(6).reshape(2, 3)), "half": mx.nd.ones(5, dtype="float16")}
    mx.nd.save(str(tmp_path / "net.params"), arrays)
    return tmp_path / "net.params"


def test_shapes_of_a_file_are_those_that_mxnet_reads(params):
    assert outside.shapes(params, "") == {"net:weight": (2, 3), "half": (5,)}
    assert outside.arrays(params, "")["net:weight"].asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_cut_file_of_arrays_is_refused_wherever_it_was_cut(params):
    whole = params.read_bytes()
    for length in range(len(whole)):
        params.write_bytes(whole[:length])
        with pytest.raises(UserError, match="net.params.*get it again"):
            outside.shapes(params, "get it again")
    params.write_bytes(whole + b"x")
    with pytest.raises(UserError, match="1 bytes follow its end"):
        outside.shapes(params, "get it again")


def test_random_bytes_in_a_file_of_arrays_never_end_the_process(params):
    """Each damaged byte is refused or leaves a file that MXNet reads as whole."""
    whole, rng, refused = params.read_bytes(), np.random.default_rng(0), 0
    for place in range(len(whole)):
        params.write_bytes(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
        try:
            outside.arrays(params, "get it again")
        except UserError as error:
            refused += "\n" not in str(error)
    assert refused > len(whole) / 2  # the rest are bytes of the numbers themselves


@pytest.mark.parametrize(("place", "value", "reason"), [
    (16, 2**60, "ends too early"),  # the number of arrays
    (28, 1, "sparse"),  # its storage type
    (32, 2**30, "dimensions"),
    (36, 2**40, "ends too early"),  # its first side
])  # fmt: skip
def test_a_file_that_claims_more_than_it_holds_is_refused(params, place, value, reason):
    whole = bytearray(params.read_bytes())
    kind = "<q" if value > 2**31 else "<i"
    struct.pack_into(kind, whole, place, value)
    params.write_bytes(whole)
    with pytest.raises(UserError, match=reason):
        outside.shapes(params, "get it again")


def test_values_that_are_not_finite_are_refused(tmp_path):
    net = nn.Dense(2, in_units=3)
    net.initialize()
    net.weight.set_data(mx.nd.array([[1, 2, np.inf], [0, 0, 0]]))
    net.save_parameters(str(tmp_path / "net.params"))
    with pytest.raises(UserError, match="weight holds numbers that are not finite"):
        outside.arrays(tmp_path / "net.params", "get it again")
    with pytest.raises(UserError, match="net.params.*weight holds numbers that are not finite"):
        outside.load_parameters(net, tmp_path / "net.params", "get it again")


def test_parameters_of_another_network_are_refused(params):
    with pytest.raises(UserError, match="net.params is not as it should be .*: another network"):
        outside.load_parameters(nn.Dense(2, in_units=3), params, "another network")


@pytest.mark.parametrize("content", [
    b"", b"[]", b"null", b"7", b'"text"', b"{", b"\xff\xfe{", b"[" * 100_000, b'{"a": 1}}', bytes(100),
])  # fmt: skip
def test_json_that_is_no_object_is_one_line(tmp_path, content):
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(UserError, match="card.json.*: write it anew") as error:
        outside.read_json(tmp_path / "card.json", "write it anew")
    assert "\n" not in str(error.value)


def test_json_is_read_with_or_without_a_byte_order_mark(tmp_path):
    for start in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "card.json").write_bytes(start + b'{"a": [1]}')
        assert outside.read_json(tmp_path / "card.json", "") == {"a": [1]}
    (tmp_path / "list.json").write_text("[1]")
    assert outside.read_json(tmp_path / "list.json", "", list) == [1]


def test_json_beyond_measure_is_not_read(tmp_path):
    with open(tmp_path / "card.json", "wb") as file:
        file.truncate(6 << 30)  # a hole: it takes no room
    with pytest.raises(UserError, match="6442450944 bytes are more"):
        outside.read_json(tmp_path / "card.json", "write it anew")


def test_fields_of_a_card():
    wanted = {"name": str, "size": outside.whole, "share": lambda value: outside.number(value, 0, 1),
              "seen": outside.texts, "views": outside.shares}  # fmt: skip
    good = {"name": "a", "size": 3, "share": 0.5, "seen": ["a", "b"], "views": [0.75, 0.5], "more": None}
    outside.check_fields(good, wanted)
    outside.check_fields({**good, "views": []}, wanted)
    for key, value in (
        ("name", 3), ("size", 0), ("size", True), ("size", 3.0), ("size", 10**12), ("size", None), ("share", "1"),
        ("share", float("nan")), ("share", 2), ("seen", "ab"), ("seen", ["a", "a"]), ("seen", [1]),
        ("views", 0.5), ("views", [1]), ("views", [0]), ("views", ["0.5"]), ("views", [True]), ("views", None),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"its '{key}' cannot be"):
            outside.check_fields({**good, key: value}, wanted)
    with pytest.raises(ValueError, match="it has no 'size'"):
        outside.check_fields({"name": "a"}, wanted)


def npy(shape, kind="<f4", body=b"") -> bytes:
    content = io.BytesIO()
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue() + body


@pytest.mark.parametrize("content", [
    npy((2**40,)), npy((2**20, 2**20)), npy((3,), body=bytes(11)), npy((1,), "|O", b"\x80\x04N."), b"", b"\x93NUMPY",
    npy((3,), body=bytes(12))[:40],
])  # fmt: skip
def test_a_npy_or_npz_that_claims_what_it_has_not_is_refused_unread(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises((ValueError, EOFError)):
        outside.load_npy(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises((ValueError, EOFError)):
        outside.load_npz(tmp_path / "a.npz")


def test_npy_and_npz_are_read(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    np.savez(tmp_path / "a.npz", a=np.arange(3), about=np.array(json.dumps({"k": 1})), empty=np.zeros((0, 4)))
    assert outside.load_npy(tmp_path / "a.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert set(outside.load_npz(tmp_path / "a.npz")) == {"a", "about", "empty"}
    assert list(outside.load_npz(tmp_path / "a.npz", ["a"])) == ["a"]
    with pytest.raises(ValueError, match="it has no b"):
        outside.load_npz(tmp_path / "a.npz", ["a", "b"])


def test_a_npz_of_zeros_that_grows_beyond_measure_is_not_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(30_000_000, np.uint8))
    with pytest.raises(ValueError, match="it claims 30000128 bytes in a file of"):
        outside.load_npz(tmp_path / "a.npz")
