"""Make the emoji data set from npm packages: the same things drawn by four artists, each with five descriptions.

``images/SET/CODE.jpg`` (64 x 64 on white), ``classes.csv`` and ``captions.txt`` as `common.data.sets.emoji` reads them.
A code is the emoji's code points in hexadecimal, without the variation selector FE0F.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from common.files import outside
from common.files.errors import UserError, reading

SIDE = 64
MAX_BYTES = 1 << 26  # bytes of one file in a package
QUALITY = 92  # of the JPEGs
ALWAYS = {"1f402", "1f418"}  # ox and elephant: animals that AwA2 has too
ARTISTS = {  # set -> package, where its pictures lie
    "noto": ("emoji-datasource-google", "package/img/google/64/"),
    "twemoji": ("emoji-datasource-twitter", "package/img/twitter/64/"),
    "fluent": ("@lobehub/fluent-emoji-3d", "package/assets/"),
    "openmoji": ("openmoji", "package/color/svg/"),
}
WORDS = {  # package -> its file of words
    "emoji-datasource-google": "package/emoji.json",
    "emojibase-data": "package/en/data.json",
    "emojilib": "package/dist/emoji-en-US.json",
    "openmoji": "package/data/openmoji.json",
}
README = """\
Emoji drawn by four artists' sets: images/SET/CODE.jpg, 64x64, white background; a class is a code point sequence.
classes.csv: code, name, category, subcategory. captions.txt: five descriptions a class, in Flickr8k's token format
(0 name, 1-4 keywords from four sources).
Sources and licences: noto (emoji-datasource-google 16.0.0, Apache 2.0), twemoji (emoji-datasource-twitter 16.0.0,
CC-BY 4.0), fluent (@lobehub/fluent-emoji-3d 1.1.0, MIT), openmoji (openmoji 17.0.0, CC BY-SA 4.0); text from
emoji-datasource (MIT), emojilib 4.0.3 (MIT), emojibase-data 17.0.0 (MIT), openmoji. Resized and flattened.
"""


def make(packages: dict[str, Path], folder: Path) -> list[str]:
    """Write the data set into `folder`.

    Parameters
    ----------
    packages : dict
        The ``.tgz`` of each package named in `ARTISTS` and `WORDS`.
    folder : Path
        An existing folder.

    Returns
    -------
    list of str
        The artists drawn: without a cairo library OpenMoji's SVG cannot be, and it is left out.
    """
    draw_svg = svg_drawer()
    artists = [artist for artist in ARTISTS if draw_svg or artist != "openmoji"]
    words = {package: words_of(package, packages[package], file) for package, file in WORDS.items()}
    names = {artist: picture_names(packages[ARTISTS[artist][0]], ARTISTS[artist][1]) for artist in ARTISTS}
    classes = chosen(words["emoji-datasource-google"], names)
    labels = {plain(row["hexcode"]): row for row in words["emojibase-data"]}
    for artist in artists:
        target = folder / "images" / artist
        target.mkdir(parents=True)
        wanted = {names[artist][code]: code for code in classes}
        pictures = members(packages[ARTISTS[artist][0]], set(wanted))
        for name, code in tqdm(wanted.items(), desc=artist, disable=None):
            content = draw_svg(pictures[name]) if name.endswith(".svg") else pictures[name]
            on_white(content).save(target / f"{code}.jpg", quality=QUALITY)
    (folder / "README.txt").write_text(README, encoding="utf-8")
    with open(folder / "captions.txt", "w", encoding="utf-8") as file:
        for code, texts in descriptions(words, labels, classes).items():
            file.writelines(f"{code}.jpg#{i}\t{text}\n" for i, text in enumerate(texts))
    with open(folder / "classes.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["code", "name", "category", "subcategory"])
        rows.writerows(
            [code, labels[code]["label"], row["category"], row["subcategory"]] for code, row in classes.items()
        )
    return artists


def chosen(rows: list[dict], names: dict[str, dict[str, str]]) -> dict[str, dict]:
    """The classes: what all four artists drew, flags aside, and of these three in four.

    Parameters
    ----------
    rows : list of dict
        Of ``emoji-datasource-google``'s file of words.
    names : dict of artist to dict
        As `picture_names` gives them.

    Returns
    -------
    dict of str to dict
        The row of each code.
    """
    drawn = [
        (plain(row["unified"]), row)
        for row in rows
        if row["category"] != "Flags" and all(plain(row["unified"]) in artist for artist in names.values())
    ]
    return {code: row for i, (code, row) in enumerate(drawn) if i % 4 != 3 or code in ALWAYS}


def descriptions(words: dict, labels: dict[str, dict], classes: dict[str, dict]) -> dict[str, list[str]]:
    """Five texts of each code: the name, then keywords from four sources.

    Parameters
    ----------
    words : dict of package to its words
        As `words_of` gives them.
    labels : dict of code to row of ``emojibase-data``
    classes : dict of code to row
        As `chosen` gives them.

    Returns
    -------
    dict of code to list of five str
    """
    emojilib = {"-".join(f"{ord(c):04x}" for c in emoji): text for emoji, text in words["emojilib"].items()}
    emojilib = {plain(code): text for code, text in emojilib.items()}
    openmoji = {plain(row["hexcode"]): row["tags"] for row in words["openmoji"]}
    return {
        code: [
            spoken(name := labels[code]["label"]),
            spoken(*labels[code].get("tags", [])),
            spoken(*emojilib.get(code, [])),
            spoken(name, openmoji[code]),
            spoken(*row["short_names"], row["subcategory"]),
        ]
        for code, row in classes.items()
    }


def plain(code: str) -> str:
    """``"0023-FE0F-20E3"`` -> ``"0023-20e3"``: the packages do not agree on the variation selector."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def spoken(*texts: str) -> str:
    """The texts in lower case, without marks that no one says."""
    return " ".join(re.sub("[-_:,“”]", " ", " ".join(texts).lower()).split())


def picture_names(package: Path, folder: str) -> dict[str, str]:
    """The pictures of an archive by their code; the first where two have one.

    Parameters
    ----------
    package : Path
    folder : str
        Where they lie in the archive.

    Returns
    -------
    dict of code to name of a member
    """
    with reading(package, "get the npm package again"), open_package(package) as archive:
        inside = [name for name in archive.getnames() if name.startswith(folder)]
    return {plain(Path(name).stem): name for name in reversed(inside)}


def members(package: Path, names: set[str]) -> dict[str, bytes]:
    """Contents of some members of an archive; nothing is unpacked to disk.

    Parameters
    ----------
    package : Path
    names : set of str

    Returns
    -------
    dict of name to bytes

    Raises
    ------
    UserError
        The archive is damaged, or has not one of them.
    """
    with reading(package, "get the npm package again"), open_package(package) as archive:
        plain = (member for member in archive if member.isfile() and member.size <= MAX_BYTES)
        found = {member.name: archive.extractfile(member).read() for member in plain if member.name in names}
    if len(found) < len(names):
        raise UserError(f"{package.name} holds no {sorted(names - set(found))[0]}: the package is another version")
    return found


def words_of(name: str, package: Path, file: str):
    """The content of a package's JSON file of words.

    Parameters
    ----------
    name : str
        Of the package.
    package : Path
        Its archive.
    file : str
        The file in it.

    Returns
    -------
    list of dict
        emojilib's is a dict of emoji to words.

    Raises
    ------
    UserError
        The archive or the file is damaged, or of another version.
    """
    with reading(package, f"{file} of the version named in common/files/sources.py is wanted"):
        return outside.parse_json(members(package, {file})[file], dict if name == "emojilib" else list)


def open_package(package: Path) -> tarfile.TarFile:
    """The package's archive.

    Raises
    ------
    UserError
        It is none.
    """
    try:
        return tarfile.open(package)
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{package} is no npm package: {error}; get it again") from error


def svg_drawer() -> Callable[[bytes], bytes] | None:
    """A function from SVG to PNG, or None where the machine has no cairo library."""
    try:
        import cairosvg
    except (ImportError, OSError):
        return None
    return lambda svg: cairosvg.svg2png(bytestring=svg, output_width=SIDE, output_height=SIDE)


def on_white(content: bytes) -> Image.Image:
    """The picture at 64 x 64, flattened on white."""
    picture = Image.open(io.BytesIO(content)).convert("RGBA")
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return white.convert("RGB")
