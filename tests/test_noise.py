"""Character noise: rates that mean what they say, seeds that repeat, texts that stay texts."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.data.noise import FGSM, NEAR, NOISES, noisy, noisy_column, stresses
from leadline.errors import InputError

SENTENCE = "The quick brown Fox, aged 7, doesn't jump over THE lazy dog... naïve café!"
LONG = " ".join([SENTENCE] * 100)


def dice(seed=0):
    return np.random.default_rng(seed)


def struck(text, kind, rate, seed=0):
    """(places struck, places) as the definition of the kind counts them."""
    noise = NOISES[kind]
    pieces = list(noise.cut(text))
    places = noise.places(pieces)
    draws = dice(seed).random((len(places), 2))[:, 0]
    return int((draws < rate).sum()), len(places)


@pytest.mark.parametrize("kind", NOISES)
def test_a_rate_is_the_share_of_places_struck_and_what_is_struck_changes(kind):
    noise = NOISES[kind]
    pieces = list(noise.cut(LONG))
    assert "".join(pieces) == LONG and pieces
    for place in noise.places(pieces):
        for u in (0.0, 0.3, 0.7, 0.999999):
            assert noise.struck(pieces, place, u) != pieces[place]
    n = len(noise.places(pieces))
    hit, of = struck(LONG, kind, 0.3)
    assert of == n > 100 and abs(hit / n - 0.3) < 4 * (0.3 * 0.7 / n) ** 0.5  # four standard errors, of a fixed seed
    assert noisy(LONG, kind, 0, dice()) == LONG
    assert noisy(LONG, kind, 1, dice()) == "".join(
        noise.struck(pieces, i, u[1]) if i in where else piece
        for where in [dict(zip(noise.places(pieces), dice().random((n, 2)), strict=True))]
        for i, piece in enumerate(pieces)
        for u in [where.get(i)]
    )


def test_each_kind_by_hand():
    everywhere = {kind: noisy("Ah, OK fooo", kind, 1, dice()) for kind in NOISES}
    assert everywhere["deletions"] == "A O f"
    assert everywhere["punctuation-removed"] == "Ah OK fooo"
    assert everywhere["casing"] == "AH, ok FOOO"
    assert everywhere["swaps"].split()[1] == "KO" and everywhere["swaps"].split()[2] == "ofoo"
    assert sorted(everywhere["swaps"].split()[0]) == sorted("Ah,")
    typed = everywhere["typos"]
    assert len(typed) == 11 and typed[2:4] == ", " and typed[6] == " " and typed[0].isupper() and typed[1].islower()
    letters = typed.replace(", ", "").replace(" ", "")
    assert all(b.lower() in NEAR[a.lower()] for a, b in zip("AhOKfooo", letters, strict=True))
    twice = everywhere["insertions"]
    assert twice[::2].startswith("Ah") and len(twice) == 11 + 9  # nine characters that are no white space
    added = everywhere["punctuation-added"].split()
    assert added[0] == "Ah," and [word[:-1] for word in added[1:]] == ["OK", "fooo"]
    assert everywhere["whitespace"].replace(" ", "") == "Ah,OKfooo" and everywhere["whitespace"] != "Ah, OK fooo"


def test_keys_touch_both_ways():
    assert set(NEAR["s"]) == set("awedxz") and set(NEAR["q"]) == set("wa") and len(NEAR) == 26
    assert all(a in NEAR[b] for a in NEAR for b in NEAR[a])


@pytest.mark.parametrize("kind", NOISES)
@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=60), rate=st.floats(0, 1), seed=st.integers(0, 99))
def test_any_text_stays_one(kind, text, rate, seed):
    """Nothing is emptied, nothing breaks, and no accent is left alone where it had a letter."""
    got = noisy(text, kind, rate, dice(seed))
    assert bool(got.strip()) == bool(text.strip()) and (got == text or text.strip())
    assert noisy(text, kind, rate, dice(seed)) == got
    if kind in ("deletions", "punctuation-removed", "typos"):
        assert len(regex.findall(r"\X", got)) <= len(regex.findall(r"\X", text))


def test_accents_stay_with_their_letters():
    text = unicodedata.normalize("NFD", "Ọjọ́ náà dára gan ni") + " 👩‍👩‍👧 नमस्ते"
    whole = set(regex.findall(r"\X", text))
    for kind in ("deletions", "swaps", "whitespace", "punctuation-removed"):
        for seed in range(20):
            assert set(regex.findall(r"\X", noisy(text, kind, 0.5, dice(seed)))) <= whole | {" "}, kind
    assert noisy("नमस्ते", "typos", 1, dice()) == "नमस्ते"  # no key of ours
    assert noisy("...!", "punctuation-removed", 1, dice()) == "...!"  # nothing else would be left


@pytest.mark.parametrize("kind", NOISES)
def test_a_low_rate_strikes_part_of_what_a_high_one_strikes(kind):
    noise = NOISES[kind]
    pieces = list(noise.cut(SENTENCE))
    low, high = noisy(SENTENCE, kind, 0.2, dice(3)), noisy(SENTENCE, kind, 0.6, dice(3))
    draws = dict(zip(noise.places(pieces), dice(3).random((len(noise.places(pieces)), 2)), strict=True))
    for rate, got in ((0.2, low), (0.6, high)):
        want = [noise.struck(pieces, i, draws[i][1]) if i in draws and draws[i][0] < rate else p
                for i, p in enumerate(pieces)]  # fmt: skip
        assert got == "".join(want)


def test_a_row_depends_on_its_id_the_seed_and_the_column_alone():
    texts, ids = [SENTENCE] * 4, ["a", "b", "1", "z"]
    whole = noisy_column(texts, ids, "typos", 0.2)
    assert len(set(whole)) == 4 and noisy_column(texts[2:], ids[2:], "typos", 0.2) == whole[2:]
    assert noisy_column(texts, ids, "typos", 0.2) == whole
    assert noisy_column(texts, ids, "typos", 0.2, seed=1) != whole
    assert noisy_column(texts, ids, "typos", 0.2, column="premise") != whole
    assert noisy_column(["", " "], ["a", "b"], "typos", 1) == ["", " "]


def test_what_is_asked_for():
    everything = dict(stresses([]))
    assert list(everything) == [*NOISES, FGSM] and everything["typos"] == 0.05 and everything[FGSM] == 0.1
    assert stresses(["typos=0.2", "casing"]) == [("typos", 0.2), ("casing", 1.0)]
    assert stresses({"fgsm": None, "swaps": 0}) == [("fgsm", 0.1), ("swaps", 0.0)]
    assert stresses(["typos=0.05", "typos=0.2", "typos=0.2"]) == [("typos", 0.05), ("typos", 0.2)]
    assert stresses({"typos": [0.05, 0.2]}) == [("typos", 0.05), ("typos", 0.2)]
    with pytest.raises(InputError) as told:
        stresses(["typoss", "swaps=2", "fgsm=-1", "casing=much"])
    said = str(told.value)
    assert "Did you mean `typos`" in said and "`swaps=2.0`" in said and "fgsm=-1" in said and "casing=" in said
    with pytest.raises(InputError, match="needs the model"):
        noisy_column(["x"], ["a"], FGSM, 0.1)
