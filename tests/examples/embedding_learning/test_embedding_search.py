"""A catalogue with names and descriptions, kept in an index, searched on the command line and on a page."""

import io
import json
import shutil
import threading
import urllib.request

import numpy as np
import pytest
from PIL import Image

from common.files.errors import UserError
from common.metrics import rerank
from common.search import page
from examples.embedding_learning import gallery, search
from examples.embedding_learning.embed import SHIPPED


def arguments(*words):
    return search.parse_args([str(word) for word in words])


@pytest.fixture(scope="module")
def kept(groceries, tmp_path_factory):
    """The index of the catalogue, kept in a file."""
    file = tmp_path_factory.mktemp("kept") / "catalogue.faiss"
    search.open_index(arguments("--dataset", "grocery", "--data-path", groceries, "--index", file, "--serve"))
    return file


@pytest.fixture(scope="module")
def client(kept):
    return gallery.app(*search.open_index(arguments("--index", kept, "--serve"))).test_client()


def photograph(groceries, name="Lemon/Lemon/Lemon"):
    return groceries / "dataset" / "test" / f"{name}_001.jpg"


def send(client, path, **fields):
    form = {"picture": (io.BytesIO(path.read_bytes()), path.name), **fields}
    return client.post("/", data=form, content_type="multipart/form-data")


def test_an_index_keeps_names_and_descriptions(kept):
    metadata = json.loads(kept.with_name("catalogue.faiss.json").read_text())["about"]
    assert metadata["titles"][:3] == ["Royal Gala", "Pink Lady", "Lemon"]
    assert metadata["descriptions"][0] == "Royal Gala is a kind of apple, number 0."
    assert len(metadata["titles"]) == len(metadata["descriptions"]) == 10


def test_an_answer_is_ranked_by_neighbours(kept, groceries, capsys):
    query = photograph(groceries)
    search.main(arguments(query, "--index", kept, "-k", 10, "--rerank", "2,1,0.5"))
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.endswith("_Iconic.jpg")]
    index, embedder = search.open_index(arguments("--index", kept, query))
    scores, places = rerank.KReciprocal(index.vectors(), 2, 1, 0.5).search(embedder([query]), 10)
    assert [line[-1] for line in lines] == [index.names[place] for place in places[0]]
    assert [float(line[0]) for line in lines] == pytest.approx(scores[0], abs=6e-4)


def test_an_answer_is_that_of_expanded_queries_and_pictures(kept, groceries, capsys):
    query = photograph(groceries)
    index, embedder = search.open_index(arguments("--index", kept, query))
    pictures, asked = index.vectors(), embedder([query])

    def summed(row, among, own=None, k=2, alpha=3):
        cosines = among @ row
        near = [place for place in np.argsort(-cosines) if place != own][:k]
        total = row + sum(max(cosines[place], 0) ** alpha * among[place] for place in near)
        return total / np.linalg.norm(total)

    augmented = np.stack([summed(row, pictures, own) for own, row in enumerate(pictures)])
    for flag, among in (("--query-expansion", pictures), ("--augmented-database", augmented)):
        search.main(arguments(query, "--index", kept, "-k", 10, flag, "2,3"))
        lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.endswith("_Iconic.jpg")]
        cosines = among @ summed(asked[0], among)
        assert [line[-1] for line in lines] == [index.names[place] for place in np.argsort(-cosines)]
        assert [float(line[0]) for line in lines] == pytest.approx(sorted(cosines, reverse=True), abs=6e-4)


def test_a_query_is_answered_with_names_and_descriptions(kept, groceries, tmp_path, capsys):
    query, sheet = photograph(groceries), tmp_path / "s.png"
    search.main(arguments(query, "--index", kept, "-k", 2, "--sheet", sheet))
    first, found, told, *rest = capsys.readouterr().out.splitlines()
    assert first == str(query) and len(rest) == 3 and rest[-1] == f"wrote {sheet}"
    score, name, path = found.split()
    assert float(score) > 0.9 and name == "Lemon" and path.endswith("Lemon_Iconic.jpg")
    assert told.strip() == "Lemon is a kind of lemon, number 2."
    with Image.open(sheet) as drawn:
        assert drawn.width > 200


def test_the_page_shows_products_for_a_photograph(client, groceries):
    start = client.get("/").text
    assert "10 pictures in the gallery" in start and "trained on glyphs" in start and 'name="q"' not in start
    shown = send(client, photograph(groceries), k="12")
    assert shown.status_code == 200 and shown.text.count("<figure>") == 10
    assert "<strong>Lemon</strong><p>Lemon is a kind of lemon, number 2.</p>" in shown.text
    assert shown.text.index("<strong>Lemon</strong>") < shown.text.index("<strong>Leek</strong>")
    again = client.get("/?like=2").text  # a product's own picture finds itself
    assert again.index("<strong>") == again.index("<strong>Lemon</strong>") and ">1.000<" in again
    assert client.get("/picture/2").mimetype == "image/jpeg"


def test_a_folder_of_pictures_is_shown_by_its_files(groceries):
    train = groceries / "dataset" / "train"
    client = gallery.app(*search.open_index(arguments("--gallery", train / "Lemon", "--serve"))).test_client()
    shown = send(client, photograph(groceries)).text
    assert shown.count("<figure>") == 6 - 3 and ">Lemon/Lemon_001.jpg<" in shown and "<strong>" not in shown
    client = gallery.app(*search.open_index(arguments("--gallery", train, "--serve"))).test_client()
    assert ">Lemon/Lemon/Lemon_001.jpg<" in send(client, photograph(groceries)).text  # the way from the folder given


@pytest.mark.parametrize("data", [b"no picture", b""])
def test_a_file_that_is_no_picture_is_said_on_the_page(client, data, tmp_path):
    (tmp_path / "x.jpg").write_bytes(data)
    shown = send(client, tmp_path / "x.jpg")
    assert shown.status_code == 400 and "x.jpg is not a picture that can be read" in shown.text


def test_an_index_whose_pictures_are_gone_is_not_served(groceries, tmp_path, monkeypatch):
    shutil.copytree(groceries / "dataset" / "train" / "Leek", tmp_path / "leek")
    monkeypatch.chdir(tmp_path)
    search.open_index(arguments("--gallery", "leek", "--index", "i.faiss", "--serve"))
    gone = sorted((tmp_path / "leek").rglob("*.jpg"))
    gone[0].unlink()
    client = gallery.app(*search.open_index(arguments("--index", "i.faiss", "--serve"))).test_client()
    assert [client.get(f"/picture/{i}").status_code for i in range(len(gone))] == [404, 200, 200]
    (tmp_path / "leek").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"none of the 3 pictures of the index is there \(leek/.*start in the folder"):
        search.main(arguments("--index", "i.faiss", "--serve"))


@pytest.mark.parametrize(("key", "value"), [
    ("titles", ["one"]), ("titles", "Lemon"), ("descriptions", [1] * 10), ("descriptions", {}),
])  # fmt: skip
def test_an_index_that_says_other_things_is_refused(kept, tmp_path, key, value):
    file = tmp_path / "i.faiss"
    file.write_bytes(kept.read_bytes())
    sidecar = json.loads(kept.with_name("catalogue.faiss.json").read_text())
    sidecar["about"][key] = value
    (tmp_path / "i.faiss.json").write_text(json.dumps(sidecar))
    with pytest.raises(UserError, match=f"i.faiss: its {key} are not a text for each picture"):
        search.open_index(arguments("--index", file, "--serve"))


def test_catalogue_pictures_that_cannot_be_read_end_it_or_are_left_out(tmp_path, capsys):
    from tests.conftest import write_groceries

    write_groceries(tmp_path / "dataset")
    next(tmp_path.rglob("Lime_Iconic.jpg")).write_bytes(b"no picture")
    flags = ("--dataset", "grocery", "--data-path", tmp_path, "--serve")
    with pytest.raises(UserError, match="Lime_Iconic.jpg is not a picture"):
        search.open_index(arguments(*flags))
    index, _ = search.open_index(arguments(*flags, "--on-error", "skip"))
    assert index.metadata["titles"][2:4] == ["Lemon", "Kaiser"] and len(index) == 9
    assert "Lime_Iconic.jpg" in capsys.readouterr().out


def test_a_gallery_without_a_query_is_indexed_for_later(groceries, tmp_path, capsys):
    search.main(arguments("--gallery", groceries / "dataset" / "train", "--index", tmp_path / "g.faiss"))
    found = capsys.readouterr().out.split()
    index, _ = search.open_index(arguments("--index", tmp_path / "g.faiss", "--serve"))
    assert found == f"{len(index)} pictures are indexed in {tmp_path}/g.faiss".split() and len(index) > 9


def test_an_index_of_the_first_numbers(groceries, tmp_path, capsys):
    """As embed.py --width writes them; a query is cut as the index was."""
    file, lemons = tmp_path / "i.faiss", groceries / "dataset" / "train" / "Lemon"
    search.main(arguments(photograph(groceries), "--gallery", lemons, "--index", file, "--width", 16, "-k", 1))
    first = capsys.readouterr().out.splitlines()[-1].split()
    index, embedder = search.open_index(arguments("--index", file, "--serve"))
    query, *whole = gallery.Embedder(SHIPPED)([photograph(groceries), *index.names])
    cut = np.array(whole)[:, :16] / np.linalg.norm(np.array(whole)[:, :16], axis=1, keepdims=True)
    np.testing.assert_allclose(index.vectors(), cut, atol=1e-6)
    cosines = cut @ query[:16] / np.linalg.norm(query[:16])
    assert first == [f"{cosines.max():.3f}", index.names[cosines.argmax()]]
    assert embedder([photograph(groceries)]).shape == (1, 16)
    with pytest.raises(UserError, match="--width 32: .*i.faiss holds vectors of 16 numbers"):
        search.open_index(arguments("--index", file, "--serve", "--width", 32))
    sidecar = json.loads((tmp_path / "i.faiss.json").read_text())
    sidecar["about"]["width"] = 64
    (tmp_path / "i.faiss.json").write_text(json.dumps(sidecar))
    with pytest.raises(UserError, match="its width is not that of its vectors, 16"):
        search.open_index(arguments("--index", file, "--serve"))


@pytest.mark.parametrize(("flags", "text"), [
    ([], "say where to search"),
    (["--index", "x"], "say what to search for"),
    (["--gallery", "x"], "say what to search for"),
    (["q.png", "--gallery", "x", "--serve"], "say what to search for"),
    (["--gallery", "x", "--dataset", "grocery", "--serve"], "not allowed with"),
    (["--gallery", "x", "--data-path", "y", "--serve"], "--data-path is the folder of a --dataset"),
    (["--index", "x", "--serve", "--port", "70000"], "--port"),
])  # fmt: skip
def test_flags_that_do_not_go_together(flags, text, capsys):
    with pytest.raises(SystemExit) as ended:
        arguments(*flags)
    assert ended.value.code == 2 and text in capsys.readouterr().err


def test_serve_answers_until_it_is_ended(kept, monkeypatch, capsys):
    servers, listen = [], page.listen
    monkeypatch.setattr(page, "listen", lambda *a: servers.append(listen(*a)) or servers[-1])
    flags = arguments("--index", kept, "--serve", "--port", 0)
    thread = threading.Thread(target=search.main, args=(flags,), daemon=True)
    thread.start()
    while not servers and thread.is_alive():
        thread.join(0.01)
    address = f"http://127.0.0.1:{servers[0].server_port}/"
    assert b"Search by picture" in urllib.request.urlopen(address).read()
    servers[0].shutdown()
    thread.join(5)
    assert address in capsys.readouterr().out


def test_the_shipped_model_is_the_default():
    assert arguments("--gallery", "x", "--serve").params == SHIPPED
