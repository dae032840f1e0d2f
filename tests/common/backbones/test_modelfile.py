"""Model files: what goes in comes out, damage and newer versions are told, the layouts of before are read."""

import hashlib
import json

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

from common.backbones import modelfile
from common.files import outside
from common.files.errors import UserError

FIELDS = {"dim": outside.whole}
REMEDY = "train one"


def network(units=3):
    net = nn.HybridSequential()
    net.add(nn.Dense(units, in_units=4), nn.BatchNorm(in_channels=units))
    return net


@pytest.fixture
def saved(tmp_path):
    """A network with values, and the file it was saved in."""
    net = network()
    net.initialize(mx.init.Uniform(1))
    metadata = {"dim": np.int64(3), "classes": ["a", "Ärger", "\udcff"], "path": tmp_path, "metrics": {"loss": 0.1}}
    arrays = {"means": np.arange(6.0, dtype=np.float32).reshape(2, 3), "seen": mx.nd.ones((2, 2), dtype="uint8")}
    modelfile.save(tmp_path / "m.params", "toy", modelfile.values(net), metadata, arrays)
    return net, tmp_path / "m.params"


def load(path, kind="toy", fields=FIELDS):
    return modelfile.load(path, kind, fields, REMEDY)


def same(one, other):
    assert one.keys() == other.keys()
    return all(np.array_equal(one[name].asnumpy(), other[name].asnumpy()) for name in one)


def test_what_was_saved_comes_back(saved, tmp_path):
    net, path = saved
    file = load(path)
    assert file.metadata == {
        "dim": 3, "classes": ["a", "Ärger", "\udcff"], "path": str(tmp_path), "metrics": {"loss": 0.1},
    }  # fmt: skip
    assert same(file.parameters, modelfile.values(net))
    assert file.arrays["means"].asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert file.arrays["seen"].dtype == np.uint8 and file.arrays["seen"].asnumpy().sum() == 4
    again = network()
    modelfile.fill(again, file.parameters, mx.cpu())
    assert same(modelfile.values(again), modelfile.values(net))
    assert [one.name for one in tmp_path.iterdir()] == ["m.params"]  # nothing beside it


def test_gluon_reads_the_parameters(saved):
    net, path = saved
    again = network()
    again.load_parameters(str(path), ignore_extra=True)
    assert same(modelfile.values(again), modelfile.values(net))


def test_by_hand(saved):
    """What the README says, and the digest as the module describes it."""
    arrays = mx.nd.load(str(saved[1]))
    metadata = json.loads(arrays["meta:json"].asnumpy().tobytes())
    assert (metadata["format_version"], metadata["kind"], metadata["dim"]) == (1, "toy", 3)
    digest = hashlib.sha256()
    for name in sorted(set(arrays) - {"meta:sha256"}):
        values = arrays[name].asnumpy()
        digest.update(json.dumps([name, values.dtype.name, values.shape]).encode() + values.tobytes())
    assert arrays["meta:sha256"].asnumpy().tobytes() == digest.digest()


def test_the_same_model_is_the_same_bytes(saved, tmp_path):
    net, path = saved
    file = load(path)
    modelfile.save(tmp_path / "again.params", "toy", file.parameters, file.metadata, file.arrays)
    assert (tmp_path / "again.params").read_bytes() == path.read_bytes()


def test_every_byte_that_changes_is_told_or_changes_nothing(saved, tmp_path):
    net, path = saved
    whole, file, told = path.read_bytes(), load(path), 0
    names = len(whole) - sum(8 + len(name) for name in mx.nd.load(str(path)))
    for at in [*range(0, names, 11), *range(names, len(whole), 3)]:
        damaged = tmp_path / "damaged.params"
        damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            read = load(damaged)
        except UserError as error:
            assert "damaged.params" in str(error) and len(str(error).splitlines()) == 1
            told += 1
        else:  # numbers that MXNet reserves or that say on which device an array was
            assert read.metadata == file.metadata, at
            assert same(read.parameters, file.parameters) and same(read.arrays, file.arrays), at
    assert told > 100


def test_damage_is_one_line(saved):
    _, path = saved
    whole = path.read_bytes()
    at = whole.index(np.arange(6.0, dtype=np.float32).tobytes()) + 4
    path.write_bytes(whole[:at] + b"\1" + whole[at + 1 :])
    with pytest.raises(UserError, match="m.params is not as it should be .*SHA-256: it is damaged.: train one"):
        load(path)
    path.write_bytes(whole.replace(b"meta:sha256", b"meta:sha257"))
    with pytest.raises(UserError, match="does not match its SHA-256"):
        load(path)


@pytest.mark.parametrize(("version", "message"), [
    (2, "m.params has format version 2, newer than 1: update this code"),
    (None, "has no format version"), ("1", "has no format version"), (0, "has no format version"),
])  # fmt: skip
def test_other_versions(saved, monkeypatch, version, message):
    _, path = saved
    file = load(path)
    monkeypatch.setattr(modelfile, "FORMAT_VERSION", version)
    modelfile.save(path, "toy", file.parameters, file.metadata, file.arrays)
    monkeypatch.undo()
    with pytest.raises(UserError, match=message):
        load(path)


def test_other_kinds_and_fields(saved, tmp_path):
    _, path = saved
    with pytest.raises(UserError, match="m.params holds a model of toy, not of vse: train one"):
        load(path, kind="vse")
    with pytest.raises(UserError, match="m.params is not as it should be .it has no 'width'.: train one"):
        load(path, fields={"width": int})
    with pytest.raises(UserError, match="none.params: no model there; train.py writes one"):
        load(tmp_path / "none.params")


def test_values_that_are_not_the_networks_are_refused_before_any_is_made(saved):
    net, path = saved
    parameters = load(path).parameters
    wide = network(units=5)
    with pytest.raises(ValueError, match=r"0.weight is \(3, 4\) in the file and \(5, 4\) by its metadata"):
        modelfile.fill(wide, parameters, mx.cpu())
    with pytest.raises(RuntimeError, match="not been initialized"):
        modelfile.values(wide)
    with pytest.raises(ValueError, match="its parameters are 0.bias apart"):
        modelfile.fill(network(), {name: value for name, value in parameters.items() if name != "0.bias"}, mx.cpu())
    with pytest.raises(ValueError, match="its parameters are 7.weight apart"):
        modelfile.fill(network(), {**parameters, "7.weight": parameters["0.weight"]}, mx.cpu())


def test_values_go_to_all_devices_and_are_widened(saved):
    _, path = saved
    half = {name: value.astype("float16") for name, value in load(path).parameters.items()}
    net = network()
    contexts = [mx.cpu(0), mx.cpu(1)]
    modelfile.fill(net, half, contexts)
    assert net[0].weight.list_ctx() == contexts
    for array in net[0].weight.list_data():
        assert array.dtype == np.float32 and np.array_equal(array.asnumpy(), half["0.weight"].asnumpy())
    zero = {name: value * 0 for name, value in half.items()}
    modelfile.fill(net, zero)  # where they are
    assert not any(array.asnumpy().any() for array in net[0].weight.list_data())


def inline(path, metadata, **arrays):
    """A file as vse and im2vec wrote it before format version 1."""
    text = json.dumps(metadata).encode()
    arrays = {name.replace("_", ":", 1): mx.nd.array(value) for name, value in arrays.items()}
    arrays["about"] = mx.nd.array(np.frombuffer(text, np.uint8), dtype="uint8")
    mx.nd.save(str(path), arrays)


def test_metadata_in_an_array_of_before(tmp_path):
    path = tmp_path / "m.params"
    inline(path, {"format": "im2vec 1", "dim": 2, "figures": {"x": 1}}, net_weight=[[1, 2]], objective_v=[3], means=[4])
    file = load(path, "im2vec")
    assert file.metadata == {"dim": 2, "metrics": {"x": 1}} and file.described_in == path
    assert file.parameters["weight"].asnumpy().tolist() == [[1, 2]]
    assert {name: value.asnumpy().tolist() for name, value in file.arrays.items()} == {"objective:v": [3], "means": [4]}
    with pytest.raises(UserError, match="holds a model of im2vec, not of vse"):
        load(path, "vse")
    inline(path, {"format": "vse 1", "dim": 2}, net_weight=[1])
    with pytest.raises(UserError, match="m.params was written by another version: train it again"):
        load(path, "vse")


def test_metadata_beside_the_parameters_of_before(tmp_path):
    path, sidecar = tmp_path / "m.params", tmp_path / "m.json"
    mx.nd.save(str(path), {"0.weight": mx.nd.ones(2)})
    with pytest.raises(UserError, match="m.params .*no metadata, and no m.json of an older version is beside it"):
        load(path)
    of_pictures = {"mean": [1, 2, 3], "scale": [1, 1, 1], "bgr": False, "size": 32}
    sidecar.write_text(json.dumps({"dim": 2, "crop": 30, "figures": {"x": 1}, **of_pictures}))
    file = load(path)
    assert file.metadata == {"dim": 2, "crop": 30, "metrics": {"x": 1}, "preprocessing": of_pictures}
    assert list(file.parameters) == ["0.weight"] and not file.arrays and file.described_in == sidecar
    sidecar.write_text(json.dumps(of_pictures))
    with pytest.raises(UserError, match="m.json is not as it should be .it has no 'dim'"):
        load(path)


def test_models_and_parameters_alone_are_told_apart(saved, tmp_path):
    _, path = saved
    assert modelfile.is_model(path, "seen", REMEDY)
    plain, sidecar = tmp_path / "plain.params", tmp_path / "plain.json"
    mx.nd.save(str(plain), {"0.weight": mx.nd.ones(2)})
    assert not modelfile.is_model(plain, "seen", REMEDY)
    for content, expected in (({"mean": [1, 2, 3]}, False), ({"seen": ["a"]}, True)):
        sidecar.write_text(json.dumps(content))
        assert modelfile.is_model(plain, "seen", REMEDY) == expected
    sidecar.write_text("{")
    with pytest.raises(UserError, match="plain.json.*train one"):
        modelfile.is_model(plain, "seen", REMEDY)
    assert not modelfile.is_model(tmp_path / "none.h5", "seen", REMEDY)


def test_a_disk_that_is_full_leaves_what_was_there(saved, monkeypatch):
    _, path = saved
    whole, file = path.read_bytes(), load(path)

    def full(*_):
        raise mx.MXNetError("no space")

    monkeypatch.setattr(mx.nd, "save", full)
    with pytest.raises(UserError, match="cannot write .*m.params"):
        modelfile.save(path, "toy", file.parameters, file.metadata)
    assert path.read_bytes() == whole and [one.name for one in path.parent.iterdir()] == ["m.params"]
