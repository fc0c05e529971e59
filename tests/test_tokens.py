"""Tokenised data: the same rows from flat arrays, from the cache, and from the tokenizer."""

from __future__ import annotations

import os

import numpy as np
import polars as pl
import pytest

from leadline.data.examples import Examples
from leadline.learn import tokens
from leadline.learn.tasks.classification import Classification, TextEncoder
from tiny_models import wordpiece


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "leadline" / "tokens"


def examples(*texts: str) -> Examples:
    return Examples(pl.DataFrame({"_id": [str(i) for i in range(len(texts))], "text": list(texts)}), inputs=("text",))


class Counting(Classification):
    """Counts how often it tokenises."""

    times = 0

    def encode(self, rows):
        Counting.times += 1
        return super().encode(rows)


def task(max_length: int = 16) -> Counting:
    Counting.times = 0
    return Counting(TextEncoder(wordpiece(), ["text"], max_length))


def same(rows, others) -> bool:
    return len(rows) == len(others) and all(
        list(a[0]) == list(b[0]) and all(np.array_equal(a[0][name], b[0][name]) for name in a[0])
        for a, b in zip(rows, others, strict=True)
    )


TEXTS = ("the river is wet", "", "sand", "a much longer text about the weather of today in the north of the country")


def test_the_cache_gives_what_the_tokenizer_gives(cache):
    made = task()
    plain = Classification(made.encoder).encode([{"text": text} for text in TEXTS])
    first = tokens.kept_tokens(made, examples(*TEXTS))
    second = tokens.kept_tokens(made, examples(*TEXTS))
    assert same(first, plain) and same(second, plain) and Counting.times == 1
    assert len(list(cache.iterdir())) == 1 and second[-1][0]["input_ids"].tolist() == plain[-1][0]["input_ids"].tolist()
    assert same(second[1:3], plain[1:3])
    with pytest.raises(IndexError):
        second[4]


def test_whatever_changes_the_tokens_changes_the_name(cache):
    tokens.kept_tokens(task(), examples(*TEXTS))
    other = task(max_length=8)
    assert len(tokens.kept_tokens(other, examples(*TEXTS))[3][0]["input_ids"]) == 8
    tokens.kept_tokens(task(), examples(*TEXTS[::-1]))
    bigger = wordpiece()
    bigger.add_tokens(["river"])
    tokens.kept_tokens(Classification(TextEncoder(bigger, ["text"], 16)), examples(*TEXTS))
    assert len(list(cache.iterdir())) == 4


def test_texts_that_join_to_the_same_are_told_apart(cache):
    tokens.kept_tokens(task(), examples("ab", "c"))
    tokens.kept_tokens(task(), examples("a", "bc"))
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("harm", ["truncated", "empty", "other"])
def test_a_damaged_file_is_made_again(cache, harm):
    made = task()
    first = [[{n: a.copy() for n, a in row[0].items()}] for row in tokens.kept_tokens(made, examples(*TEXTS))]
    (file,) = cache.iterdir()
    content = {"truncated": file.read_bytes()[:-50], "empty": b"", "other": b"not arrow at all"}[harm]
    file.unlink()  # a new file: the old one may still be mapped
    file.write_bytes(content)
    assert same(tokens.kept_tokens(made, examples(*TEXTS)), first) and Counting.times == 2


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(tokens.kept_tokens(task(), examples(*TEXTS))) == len(TEXTS)


def test_the_oldest_go_when_there_is_no_room(cache, monkeypatch):
    tokens.kept_tokens(task(), examples("first"))
    (old,) = cache.iterdir()
    os.utime(old, (1, 1))
    tokens.kept_tokens(task(), examples("second"))
    monkeypatch.setattr(tokens, "LIMIT", 2 * old.stat().st_size + 100)
    tokens.kept_tokens(task(), examples("third"))
    assert not old.exists() and len(list(cache.iterdir())) == 2


def test_a_task_without_a_known_encoder_is_not_kept(cache):
    class Own:
        def encode(self, rows):
            return [[{"pixels": np.zeros(3)}] for _ in rows]

    assert len(tokens.kept_tokens(Own(), examples(*TEXTS))) == 4 and not cache.exists()


def test_no_rows(cache):
    assert len(tokens.kept_tokens(task(), examples().__class__(examples("a").table.head(0), inputs=("text",)))) == 0
