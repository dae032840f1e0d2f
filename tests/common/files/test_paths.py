"""Data lies under the repository, wherever a script is started from."""

import subprocess
import sys

from common.files import paths
from common.files.paths import REPO


def test_default_places_are_under_the_repository(monkeypatch):
    for unset in (None, ""):
        monkeypatch.delenv("EMBEDDING_DATA", raising=False)
        if unset is not None:
            monkeypatch.setenv("EMBEDDING_DATA", unset)
        assert paths.data_root() == REPO / "data"
        assert paths.data_dir("cub200") == REPO / "data" / "cub200"
        assert paths.weights_dir() == REPO / "data" / "weights"
    assert (REPO / "common" / "files" / "paths.py").is_file()


def test_the_environment_moves_them(monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path))
    assert paths.data_dir("emoji") == tmp_path / "emoji" and paths.weights_dir() == tmp_path / "weights"


def test_the_working_folder_does_not_matter(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(REPO)!r}); from common.files.paths import REPO; print(REPO)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == str(REPO)
