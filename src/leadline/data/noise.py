"""Texts as people mistype them: character noise at a stated rate, the same for the same seed and row.

A kind of noise has *places* in a text (letters, words); each place is struck on its own with probability `rate`, so the
rate is the expected share of the places that are touched, and a struck place always changes. Which places those are
says `NOISES`. What is struck at a low rate is struck at every higher one, so rates can be compared.

Characters are what a reader takes for one (grapheme clusters): an accent never parts from its letter. Words are what
stands between white space; a script without it has one word a text. An empty text stays empty, none becomes empty.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import regex

from leadline.errors import InputError, all_at_once, nearest

ROWS = {"qwertyuiop": 0.0, "asdfghjkl": 0.25, "zxcvbnm": 0.75}  # of the keyboard, each with its shift to the right
MARKS = ".,;:!?"
FGSM = "fgsm"  # needs the model's gradient: learn/perturb.py; named here so that all kinds are asked for alike

Pieces = Sequence[str]
Strike = Callable[[Pieces, int, float], str]  # what stands at a place instead, from a number in [0, 1)


@dataclass(frozen=True)
class Noise:
    """`cut` parts a text into pieces that make it up again; `struck(pieces, i, u)` is piece i changed by the draw u."""

    unit: str  # character | word
    rate: float  # the default
    says: str
    cut: Callable[[str], Pieces]
    places: Callable[[Pieces], list[int]]
    struck: Strike


def noisy(text: str, kind: str, rate: float, rng: np.random.Generator) -> str:
    """The text with noise of one kind (a name of NOISES); rate in [0, 1], the expected share of the places struck."""
    noise = NOISES[kind]
    pieces = list(noise.cut(text))
    places = noise.places(pieces)
    draws = rng.random((len(places), 2))  # all of them, so that no draw depends on the rate
    changed = list(pieces)
    for place, (strikes, how) in zip(places, draws, strict=True):
        if strikes < rate:
            changed[place] = noise.struck(pieces, place, how)
    return "".join(changed)


def noisy_column(
    texts: Sequence[str], ids: Sequence[str], kind: str, rate: float, seed: int = 0, column: str = "text"
) -> list[str]:
    """Each text with noise that depends on its id, the seed and the column alone, never on the other rows.

    Raises InputError for a kind that does not exist and a rate outside [0, 1].
    """
    stresses({kind: [rate]})
    if kind == FGSM:
        raise InputError(f"{FGSM} is no noise of characters: it needs the model (`leadline evaluate RUN --robustness`)")
    return [noisy(text, kind, rate, _rng(seed, kind, column, name)) for text, name in zip(texts, ids, strict=True)]


Asked = Mapping[str, float | Sequence[float] | None] | Sequence[str]


def stresses(asked: Asked) -> list[tuple[str, float]]:
    """[(kind, rate)] of what is asked: names, `name=rate`, or {name: rate or rates}; of nothing, all at their defaults.

    `fgsm` has an epsilon instead of a rate. What is asked twice is done once. Raises InputError that tells all that is
    wrong.
    """
    defaults = {**{name: noise.rate for name, noise in NOISES.items()}, FGSM: 0.1}
    problems, found = [], []
    for kind, value in _each(asked):
        if kind not in defaults:
            problems.append(f"there is no `{kind}`.{nearest(kind, defaults)} Known: {', '.join(defaults)}")
            continue
        rate = defaults[kind] if value is None else _number(value)
        found.append((kind, rate))
        if kind == FGSM and not 0 <= rate < np.inf:
            problems.append(f"`{FGSM}={value}`: its epsilon is a number from 0 on")
        elif kind != FGSM and not 0 <= rate <= 1:
            problems.append(f"`{kind}={value}`: the rate is a share of the {NOISES[kind].unit}s, from 0 to 1")
    if problems:
        raise all_at_once("robustness", problems)
    return list(dict.fromkeys(found)) or list(defaults.items())


def _each(asked: Asked) -> list[tuple[str, float | None]]:
    if not isinstance(asked, Mapping):
        return [_parted(word) for word in asked]
    found: list[tuple[str, float | None]] = []
    for kind, rate in asked.items():
        found += [(kind, one) for one in rate] if isinstance(rate, Sequence) else [(kind, rate)]
    return found


def _parted(word: str) -> tuple[str, float | None]:
    kind, equals, value = word.partition("=")
    return kind.strip(), (_number(value) if equals else None)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def _rng(seed: int, kind: str, column: str, name: str) -> np.random.Generator:
    content = "\0".join([str(seed), kind, column, name]).encode("utf-8", "surrogatepass")
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(content, digest_size=16).digest()))


# --- characters -------------------------------------------------------------------------------------------------------


def _characters(text: str) -> list[str]:
    return list(regex.findall(r"\X", text))


def _near_keys() -> dict[str, str]:
    """Letter -> the letters whose keys touch its own."""
    at = {letter: (shift + i, y) for y, (row, shift) in enumerate(ROWS.items()) for i, letter in enumerate(row)}

    def touch(a: str, b: str) -> bool:
        return a != b and abs(at[a][0] - at[b][0]) <= 1 and abs(at[a][1] - at[b][1]) <= 1

    return {a: "".join(b for b in at if touch(a, b)) for a in at}


NEAR = _near_keys()


def _pick(choices: str, u: float) -> str:
    return choices[int(u * len(choices))]


def _near(character: str, u: float) -> str:
    """A neighbouring key, in the same case; a character that has no key is typed twice."""
    if character.lower() not in NEAR:
        return character
    other = _pick(NEAR[character.lower()], u)
    return other.upper() if character.isupper() else other


def _with_keys(pieces: Pieces) -> list[int]:
    return [i for i, piece in enumerate(pieces) if piece.lower() in NEAR]


def _inside_words(pieces: Pieces) -> list[int]:
    """All characters of words but their first: a word is never lost."""
    return [i for i in range(1, len(pieces)) if not pieces[i].isspace() and not pieces[i - 1].isspace()]


def _of_words(pieces: Pieces) -> list[int]:
    return [i for i, piece in enumerate(pieces) if not piece.isspace()]


def _is_mark(piece: str) -> bool:
    return unicodedata.category(piece[0]).startswith("P")


def _marks(pieces: Pieces) -> list[int]:
    """None where nothing else would be left."""
    left = any(not piece.isspace() and not _is_mark(piece) for piece in pieces)
    return [i for i, piece in enumerate(pieces) if _is_mark(piece)] if left else []


# --- words: each piece is a word with the white space after it --------------------------------------------------------


def _words(text: str) -> list[str]:
    return re.findall(r"^\s+|\S+\s*", text)


def _word(piece: str) -> str:
    return piece.rstrip()


def _gap(piece: str) -> str:
    return piece[len(piece.rstrip()) :]


def _swappable(pieces: Pieces) -> list[int]:
    return [i for i, piece in enumerate(pieces) if _pairs(_characters(_word(piece)))]


def _pairs(characters: Pieces) -> list[int]:
    return [i for i in range(len(characters) - 1) if characters[i] != characters[i + 1]]


def _swapped(pieces: Pieces, i: int, u: float) -> str:
    characters = _characters(_word(pieces[i]))
    pairs = _pairs(characters)
    k = pairs[int(u * len(pairs))]
    characters[k], characters[k + 1] = characters[k + 1], characters[k]
    return "".join(characters) + _gap(pieces[i])


def _recased(piece: str) -> str:
    """In capitals; a word that is in capitals already, in small letters."""
    return piece.upper() if piece.upper() != piece else piece.lower()


def _with_case(pieces: Pieces) -> list[int]:
    return [i for i, piece in enumerate(pieces) if _recased(piece) != piece]


def _without_mark(pieces: Pieces) -> list[int]:
    """Words that do not end in punctuation."""
    return [i for i, piece in enumerate(pieces) if not piece.isspace() and not _is_mark(_word(piece)[-1])]


def _marked(pieces: Pieces, i: int, u: float) -> str:
    return _word(pieces[i]) + _pick(MARKS, u) + _gap(pieces[i])


def _spaceable(pieces: Pieces) -> list[int]:
    """Words that can be split, or joined to the next."""
    return [
        i for i, piece in enumerate(pieces)
        if not piece.isspace() and (len(_characters(_word(piece))) > 1 or _joinable(pieces, i))
    ]  # fmt: skip


def _joinable(pieces: Pieces, i: int) -> bool:
    return i + 1 < len(pieces) and bool(_gap(pieces[i]))


def _respaced(pieces: Pieces, i: int, u: float) -> str:
    """Joined to the next word or split at a random place, evenly where both can be."""
    characters = _characters(_word(pieces[i]))
    if _joinable(pieces, i):
        if u < 0.5 or len(characters) < 2:
            return _word(pieces[i])
        u = 2 * u - 1
    k = 1 + int(u * (len(characters) - 1))
    return "".join(characters[:k]) + " " + "".join(characters[k:]) + _gap(pieces[i])


NOISES: dict[str, Noise] = {
    "typos": Noise(
        "character", 0.05, "letters become a neighbouring key (of the letters on a QWERTY keyboard, case kept)",
        _characters, _with_keys, lambda pieces, i, u: _near(pieces[i], u),
    ),
    "swaps": Noise(
        "word", 0.1, "two neighbouring characters change places (of the words that have two that differ)",
        _words, _swappable, _swapped,
    ),
    "deletions": Noise(
        "character", 0.05, "characters are left out (of those in words, first characters apart)",
        _characters, _inside_words, lambda pieces, i, u: "",
    ),
    "insertions": Noise(
        "character", 0.05, "a neighbouring key is typed as well, or a character twice (of those in words)",
        _characters, _of_words, lambda pieces, i, u: pieces[i] + _near(pieces[i], u),
    ),
    "casing": Noise(
        "word", 1.0, "words in capitals, those in capitals small (of the words that have a case)",
        _words, _with_case, lambda pieces, i, u: _recased(pieces[i]),
    ),
    "punctuation-removed": Noise(
        "character", 1.0, "punctuation is left out (of the punctuation of a text that has more than that)",
        _characters, _marks, lambda pieces, i, u: "",
    ),
    "punctuation-added": Noise(
        "word", 0.1, "a mark of . , ; : ! ? follows (of the words that end in no punctuation)",
        _words, _without_mark, _marked,
    ),
    "whitespace": Noise(
        "word", 0.1, "a word is split in two or joined to the next (of the words where one of them can be)",
        _words, _spaceable, _respaced,
    ),
}  # fmt: skip
