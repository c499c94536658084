import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxray.config.data import PrivacySpec
from voxray.errors import ConfigError
from voxray.privacy import pseudonym, read_key, telling_words, without_names

KEY = b"0123456789abcdef0123456789abcdef"


def test_a_pseudonym_is_a_keyed_hash() -> None:
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in KEY.ljust(64, b"\0")) + b"patient\0Anna").digest()
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in KEY.ljust(64, b"\0")) + inner).hexdigest()  # RFC 2104
    assert pseudonym(KEY, "patient", "Anna") == outer[:16]
    assert hmac.compare_digest(pseudonym(KEY, "patient", "Anna"), pseudonym(KEY, "patient", "Anna"))


@given(st.text(max_size=20), st.text(max_size=20))
def test_pseudonyms_tell_names_kinds_and_keys_apart(first: str, second: str) -> None:
    ways = {pseudonym(key, kind, name) for key in (KEY, KEY[1:]) for kind in ("a", "b") for name in {first, second}}
    assert len(ways) == 4 * len({first, second})


def test_a_key_comes_from_a_variable_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY.decode())
    (tmp_path / "key").write_bytes(KEY + b"\n")
    assert read_key("SOME_KEY", None) == read_key(None, tmp_path / "key") == KEY


def test_a_key_that_is_absent_or_short_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"key_env = 'SOME_KEY': expected a key of at least 16 bytes, got 0"):
        read_key("SOME_KEY", None)
    with pytest.raises(ConfigError, match=r"key_file = .*No such file"):
        read_key(None, tmp_path / "none")
    monkeypatch.setenv("SOME_KEY", "secret")
    with pytest.raises(ConfigError) as caught:
        read_key("SOME_KEY", None)
    assert "secret" not in str(caught.value)


def test_two_keys_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="two keys"):
        PrivacySpec(key_env="A", key_file="b")
    assert not PrivacySpec().has_key


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Doe Ann/CT/IM 1.dcm: is cut off: it holds 3 of 5 bytes", "… … …: is cut off: it holds 3 of 5 bytes"),
        ("4711007 and Doe: misses 20 slices, 512x512", "… and …: misses 20 slices, 512x512"),
        ("cannot open '/data/Ann B./x y.nii.gz'. Fetch it", "cannot open …. Fetch it"),
        ("its files differ, got 3 in doe_t1.nii and 4 in doe_t2.nii", "its files differ, got 3 in … and 4 in …"),
        ("store.dtype 'int16' cannot hold its value 0.5", "store.dtype 'int16' cannot hold its value 0.5"),
    ],
)
def test_messages_keep_what_is_wrong_and_lose_whose_it_is(text: str, hidden: str) -> None:
    assert without_names(text, telling_words(["Doe Ann/4711007", None])) == hidden
