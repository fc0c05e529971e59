"""The built-in example: messages to a shop, made by a seeded grammar, with wrong labels whose places are known.

Four labels: account, delivery, praise, refund. Most texts are clear; some speak of two things at once, so that
either label can be defended; some clear texts carry a wrong label. The truth is written beside the data, so the
demo can say how many of the wrong labels were found.
"""

from __future__ import annotations

import csv
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from leadline.runs import Run

LABELS = ("account", "delivery", "praise", "refund")
AMBIGUOUS, WRONG = 0.17, 0.08  # shares of the training texts; the rest is clear
WORDS = range(5, 26)  # words of a text

# What a message says of its subject: one template, {slots} filled from SLOTS until none is left.
# The last lines of each subject speak of another one in passing, so that no single word decides the label.
# fmt: off
TEMPLATES = {
    "account": (
        "I cannot {sign in}, {login trouble}.", "{login trouble}, so I cannot {sign in}.",
        "how do I change the {detail} {stored}?", "I want to change the {detail} {stored}.",
        "please delete my {account} and {all} you keep about me.", "could you merge my two accounts into one?",
        "I forgot my {secret} and {reset trouble}.", "{reset trouble}, and without it I cannot {sign in}.",
        "the app {forgets} {often}, even after {an update}.", "why does the {account} page {break} {often}?",
        "{someone} uses my e-mail address to {sign in}, please lock the {account}.",
        "your website says that my {detail} is {invalid}, which it is not.",
        "nothing is wrong with my {item}, I only want the {detail} {stored} corrected.",
        "the {item} is on its way, thanks, but I still cannot {sign in}.",
        "I can order a {item} as a guest, yet {login trouble} when I {sign in}.",
    ),
    "delivery": (
        "where is my {thing}?", "where is the {thing} that I ordered {past}?",
        "{tracking} {stuck}.", "{tracking} {stuck}, and the {item} was due {past}.",
        "I have been waiting for my {thing} {since}.", "my {thing} was due {past} and is still not here.",
        "the {courier} {misses} and {leaves}.", "the {courier} left my {thing} {wrong place}.",
        "when will the {thing} {arrive}?", "can the {thing} {arrive} before {future}?",
        "please send the {thing} {right place} instead.", "is there any news of parcel {number}?",
        "your e-mail says that the {item} {arrived}, but it {did not}.",
        "only half of my order {came}, the {thing} is missing.",
        "I do not want my money back, I want to know when the {thing} will {arrive}.",
        "I am sure that the {item} is {good}, but it has been on the road {since}.",
        "the order stands in my account as sent, but no {thing} has {come}.",
    ),
    "praise": (
        "the {thing} is {very} {good}.", "I {love} {my new} {thing}.", "my {relative} {loves} the {thing}.",
        "{thanks} for the {thing}, it is {very} {good}.", "this is {best} {item} I have ever {owned}.",
        "the {item} looks {very} {good} {in place}.", "I use the {thing} {often} and it {works}.",
        "{friendly} {staff}, {thanks}!", "what a {good} {item}, I would buy it again.",
        "{thanks}, your {staff} helped me choose the right {item}.", "five stars for the {thing}, it {works}.",
        "the {thing} {works}, and it costs less than {elsewhere}.",
        "I meant to send the {item} back, but now I {love} it.",
        "the {thing} was worth the wait, it is {very} {good}.",
        "I have no questions and no complaints, the {item} {works}.",
    ),
    "refund": (
        "please {pay back} the {amount} for the {thing}.", "the {thing} {broken}, I want my money back.",
        "I sent the {thing} back {past} and still have no money.", "how do I return a {thing} that {broken}?",
        "the {thing} {misfits}, so I would like to return it.", "when will you {pay back} the {amount}?",
        "you charged me {twice} for the {thing}, please {pay back} the {amount}.",
        "I cancelled the {item} {past}, but you took the {amount} anyway.",
        "the {item} {misfits} and I want to exchange it for {another}.",
        "I was promised a refund {past} and got {nothing}.",
        "who pays the postage when I return the {thing}?", "where do I get a return label for the {thing}?",
        "the {thing} came on the right day, but it {broken}, so I am sending it back.",
        "it may be {good} for others, yet the {item} {misfits} and must go back.",
        "your {staff} {tries}, but I want the {amount} back for this {item}.",
    ),
}

# A word on another subject that asks for nothing: a clear text stays clear with it.
ASIDES = {
    "account": (
        "I can {sign in} again.", "my {account} is in order again.", "the new {secret} works.",
        "I found my {secret} again.",
    ),
    "delivery": (
        "the parcel was {early}.", "the {courier} was {early}.", "the box was at my door {past}.",
        "everything from my order has {come}.",
    ),
    "praise": (
        "I usually {love} your shop.", "your shop is {good}.", "your {staff} is {good}.",
        "I {love} the rest of the order.",
    ),
    "refund": (
        "the money for the {item} is back.", "you have already paid back the {amount}.", "I do not want a refund.",
        "I will not send anything back.",
    ),
}

SLOTS = {
    # things and people that every subject speaks of
    "thing": ("{item}", "{item}", "{look} {item}"),
    "item": (
        "kettle", "desk lamp", "rain jacket", "coffee grinder", "backpack", "tent", "garden chair", "bread knife",
        "bicycle pump", "wool blanket", "alarm clock", "picture frame", "frying pan", "bookshelf", "hammock", "teapot",
        "sewing kit", "yoga mat", "sleeping bag", "headlamp", "door mat", "pillow", "tool box", "radio", "toaster",
        "sweater", "pair of boots", "chess set", "puzzle", "flower pot", "mirror", "suitcase", "thermos", "kite",
        "lunch box", "bath towel", "umbrella", "wall clock", "salad bowl", "camping stove", "cutting board", "scarf",
        "fountain pen", "watering can", "ladder",
    ),
    "look": (
        "blue", "red", "green", "grey", "yellow", "white", "black", "brown", "small", "large", "wooden", "folding",
        "striped", "light", "steel",
    ),
    "relative": (
        "daughter", "son", "mother", "father", "neighbour", "wife", "husband", "grandmother", "brother", "whole family",
    ),
    "staff": ("team", "support team", "service desk", "hotline", "colleague in the shop"),
    "amount": ("{price} euros", "{price} pounds", "price", "full amount", "deposit"),
    "price": ("12", "15", "19", "24", "29", "35", "39", "45", "49", "60", "75", "89", "120"),
    "number": ("{digit}{digit}{digit}{digit}", "{digit}{digit}-{digit}{digit}{digit}"),
    "digit": tuple("123456789"),
    # times
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "weeks": ("two weeks", "three weeks", "ten days", "a month", "four days", "eight days", "six weeks"),
    "past": ("last {day}", "on {day}", "{weeks} ago", "last week", "yesterday", "before the holiday", "in spring"),
    "future": ("{day}", "the weekend", "next {day}", "my birthday", "the holidays", "the end of the month"),
    "since": ("for {weeks}", "since {day}", "since last week", "for far too long", "since the start of the month"),
    "often": ("every day", "every morning", "all the time", "each week", "several times a day", "every single evening"),
    # account
    "sign in": ("log in", "sign in"),
    "login trouble": (
        "my {secret} is refused", "the login page stays {blank}", "the code by text message never works",
        "it says that my {account} is locked", "the app asks for the {secret} again and again",
        "the site no longer knows my e-mail address",
    ),
    "reset trouble": (
        "the reset link does not open", "the e-mail to reset it never appears", "the reset page shows an error",
        "the link to choose a new one has expired",
    ),
    "blank": ("blank", "white", "frozen", "empty"),
    "secret": ("password", "pass phrase", "PIN", "security answer"),
    "account": ("account", "profile", "customer account", "user account"),
    "detail": (
        "e-mail address", "phone number", "user name", "postal address", "newsletter setting", "date of birth",
        "surname", "payment card", "language",
    ),
    "stored": ("in my {account}", "stored in my {account}", "on my {account} page"),
    "all": ("everything", "all the data", "every detail", "whatever"),
    "someone": ("somebody I do not know", "a stranger", "my old flatmate", "someone else"),
    "forgets": ("forgets my {secret}", "signs me out", "loses my settings", "logs me out"),
    "an update": ("an update", "installing it again", "choosing to stay signed in", "a restart"),
    "invalid": ("invalid", "not accepted", "wrong", "unknown"),
    "break": ("crash", "stay {blank}", "fail to load", "show an error"),
    # delivery
    "tracking": ("the tracking page", "the tracking number", "the parcel status", "your shipping update"),
    "stuck": (
        "has not changed {since}", "still says on the way", "shows the parcel in the wrong town",
        "gives no date at all", "only says delayed", "stopped moving {past}",
    ),
    "courier": ("courier", "driver", "postman", "delivery van"),
    "misses": ("never rings the bell", "came while I was at work", "went to the wrong house", "drove past my street"),
    "leaves": ("left only a card", "took the parcel away again", "did not come back", "says that nobody was home"),
    "wrong place": (
        "with a neighbour", "in the rain", "at the wrong address", "in front of the garage", "at a pick-up shop",
    ),
    "right place": ("to my office", "to the pick-up shop", "to my neighbour", "to my new address", "to my parents"),
    "arrive": ("arrive", "be delivered", "reach me", "come", "be shipped"),
    "arrived": ("was delivered", "has arrived", "was handed over"),
    "did not": ("did not come", "is not here", "has not reached me", "is nowhere to be found"),
    "came": ("came", "arrived", "was in the parcel", "was delivered"),
    "come": ("come", "arrived", "reached me", "been delivered"),
    "early": ("on time", "a day early", "right on time", "here {past}"),
    # praise
    "very": ("really", "simply", "truly", "quite", "so"),
    "good": (
        "beautiful", "lovely", "wonderful", "excellent", "delightful", "great", "perfect", "superb", "brilliant",
    ),
    "love": ("love", "adore", "really like", "am very happy with", "am delighted with"),
    "loves": ("loves", "adores", "is very happy with", "is delighted with", "cannot stop talking about"),
    "my new": ("my new", "the new", "this", "my"),
    "thanks": ("thank you", "many thanks", "thanks a lot", "thank you so much"),
    "best": ("the best", "by far the best", "easily the nicest", "the prettiest", "the most useful"),
    "owned": ("owned", "bought", "had", "seen", "used"),
    "in place": ("in our kitchen", "on my desk", "in the hall", "in the garden", "by the window", "in my office"),
    "works": ("works perfectly", "does just what it should", "makes me smile", "is a pleasure to use", "feels solid"),
    "friendly": ("such a friendly", "a fast and kind", "what a patient", "a very helpful"),
    "elsewhere": ("elsewhere", "in other shops", "I expected", "my old one did"),
    # refund
    "pay back": ("refund", "pay back", "return", "give back", "transfer back"),
    "broken": (
        "arrived broken", "has a crack", "stopped working {past}", "leaks", "fell apart", "has a missing part",
        "does not switch on",
    ),
    "misfits": (
        "is too small", "is too big", "is the wrong colour", "does not fit", "is not what the picture shows",
        "smells odd",
    ),
    "twice": ("twice", "two times", "the wrong price", "more than agreed"),
    "another": ("a larger one", "a smaller one", "a voucher", "another colour", "a {look} one"),
    "nothing": ("nothing", "only promises", "no answer", "just a voucher"),
    "tries": ("is polite", "did its best", "offered a voucher", "says to wait"),
    # around the subject
    "opening": ("hello,", "good morning,", "hi there,", "dear team,", "good evening,", "hello again,", "hi,"),
    "closing": (
        "Kind regards.", "Best wishes.", "That is all.", "Greetings from the coast.", "Written in haste.",
        "I ordered it {past}.", "My order number is {number}.", "The order was number {number}.", "Have a good {day}.",
    ),
    "also": ("also,", "and", "by the way,", "besides,", "one more thing:", "apart from that,", "at the same time,"),
}
# fmt: on


@dataclass(frozen=True)
class DemoTruth:
    """What is known of each training text of the demo, in the order of the file."""

    train: Path
    test: Path  # no wrong labels in it
    ids: tuple[str, ...]
    labels: tuple[str, ...]  # as written in the file
    kinds: tuple[str, ...]  # clear | ambiguous | wrong
    true_labels: tuple[str, ...]  # of an ambiguous text, the one of its two subjects that was drawn

    def of_kind(self, kind: str) -> list[str]:
        """The ids of the texts of one kind."""
        return [name for name, its in zip(self.ids, self.kinds, strict=True) if its == kind]


@dataclass(frozen=True)
class Message:
    text: str
    kind: str
    label: str
    true_label: str
    other: str = ""  # the second subject of an ambiguous text


class Dice:
    """Choices from `random.random()` alone, the one stream that Python promises to keep for a seed."""

    def __init__(self, seed: int):
        self.uniform = random.Random(seed).random

    def pick(self, options: tuple[str, ...]) -> str:
        return options[int(self.uniform() * len(options))]

    def chance(self, share: float) -> bool:
        return self.uniform() < share

    def shuffle(self, items: list[str]) -> list[str]:
        keys = [(self.uniform(), place) for place in range(len(items))]
        return [items[place] for _, place in sorted(keys)]


def write_demo(path: str | Path, n: int = 3000, seed: int = 0, n_test: int = 600) -> DemoTruth:
    """Write the example: `path` (id, text, label), beside it `…_test.csv` and `…_truth.csv`; the same bytes for a seed.

    Of the n training texts 17 % are ambiguous and 8 % are clear texts with a wrong label, in places drawn at random.
    The test file has the same share of ambiguous texts and no wrong labels. The truth file (id, kind, true_label,
    other_label) is for counting how many wrong labels were found; nothing is ever trained on it.
    """
    path = Path(path)
    test, truth = path.with_name(f"{path.stem}_test.csv"), path.with_name(f"{path.stem}_truth.csv")
    dice = Dice(seed)
    stream = messages(dice, kinds(dice, n, WRONG) + kinds(dice, n_test, 0.0))
    rows = [(f"m{i:05d}", next(stream)) for i in range(1, n + 1)]
    test_rows = [(f"t{i:05d}", message) for i, message in enumerate(stream, start=1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, ("id", "text", "label"), [(name, m.text, m.label) for name, m in rows])
    _write(test, ("id", "text", "label"), [(name, m.text, m.label) for name, m in test_rows])
    columns = ("id", "kind", "true_label", "other_label")
    _write(truth, columns, [(name, m.kind, m.true_label, m.other) for name, m in rows])
    return DemoTruth(
        train=path,
        test=test,
        ids=tuple(name for name, _ in rows),
        labels=tuple(m.label for _, m in rows),
        kinds=tuple(m.kind for _, m in rows),
        true_labels=tuple(m.true_label for _, m in rows),
    )


def kinds(dice: Dice, n: int, wrong: float) -> list[str]:
    """n kinds in random order, in exactly the shares asked for."""
    n_ambiguous, n_wrong = round(AMBIGUOUS * n), round(wrong * n)
    clear = ["clear"] * (n - n_ambiguous - n_wrong)
    return dice.shuffle(["ambiguous"] * n_ambiguous + ["wrong"] * n_wrong + clear)


def messages(dice: Dice, wanted: list[str]) -> Iterator[Message]:
    """A message of each wanted kind; no text twice while the grammar has new ones."""
    seen: set[str] = set()
    for kind in wanted:
        for _ in range(100):
            message = draw(dice, kind)
            if message.text not in seen and len(message.text.split()) in WORDS:
                break
        seen.add(message.text)
        yield message


def draw(dice: Dice, kind: str) -> Message:
    first = dice.pick(LABELS)
    second = dice.pick(tuple(label for label in LABELS if label != first))
    parts = [dice.pick(TEMPLATES[first])]
    if kind == "ambiguous":
        parts += ["{also}", dice.pick(TEMPLATES[second])]
        first, second = (first, second) if dice.chance(0.5) else (second, first)  # the order does not tell the label
    elif kind == "clear" and dice.chance(0.2):  # not in a wrong one: it is plainly wrong
        parts.insert(0, dice.pick(ASIDES[second]))
    if dice.chance(0.3):
        parts.insert(0, "{opening}")
    if dice.chance(0.3):
        parts.append("{closing}")
    text = sentence_case(fill(dice, " ".join(parts)))
    label = second if kind == "wrong" else first
    return Message(text, kind, label, true_label=first, other=second if kind == "ambiguous" else "")


def fill(dice: Dice, text: str) -> str:
    """The text with every {slot} replaced, slots inside slots too."""
    while "{" in text:
        text = re.sub(r"{([^{}]+)}", lambda slot: dice.pick(SLOTS[slot[1]]), text)
    return text


def sentence_case(text: str) -> str:
    text = re.sub(r"\ba (?=[aeiou])", "an ", text)
    return re.sub(r"(^|[.?!] )([a-z])", lambda start: start[1] + start[2].upper(), text)


def _write(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8", newline="") as sink:
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    os.replace(partial, path)


@dataclass(frozen=True)
class Found:
    """What the run found of what was planted, as two small tables."""

    header: tuple[str, ...]
    rows: list[list[Any]]
    region_header: tuple[str, ...]
    region_rows: list[list[Any]]


def found(truth: DemoTruth, run: Run) -> Found:
    """How many planted wrong labels the top suspects hold, and in which regions the kinds of texts lie.

    Counted over the texts that were trained on: validation texts were set apart and have no training record.
    """
    kind_of = dict(zip(truth.ids, truth.kinds, strict=True))
    true_label = dict(zip(truth.ids, truth.true_labels, strict=True))
    suspects = pl.read_csv(run.path / "suspects.csv", infer_schema=False).select("id", "suggested")
    wrong = [kind_of[name] == "wrong" for name in suspects["id"]]
    right_label = [true_label[name] == label for name, label in suspects.iter_rows()]
    planted = sum(wrong)
    rows: list[list[Any]] = []
    for top in (planted // 4, planted // 2, planted, 2 * planted):
        hits = sum(wrong[:top])
        named = sum(right and bad for right, bad in zip(right_label[:top], wrong[:top], strict=True))
        rows.append([top, hits, hits / top, hits / planted, named / max(hits, 1)])
    scores = run.scores(["confidence", "variability"])
    kinds = scores.select(pl.col("id").replace_strict(kind_of).alias("kind"), "region")
    counts = {(kind, region): n for kind, region, n in kinds.group_by("kind", "region").len().iter_rows()}
    regions = ("easy", "ambiguous", "hard", "none")
    region_rows = [
        [kind, *(counts.get((kind, region), 0) for region in regions)] for kind in ("clear", "ambiguous", "wrong")
    ]
    header = ("suspects", "planted", "precision", f"of the {planted} planted", "suggested label right")
    return Found(header, rows, ("kind of text", *regions), region_rows)
