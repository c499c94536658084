"""Pseudonyms: keyed hashes instead of the names of patients, scans and files."""

import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from pathlib import Path

from voxray.errors import ConfigError

LETTERS = 16  # 64 bits: among a million names two are alike with a chance of 1 in 30 million
SHORTEST_KEY_BYTES = 16
HIDDEN = "…"
SHORTEST_NUMBER = 5
_ENDING = r"\.(?:nii|gz|mhd|mha|raw|nrrd|dcm|dicom|ima|png|jpe?g|npz|csv|json)\b"
_QUOTED = re.compile(rf"""'[^']*(?:[/\\]|{_ENDING})[^']*'|"[^"]*(?:[/\\]|{_ENDING})[^"]*\"""", re.IGNORECASE)
_FILE = re.compile(rf"\S*[/\\]\S*|\S+{_ENDING}", re.IGNORECASE)


def pseudonym(key: bytes, kind: str, name: str) -> str:
    """HMAC-SHA256 (RFC 2104) of a name, shortened: the same name has the same pseudonym under one key only.

    Parameters
    ----------
    key : bytes
    kind : str
        ``patient`` or ``scan``, so that their pseudonyms are independent.
    name : str

    Returns
    -------
    str
        Sixteen hexadecimal digits.
    """
    return hmac.new(key, f"{kind}\0{name}".encode(), hashlib.sha256).hexdigest()[:LETTERS]


def key_digest(key: bytes) -> str:
    """A name for a key, which tells keys apart but not what they are: sixteen hexadecimal digits."""
    return pseudonym(key, "key", "")


def read_key(key_env: str | None, key_file: Path | None) -> bytes:
    """The key, from an environment variable or a file, without surrounding whitespace.

    Raises
    ------
    ConfigError
        The key is missing, or too short to be safe.
    """
    where = f"privacy.key_env = '{key_env}'" if key_file is None else f"privacy.key_file = '{key_file}'"
    try:
        key = os.environb.get((key_env or "").encode(), b"") if key_file is None else key_file.read_bytes()
    except OSError as error:
        raise ConfigError(where, f"cannot be read: {error.strerror}", "Write the key to this file") from None
    if len(key.strip()) < SHORTEST_KEY_BYTES:
        problem = f"expected a key of at least {SHORTEST_KEY_BYTES} bytes, got {len(key.strip())}"
        raise ConfigError(where, problem, "Create one with: openssl rand -hex 32")
    return key.strip()


def telling_words(names: Iterable[str | None]) -> frozenset[str]:
    """The words of names and paths that may identify a person: those with a letter, and numbers of five digits."""
    words = {word for name in names if name for word in re.findall(r"\w{2,}", name)}
    return frozenset(word for word in words if not word.isdecimal() or len(word) >= SHORTEST_NUMBER)


def without_names(text: str, words: frozenset[str]) -> str:
    """A message without these words, and without all that looks like a file name."""
    for pattern in (_QUOTED, _FILE):
        text = pattern.sub(HIDDEN, text)
    return re.sub(r"\w+", lambda match: HIDDEN if match[0] in words else match[0], text)
