"""What YAML reads as something else than it says, or without end, is one sentence that names the file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weightspace.errors import InputError
from weightspace.reading import MOST_BYTES, read_yaml

LAUGHS = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))
MERGES = "\n".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 9))
UNREADABLE = {
    "open bracket": ("images: {digits", "not YAML"),
    "tab": ("images:\n\tdigits: {}", "not YAML"),
    "not text": (b"images: \xff\xfe", "not YAML"),
    "unknown tag": ("images: !python/object:os.system {}", "could not determine a constructor"),
    "a key twice": ("a: {b: 1, c: 2, b: 3}", "key 'b' is there twice, line 1"),
    "a key that is a list": ("? [a, b]\n: 1", "a key must be one word, line 1"),
    "a date that is none": ("a: !!timestamp 2026-13-45", "not YAML"),
    "an anchor in itself": ("a: &a [*a]", "an anchor lies in itself"),
    "a mapping in itself": ("a: &a {b: *a}", "an anchor lies in itself"),
    "a number of 5,000 digits": ("a: " + "9" * 5000, "not YAML"),
    "deep nesting": ("a: " + "[" * 5000 + "]" * 5000, "lists and keys lie too deep in each other"),
    "anchors that multiply": ("a0: &a0 [1, 2, 3]\n" + LAUGHS, "anchors make more than"),
    "merges that multiply": ("a0: &a0 {b: 1}\n" + MERGES, "anchors make more than"),
    "too many bytes": ("# " + "x" * MOST_BYTES, "it has 1,000,002 bytes"),
    "octal": ("a: 017", "'017' is no plain number, line 1"),
    "hexadecimal": ("a: 0x1F", "'0x1F' is no plain number"),
    "binary": ("a: 0b11", "'0b11' is no plain number"),
    "underscores": ("a: 1_000", "'1_000' is no plain number"),
    "base sixty": ("a: 1:30", "'1:30' is no plain number"),
    "a fraction in base sixty": ("a: 1:30.5", "'1:30.5' is no plain number"),
    "negative zero": ("a: -0", "'-0' is no plain number"),
    "negative zero with a point": ("a: [1.0, -0.0]", "'-0.0' is no plain number"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "told"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_does_not_read_is_one_sentence_with_its_file(tmp_path, text, told):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}: ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@given(st.one_of(st.integers(-(10**12), 10**12), st.floats(allow_nan=False, allow_infinity=False, min_value=1e-300)))
def test_plain_numbers_are_what_they_say(tmp_path_factory, number):
    path = tmp_path_factory.mktemp("yaml") / "mine.yaml"
    text = repr(number)
    path.write_text(f"a: {text if '.' in text or isinstance(number, int) else text.replace('e', '.0e')}")
    found = read_yaml(path)["a"]
    assert (found, type(found)) == (number, type(number))


def test_dates_and_other_bases_are_text_where_they_are_quoted_or_no_number(tmp_path):
    (tmp_path / "mine.yaml").write_text("{a: 2026-01-01, b: '017', c: 0o17}")
    assert read_yaml(tmp_path / "mine.yaml") == {"a": "2026-01-01", "b": "017", "c": "0o17"}
