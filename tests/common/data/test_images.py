"""Pictures of every kind come out as the same RGB."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile
from sklearn.datasets import load_sample_image

from common.data import images
from common.files.errors import UserError


@pytest.fixture
def scene():
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows * 6, columns * 4, np.full_like(rows, 90)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "png"), ("RGB", "jpg"), ("P", "png"), ("CMYK", "jpg"), ("RGB", "webp")]
)
def test_colour_modes_agree(tmp_path, scene, mode, suffix):
    path = tmp_path / f"x.{suffix}"
    picture = Image.fromarray(scene)
    (picture.quantize(256) if mode == "P" else picture.convert(mode)).save(
        path, **({"quality": 98} if suffix != "png" else {})
    )
    read = images.read(path)
    assert read.shape == scene.shape and read.dtype == np.uint8
    assert np.abs(read.astype(int) - scene).mean() < 6


def test_grey_16_bit_and_transparent(tmp_path, scene):
    grey = scene[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("grey.png", "deep.png"):
        np.testing.assert_array_equal(images.read(tmp_path / name), np.repeat(grey[..., None], 3, axis=-1))
    clear = np.dstack([scene, np.zeros(grey.shape, np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert np.all(images.read(tmp_path / "clear.png") == 255)  # nothing but the white it lies on


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("largest", [200, 255, 256, 30000, 65535])
def test_grey_of_16_bits_is_as_dark_as_it_is(tmp_path, scene, suffix, largest):
    """A picture whose largest value is below 256 was taken for one of 8 bits."""
    grey = np.linspace(0, largest, scene[..., 0].size).reshape(scene.shape[:2]).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / f"x.{suffix}")
    read = images.read(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(read[..., 0], np.round(grey / 257).astype(np.uint8))


@pytest.mark.parametrize(("largest", "white"), [
    (0.2, 1), (1.0, 1), (1.01, 255), (200.0, 255), (255.0, 255), (255.5, 65535), (65535.0, 65535), (1e6, 65535),
])  # fmt: skip
def test_floats_of_a_tiff(tmp_path, scene, largest, white):
    grey = np.linspace(-largest / 10, largest, scene[..., 0].size, dtype=np.float32).reshape(scene.shape[:2])
    Image.fromarray(grey).save(tmp_path / "x.tif")
    expected = np.round(grey.astype(float).clip(0, white) * (255 / white)).astype(np.uint8)
    np.testing.assert_array_equal(images.read(tmp_path / "x.tif")[..., 0], expected)


def test_whole_numbers_of_32_bits_are_taken_as_16(tmp_path):
    Image.fromarray(np.array([[0, 257, 25700, 65535, 10**6]], np.int32)).save(tmp_path / "x.tif")
    assert images.read(tmp_path / "x.tif")[0, :, 0].tolist() == [0, 1, 100, 255, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floats_that_are_not_finite_are_refused(tmp_path, value):
    Image.fromarray(np.array([[0.5, value]], np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(UserError, match="x.tif is not a picture that can be read: it holds numbers that are not"):
        images.read(tmp_path / "x.tif")


def test_exif_rotation_is_applied(tmp_path, scene):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned 90 degrees clockwise to be seen upright
    for suffix in ("jpg", "png"):
        Image.fromarray(scene).save(tmp_path / f"turned.{suffix}", exif=exif)
        read = images.read(tmp_path / f"turned.{suffix}").astype(int)
        assert np.abs(read - np.rot90(scene, -1)).mean() < 4


@pytest.mark.parametrize(("least", "share"), [
    (0, 1), (641, 1), (321, 1), (320, 2), (161, 2), (160, 4), (81, 4), (80, 8), (8, 8),
])  # fmt: skip
def test_a_large_jpeg_is_decoded_small_but_never_too_small(tmp_path, least, share):
    scene = load_sample_image("china.jpg")
    large = cv2.resize(scene, (960, 640), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(large).save(tmp_path / "large.jpg", quality=95, exif=exif)
    whole, read = images.read(tmp_path / "large.jpg"), images.read(tmp_path / "large.jpg", least)
    assert whole.shape == (960, 640, 3) and read.shape == (960 // share, 640 // share, 3)
    mean = images.resize(whole, (read.shape[1], read.shape[0]))  # averaged over areas
    assert np.abs(read.astype(int) - mean).mean() < 1.5


def test_other_formats_come_at_their_own_size(tmp_path, scene):
    for suffix, mode in (("png", "RGB"), ("webp", "RGB"), ("jpg", "CMYK")):
        Image.fromarray(scene).convert(mode).save(tmp_path / f"x.{suffix}")
        assert images.read(tmp_path / f"x.{suffix}", 10).shape == scene.shape


@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xd8\xff broken"])
def test_what_is_no_picture_is_named(tmp_path, content):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match="bad.jpg"):
        images.read(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_half_a_picture_is_refused_also_where_gluoncv_was_imported(tmp_path, scene, suffix, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as gluoncv leaves it
    path = tmp_path / f"half.{suffix}"
    Image.fromarray(scene).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(UserError, match="half"):
        images.read(path)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "WEBP", "BMP", "AVIF", "PPM", "JPEG"])
def test_damage_anywhere_is_one_line(scene, kind):
    """Bytes changed and ends cut off: a picture or a line that names it, whatever the decoder raises."""
    file, rng = io.BytesIO(), np.random.default_rng(0)
    Image.fromarray(scene[:16, :16]).save(file, kind)
    refused = 0
    for _ in range(150):
        data = bytearray(file.getvalue())
        data[rng.integers(0, min(len(data), 400))] = rng.integers(0, 256)
        data = bytes(data[: rng.integers(1, len(data))] if rng.random() < 0.2 else data)
        try:
            assert images.decode(data, "x").shape[2] == 3
        except UserError as error:
            assert str(error).startswith("x is not a picture") and "\n" not in str(error)
            refused += 1
    assert refused > 10


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="gone.png"):
        images.read(tmp_path / "gone.png")


def test_cut_stays_inside(scene):
    np.testing.assert_array_equal(images.cut(scene, (10, 5, 20, 8)), scene[5:13, 10:30])
    assert images.cut(scene, (100, 100, 5, 5)).shape == (1, 1, 3)
    assert images.cut(scene, (50, 30, 40, 40)).shape == (10, 10, 3)


def test_sizes_that_keep_the_shape(scene):
    assert images.short_size(scene, 20) == (30, 20) and images.short_size(scene.transpose(1, 0, 2), 7) == (7, 10)
    assert images.resize(scene, (10, 12)).shape == (12, 10, 3)
    flat = np.full((30, 30, 3), 77, np.uint8)
    assert np.all(images.resize(flat, (64, 64)) == 77)


def test_what_the_arguments_name(tmp_path):
    for name in ("b/2.png", "b/1.JPG", "a.webp", "b/notes.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'a.webp'}\n\n")
    found = images.find([str(tmp_path / "b"), str(tmp_path / "list.txt"), str(tmp_path / "a.webp")])
    assert [path.name for path in found] == ["1.JPG", "2.png", "a.webp", "a.webp"]
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'a.webp'}\n\nnone.png\n")
    with pytest.raises(UserError, match=r"list.txt, line 3: none.png: no such picture"):
        images.find([str(tmp_path / "list.txt")])
    odd = tmp_path / "a\u2028b\x0c.png"
    odd.write_bytes(b"")
    (tmp_path / "list.txt").write_text(f"\ufeff{odd}\r\n{odd}")
    assert images.find([str(tmp_path / "list.txt")]) == [odd, odd]
    for content in (b"\xff\xfe\x00", b"a\x00b"):
        (tmp_path / "list.txt").write_bytes(content)
        with pytest.raises(UserError, match="list.txt"):
            images.find([str(tmp_path / "list.txt")])
    with pytest.raises(UserError, match="none: no such picture or folder"):
        images.find([str(tmp_path / "none")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no picture in .*empty: looked for"):
        images.find([str(tmp_path / "empty")])
