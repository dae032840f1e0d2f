"""Sets with an official split by class, on their real text files or files in their layout."""

import shutil

import numpy as np
import pytest
from PIL import Image

from common.data import sets
from common.files.errors import UserError


def test_cub200_official_split_and_boxes(shared_data, tmp_path):
    root = tmp_path / "CUB_200_2011"
    shutil.copytree(shared_data / "cub200_2011_meta", root)
    data = sets.load("cub200", tmp_path)
    assert (len(data.train), len(data.test)) == (5864, 5924)  # as the literature counts them
    assert (len(data.train.class_names), len(data.test.class_names)) == (100, 100)
    assert data.train.class_names[0] == "Black_footed_Albatross"
    for part in (data.train, data.test):
        index = 7
        x, y, width, height = part.boxes[index].astype(int)
        picture = np.zeros((y + height + 9, x + width + 5, 3), np.uint8)
        picture[y : y + height, x : x + width] = 200
        part.images[index].parent.mkdir(parents=True)
        Image.fromarray(picture).save(part.images[index], quality=95)
        bird = part.read(index)
        assert bird.shape == (height, width, 3) and bird.min() > 150
    whole = sets.load("cub200", tmp_path, keep_whole=True)
    assert whole.train.read(7).shape[0] > data.train.read(7).shape[0]


def test_sop_and_cars_official_layouts(tmp_path):
    header = "image_id class_id super_class_id path\n"
    (tmp_path / "Ebay_train.txt").write_text(header + "1 1 1 bicycle_final/1.JPG\n2 1 1 bicycle_final/2.JPG\n")
    (tmp_path / "Ebay_test.txt").write_text(header + "3 9 2 cabinet_final/3.JPG\n")
    data = sets.load("sop", tmp_path)
    assert len(data.train) == 2 and data.test.class_names == ["9"] and data.test.labels.tolist() == [0]

    from scipy.io import savemat

    dtype = [("relative_im_path", object), ("class", object)]
    rows = np.array([(f"car_ims/{i:06d}.jpg", i % 4 + 1) for i in range(8)], dtype)
    savemat(tmp_path / "cars_annos.mat", {"annotations": rows, "class_names": np.array(["a", "b", "c", "d"], object)})
    cars = sets.load("cars196", tmp_path)
    assert cars.train.class_names == ["a", "b"] and cars.test.class_names == ["c", "d"]
    assert cars.test.images[0] == tmp_path / "car_ims/000002.jpg" and cars.test.labels.tolist() == [0, 1, 0, 1]


def test_folders_without_the_set_name_the_command(tmp_path):
    with pytest.raises(UserError, match="holds no CUB-200-2011: ./get_data.sh cub200"):
        sets.load("cub200", tmp_path)
    with pytest.raises(UserError, match="holds no Stanford Online Products: ./get_data.sh sop"):
        sets.load("sop", tmp_path)
    with pytest.raises(UserError, match="cars_annos.mat is not there: Cars196 has no official host"):
        sets.load("cars196", tmp_path)


@pytest.mark.parametrize("content", [b"", b"text", b"MATLAB 5.0 MAT-file" + bytes(200)], ids=["empty", "text", "cut"])
def test_damaged_annotations_of_cars_are_named(tmp_path, content):
    (tmp_path / "cars_annos.mat").write_bytes(content)
    with pytest.raises(UserError, match="cars_annos.mat"):
        sets.load("cars196", tmp_path)


@pytest.mark.parametrize(("file", "text"), [
    ("images.txt", "1 001.A/1.jpg\n2\n"), ("image_class_labels.txt", "1 one\n"), ("bounding_boxes.txt", "1 0 0 x 4\n"),
    ("image_class_labels.txt", ""), ("bounding_boxes.txt", None), ("classes.txt", None),
])  # fmt: skip
def test_damaged_tables_of_cub200_are_named(tmp_path, file, text):
    tables = {
        "classes.txt": "1 001.A\n2 002.B\n", "images.txt": "1 001.A/1.jpg\n2 002.B/2.jpg\n",
        "image_class_labels.txt": "1 1\n2 2\n", "bounding_boxes.txt": "1 0 0 4 4\n2 0 0 4 4\n",
    }  # fmt: skip
    for name, content in {**tables, file: text}.items():
        if content is not None:
            (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"{tmp_path}.*(get the set again|No such file)"):
        sets.load("cub200", tmp_path)


def test_damaged_lists_of_sop_are_named(tmp_path):
    (tmp_path / "Ebay_train.txt").write_text("image_id class_id super_class_id path\n1 1 1\n")
    (tmp_path / "Ebay_test.txt").write_text("image_id class_id super_class_id path\n")
    with pytest.raises(UserError, match="Ebay_train.txt"):
        sets.load("sop", tmp_path)
