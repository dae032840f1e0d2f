"""The digest of a file."""

from __future__ import annotations

import hashlib


def sha256(path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return checksum(path, "sha256")


def checksum(path, algorithm: str) -> str:
    """The digest of a file by `algorithm`, a name that `hashlib.new` knows, in hexadecimal digits.

    Parameters
    ----------
    path : path
    algorithm : str
    """
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()
