"""One's own pictures in a table."""

import shutil

import numpy as np
import pytest
from PIL import Image

from common.data import sets, walk
from common.data.sets import table
from common.files.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures of 30 x 20 pixels, ``p/0.png`` and so on."""
    (tmp_path / "p").mkdir()
    for i in range(12):
        Image.fromarray(np.full((20, 30, 3), 10 * i, np.uint8)).save(tmp_path / "p" / f"{i}.png")
    return tmp_path


def write(folder, *rows, encoding="utf-8", name="t.csv"):
    (folder / name).write_bytes("".join(f"{row}\n" for row in rows).encode(encoding))
    return folder / name


def quiet(path, *columns, on_error="stop"):
    return table.load(path, columns, on_error, say=lambda line: None)


def numbers(images):
    return [int(path.stem) for path in images.images]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_delimiter_and_byte_order_mark(folder, encoding, delimiter, end):
    rows = [["note", "path", "label"], ["1.5", "p/0.png", "Äpfel"], ["", "p/1.png", "梨, süß"], ["", "", ""]]
    rows = [delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in rows]
    (folder / "t.csv").write_bytes((end.join(rows) + end).encode(encoding))
    said = []
    found = table.load(folder / "t.csv", say=said.append)
    assert found.images.class_names == ["Äpfel", "梨, süß"] and numbers(found.images) == [0, 1]
    assert found.images.boxes is found.images.splits is found.superclasses is found.images.is_query is None
    assert said == [f"{folder}/t.csv: 2 pictures of 2 classes; nothing skipped"]


def test_every_column_under_its_own_and_under_another_name(folder):
    rows = [
        "p/0.png,b,Train,,,,,,,fruit",
        "p/1.png,a,train,,,1,2,11,12.4,",
        '"p/2.png",a,val,TRUE,0,0,0,30,20,pet',
        "p/3.png,b,validation,no,1.0,,,,,fruit",
        "p/4.png,b,test,yes,yes,,,,,",
    ]
    header = "path,label,split,is_query,is_gallery,x_1,y_1,x_2,y_2,category"
    found = quiet(write(folder, header, *rows))
    images = found.images
    assert images.class_names == ["a", "b"] and images.labels.tolist() == [1, 0, 0, 1, 1]
    assert found.images.splits.tolist() == ["train", "train", "validation", "validation", "test"]
    assert images.is_query.tolist() == [False, False, True, False, True]
    assert images.is_gallery.tolist() == [False, False, False, True, True]
    whole = [0, 0, 30, 20]
    assert images.boxes.tolist() == [whole, [1, 2, 10, pytest.approx(10.4)], whole, whole, whole]
    assert images.read(0).shape == (20, 30, 3) and images.read(1).shape == (10, 10, 3)
    assert found.superclasses == {"b": "fruit", "a": "pet"}
    assert numbers(images.subset(images.is_query)) == [2, 4]
    renamed = write(folder, "file,label,a part of,Query,is_gallery,left,top,right,bottom,kind", *rows)
    pairs = ["path=file", "split=a part of", "is_query=Query", "x1=left", "y1=top", "x2=right", "y2=bottom"]
    again, said = quiet(renamed, *pairs, "category=kind"), []
    for name in ("labels", "boxes", "is_query", "is_gallery"):
        np.testing.assert_array_equal(getattr(again.images, name), getattr(images, name))
    assert again.superclasses == found.superclasses and again.images.splits.tolist() == found.images.splits.tolist()
    bare = table.load(write(folder, header, *rows[:2]), say=said.append)
    assert bare.superclasses is None and said[1] == "1 classes have no category, so categories are left out"


def test_paths_are_relative_to_the_table_or_absolute(folder, monkeypatch):
    (folder / "tables").mkdir()
    rows = "path,label", "../p/0.png,a", f"{folder}/p/1.png,b"
    monkeypatch.chdir(folder.parent)
    assert numbers(quiet(write(folder, *rows, name="tables/t.csv")).images) == [0, 1]


def test_boxes_are_of_the_picture_as_it_is_turned(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: 20 wide, 30 high
    Image.new("RGB", (30, 20)).save(folder / "turned.jpg", exif=exif)
    rows = "path,label,x1,y1,x2,y2", "p/0.png,a,,,,", "turned.jpg,b,{}"
    assert quiet(write(folder, *rows[:2], rows[2].format("0,25,20,30"))).images.read(1).shape == (5, 20, 3)
    with pytest.raises(UserError, match="row 3, column x2: '30' lies outside of the picture"):
        quiet(write(folder, *rows[:2], rows[2].format("0,0,30,20")))


@pytest.mark.parametrize(("rows", "line"), [
    (["file,label"], "row 1: there is no column path among file, label: --columns path=HEADER says what it is called"),
    (["Path,label"], r"row 1: there is no column path \(did you mean Path\?\) among Path, label"),
    (["path,label,path"], "row 1: the column path is there 2 times"),
    (["path,label,x1,y1,x2"], "row 1: there is no column y2"),
    (["path,label"], "has no row below its header"),
    (["path,label", ",", ""], "has no row below its header"),
    (["path,label", "p/0.png,a", ",b"], "row 3, column path: it is empty"),
    (["path,label", "p/0.png,a", "p/1.png, ", "p/2.png"], r"row 3, column label: it is empty \(so in 2 rows\)"),
    (["path,label", "p/0.png,a", "p/1.png,a"], "lists pictures of 1 classes, two are needed"),
    (["path,label", "p/0.png,a", "", "p/0,1.png,b"], "row 4, it has more cells than the header's 2: a ',' inside"),
    (["path,label", "p/0.png,a", "p,b", "p/x,a", "x,b", "y,b"],
     r"column path: 4 files are not there, p in row 3, p/x in row 4, x in row 5: paths are relative to the table"),
    (["path,label", "p/0.png,a", "\0,b"], "column path: 1 files are not there"),
    (["path,label", "p/0.png,a", f"{'x' * 5000},b"], "column path: 1 files are not there"),
    (["path,label", "p/0.png,a", "p/../p/0.png,b"], "row 3, column path: 'p/../p/0.png' stands in row 2 already"),
    (["path,label,split", "p/0.png,a,train", "p/1.png,b,dev"], "row 3, column split: 'dev' is none of train, valid"),
    (["path,label,split", "p/0.png,a,train", "p/1.png,b,"], "row 3, column split: '' is none of"),
    (["path,label,is_query", "p/0.png,a,", "p/1.png,b,maybe"], "row 3, column is_query: 'maybe' is neither true nor"),
    (["path,label,is_gallery", "p/0.png,a,2"], "row 2, column is_gallery: '2' is neither true nor false"),
    (["path,label,category", "p/0.png,a,x", "p/1.png,b,x", "p/2.png,a,y"], "row 4, column category: 'y', but of 'a'"),
    ([], r"is not as it should be \(it is empty\)"),
    (['path,label', 'p/0.png,"a'], "is not as it should be"),
    (['"path\n",label', 'p/0.png,a'], "is not as it should be"),
])  # fmt: skip
def test_a_table_that_is_wrong_is_one_line(folder, rows, line):
    if "two are needed" not in line and len(rows) == 2 and "row 2" in line:
        rows = [*rows, "p/5.png,b,0"]
    with pytest.raises(UserError, match=line) as found:
        quiet(write(folder, *rows))
    assert "t.csv" in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize(("box", "line"), [
    ("1,1,nan,5", "column x2: 'nan' is no number"),
    ("1,,9,5", "column y1: '' is no number"),
    ('"1,5",1,9,5', "column x1: '1,5' is no number"),
    ("-1,1,9,5", "column x1: '-1' lies outside of the picture"),
    ("1,1,31,5", "column x2: '31' lies outside of the picture"),
    ("1,1,9,21", "column y2: '21' lies outside of the picture"),
    ("1,1,1,5", "column x2: '1' leaves an empty box after x1"),
    ("1,6,2,5", "column y2: '5' leaves an empty box after y1"),
])  # fmt: skip
def test_a_box_that_is_wrong_is_one_line(folder, box, line):
    with pytest.raises(UserError, match=f"t.csv, row 3, {line}"):
        quiet(write(folder, "path,label,x1,y1,x2,y2", "p/0.png,a,,,,", f"p/1.png,b,{box}"))


@pytest.mark.parametrize(("pair", "line"), [
    ("label", "--columns label: expected NAME=HEADER, for instance label=product"),
    ("label=", "expected NAME=HEADER"),
    ("lable=x", r"--columns lable=x: no column is called 'lable' \(did you mean label\?\): path, label, split"),
    ("label=class", "row 1: there is no column class among path, label"),
])  # fmt: skip
def test_a_name_that_is_wrong_is_one_line(folder, pair, line):
    with pytest.raises(UserError, match=line):
        quiet(write(folder, "path,label", "p/0.png,a", "p/1.png,b"), pair)
    with pytest.raises(UserError, match="--columns label=y: label is x already"):
        quiet(folder / "t.csv", "label=x", "label=y")


def test_files_that_are_no_table_are_one_line(folder):
    noise = np.random.default_rng(1).bytes(1000)
    for content in (b"", b"\0" * 1000, noise, "path,label\np/0.png,ä\n".encode("utf-16")):
        (folder / "t.csv").write_bytes(content)
        with pytest.raises(UserError, match="t.csv"):
            quiet(folder / "t.csv")
    (folder / "t.csv").write_bytes("path,label\np/0.png,\xe4\n".encode("latin-1"))
    with pytest.raises(UserError, match="t.csv is not as it should be .* a CSV file in UTF-8 whose header"):
        quiet(folder / "t.csv")
    with pytest.raises(UserError, match="is a folder: --data-path takes a CSV file"):
        quiet(folder)


def test_what_cannot_be_read_is_left_out_when_asked(folder):
    (folder / "p" / "2.png").write_bytes(b"no picture")
    rows = "p/0.png,a,1,1,3,3", "p/1.png,b,,,,", "p/none.png,b,,,,", "p/2.png,c,,,,", "p/3.png,a,,,,", ",b,,,,"
    path, said = write(folder, "path,label,x1,y1,x2,y2", *rows[:-1]), []
    found = table.load(path, on_error="skip", say=said.append).images
    assert numbers(found) == [0, 1, 3] and found.class_names == ["a", "b"] and found.boxes.shape == (3, 4)
    assert found.skipped == [(folder / "p/none.png", walk.MISSING), (folder / "p/2.png", walk.BROKEN)]
    assert "3 pictures of 2 classes; 2 skipped: 1 files that are not there (p/none.png); 1 pictures" in said[0]
    with pytest.raises(UserError, match="row 7, column path: it is empty"):
        quiet(write(folder, "path,label,x1,y1,x2,y2", *rows), on_error="skip")
    with pytest.raises(UserError, match="lists pictures of 1 classes, two are needed .1 skipped: 1 files"):
        quiet(write(folder, "path,label", "p/0.png,a", "none,b"), on_error="skip")


def splits(folder, text):
    """A table with a row for each word such as ``train:a``."""
    rows = [f"p/{i}.png,{word.split(':')[1]},{word.split(':')[0]}" for i, word in enumerate(text.split())]
    return write(folder, "path,label,split", *rows)


def test_a_table_without_splits_is_split_as_a_folder_is(folder):
    rows = [f"p/{i}.png,{'abcd'[i % 4]},{'xy'[i % 2]}" for i in range(12)]
    path = write(folder, "path,label,category", *rows)
    for i in range(12):
        (folder / "of" / "abcd"[i % 4]).mkdir(exist_ok=True, parents=True)
        shutil.copy(folder / "p" / f"{i}.png", folder / "of" / "abcd"[i % 4] / f"{i}.png")
    for protocol in ("unseen", "seen", None):
        ours, theirs = (sets.load(*one, protocol, say=str) for one in (("csv", path), ("folder", folder / "of")))
        assert ours.protocol == theirs.protocol and ours.validation is None
        assert ours.superclasses == {"a": "x", "b": "y", "c": "x", "d": "y"}
        assert ours.test.class_names == theirs.test.class_names and len(ours.test) == len(theirs.test)
    few = write(folder, "path,label", "p/0.png,a", "p/1.png,a", "p/2.png,b", "p/3.png,b")
    assert sets.load("csv", few, None, say=str).protocol == "seen"
    assert sets.load("csv", few, None, unseen=["a"], say=str).test.class_names == ["a"]


def test_its_own_splits_are_kept(folder):
    own = splits(folder, "train:b train:a test:b validation:a test:b")
    for protocol in (None, "seen"):
        said = []
        data = sets.load("csv", own, protocol, say=said.append)
        assert said[1:] == ([] if protocol else ["all classes that are held back are trained on: --protocol seen"])
        assert data.protocol == "seen" and data.train.class_names == data.test.class_names == ["a", "b"]
        assert [numbers(one) for one in (data.train, data.validation, data.test)] == [[0, 1], [3], [2, 4]]
        assert data.test.labels.tolist() == [1, 1] and data.validation.labels.tolist() == [0]
    said = []
    data = sets.load("csv", own, "unseen", say=said.append)  # each picture of a split among the others of it
    assert data.protocol == "unseen" and data.test.class_names == ["b"] and data.test.labels.tolist() == [0, 0]
    assert said[1] == "1 of 1 classes of split test are trained on too"
    new = splits(folder, "train:b train:a test:c test:c validation:d")
    said = []
    data = sets.load("csv", new, None, say=said.append)
    assert data.protocol == "unseen" and len(said) == 1
    assert [one.class_names for one in (data.train, data.validation, data.test)] == [["a", "b"], ["d"], ["c"]]
    with pytest.raises(UserError, match=r"t.csv: class 'c' has no picture of split train, and is held back"):
        sets.load("csv", new, "seen", say=str)


def test_what_is_for_validation_is_tested_on_where_nothing_else_is(folder):
    said = []
    data = sets.load("csv", splits(folder, "train:a train:b validation:c val:c"), None, say=said.append)
    assert data.validation is None and numbers(data.test) == [2, 3] and data.protocol == "unseen"
    assert said[1] == f"{folder}/t.csv has no picture of split test: its 2 of split validation are tested on"


@pytest.mark.parametrize(("text", "line"), [
    ("train:a train:b", "has 0 classes of split test, it needs 1"),
    ("train:a test:b", "has 1 classes of split train, it needs 2"),
    ("validation:a test:b", "has 0 classes of split train, it needs 2"),
])  # fmt: skip
def test_splits_that_cannot_be_are_one_line(folder, text, line):
    with pytest.raises(UserError, match=line):
        sets.load("csv", splits(folder, text), None, say=str)


def test_flags_that_do_not_go_together_are_one_line(folder):
    with pytest.raises(UserError, match="--dataset csv needs --data-path, a table, a CSV file with the columns path"):
        sets.load("csv")
    with pytest.raises(UserError, match="none.csv is not there: --data-path takes a table"):
        sets.load("csv", folder / "none.csv")
    with pytest.raises(UserError, match="--columns path=x has no effect on --dataset folder: leave it out"):
        sets.load("folder", folder, columns=["path=x"])
    with pytest.raises(UserError, match="--unseen c has no effect here, .*t.csv is split already: leave it out"):
        sets.load("csv", splits(folder, "train:a train:b test:c"), None, unseen=["c"], say=str)


@pytest.mark.slow
def test_a_large_table_is_read(folder):
    """200,000 rows, boxes of the same few pictures: what grew with the square of the rows would take hours."""
    rows = (f"p/{i % 12}.png,c{i % 1000},{'train' if i % 3 else 'test'},0,0,{1 + i / 1e5},2" for i in range(200_000))
    found = quiet(write(folder, "path,label,split,x1,y1,x2,y2", *rows))
    assert len(found.images) == 200_000 and np.sum(found.images.splits == "test") == 66_667
