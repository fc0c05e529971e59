"""Small tasks of every kind to come, written against the Task protocol as a capability will write them.

Texts are words of tiny_models.WORDS; token ids are 0 pad, 1 start, 2 separator and end, then the words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from leadline.learn import losses
from leadline.learn.outcome import Outcome
from leadline.learn.tasks.batch import Batch, Row, pad
from tiny_models import WORDS

PAD, START, END = 0, 1, 2
NUMBER = {word: i + 3 for i, word in enumerate(WORDS)}
VOCABULARY = len(WORDS) + 3


def ids(text: str) -> list[int]:
    return [NUMBER[word] for word in text.split()]


def array(values: Sequence[int]) -> np.ndarray:
    return np.asarray(values, dtype=np.int32)


def owners(rows: Sequence[Row]) -> Tensor:
    """(I,) which row of the batch an input belongs to."""
    return torch.from_numpy(np.repeat(np.arange(len(rows)), [len(row) for row in rows]))


def longest(row: Row) -> int:
    return max(len(item["input_ids"]) for item in row)


def last_real(mask: Tensor) -> Tensor:
    """(I,) position of the last token that is no padding, whatever the side."""
    return (torch.arange(mask.shape[1]) * mask).argmax(-1)


@dataclass(frozen=True)
class QuestionAnswering:
    """Extractive, definitions.md A.13. A long passage is cut into windows; all windows of a row are one example.

    targets (N, S, 2): gold spans by first and last word of the passage, -1 where there are fewer than S.
    """

    window: int = 8
    stride: int = 5

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        return [self._windows(ids(row["question"]), ids(row["passage"])) for row in rows]

    def _windows(self, question: list[int], passage: list[int]) -> Row:
        starts = range(0, max(1, len(passage) - self.window + self.stride), self.stride)
        items = []
        for start in starts:
            part = passage[start : start + self.window]
            tokens = [START, *question, END, *part, END]
            segments = [0] * (len(question) + 2) + [1] * (len(part) + 1)
            place = array([start, len(part), len(question) + 2])  # first word, number of words, position of the first
            items.append({"input_ids": array(tokens), "token_type_ids": array(segments), "place": place})
        return items

    def length(self, row: Row) -> int:
        return longest(row)

    def collate(self, rows: Sequence[Row], targets: np.ndarray) -> Batch:
        items, owner = [item for row in rows for item in row], owners(rows)
        inputs = pad([{name: item[name] for name in ("input_ids", "token_type_ids")} for item in items], {})
        place = torch.from_numpy(np.stack([item["place"] for item in items])).long()[:, None]  # (I, 1, 3)
        spans = torch.from_numpy(targets)[owner] - place[..., :1]  # (I, S, 2) in words of the window
        held = (spans[..., 0] >= 0) & (spans[..., 1] < place[..., 1]) & (torch.from_numpy(targets)[owner][..., 0] >= 0)
        return Batch(inputs, {"spans": spans + place[..., 2:], "held": held, "real": inputs["attention_mask"]}, owner)

    def training_loss(self, output: Any, batch: Batch) -> Tensor:
        best = self._best(self._spans(output, batch)[0].logsumexp(-1), batch)
        return torch.where(best == -torch.inf, 0.0, -best)  # a row without a gold window has weight 0

    def outcome(self, output: Any, batch: Batch) -> Outcome:
        log_p, margins, exact = self._spans(output, batch)  # (I, S) each
        of_window = log_p.logsumexp(-1)
        best = self._best(of_window, batch)
        defined, winner = best != -torch.inf, self._first(of_window == best[batch.owner], batch)
        value = torch.where(defined, best, torch.nan)
        return Outcome.of_loss(
            -value,
            gold_logprob=value,
            margin=torch.where(defined, margins.amax(-1)[winner], torch.nan),
            correct=torch.where(defined, exact.any(-1)[winner].to(torch.int8), -1).to(torch.int8),
            defined=defined,
        )

    @staticmethod
    def _spans(output: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(I, S) log p_start + log p_end, sum of both margins, both argmax right; -inf, False where not held."""
        log_p, margins, exact = [], [], []
        for logits, gold in zip(
            (output.start_logits, output.end_logits), batch.targets["spans"].unbind(-1), strict=True
        ):
            z = logits.float().masked_fill(batch.targets["real"] == 0, -torch.inf)  # (I, T)
            gold = gold.clamp(0, z.shape[1] - 1)
            log_p.append(z.log_softmax(-1).gather(1, gold))
            others = z[:, None].expand(-1, gold.shape[1], -1).scatter(2, gold[..., None], -torch.inf)
            margins.append(z.gather(1, gold) - others.amax(-1))
            exact.append(z.argmax(-1, keepdim=True) == gold)
        held = batch.targets["held"]
        absent = torch.full_like(log_p[0], -torch.inf)
        return (
            torch.where(held, log_p[0] + log_p[1], absent),
            torch.where(held, margins[0] + margins[1], absent),
            held & exact[0] & exact[1],
        )

    @staticmethod
    def _best(of_window: Tensor, batch: Batch) -> Tensor:
        """(B,) the largest over the windows of a row; -inf where none holds the gold answer."""
        n = int(batch.owner.max()) + 1
        return of_window.new_full((n,), -torch.inf).scatter_reduce(0, batch.owner, of_window, "amax")

    @staticmethod
    def _first(chosen: Tensor, batch: Batch) -> Tensor:
        """(B,) the first input of each row that is chosen."""
        n, index = int(batch.owner.max()) + 1, torch.arange(len(chosen))
        return torch.full((n,), len(chosen) - 1).scatter_reduce(
            0, batch.owner, index.where(chosen, len(chosen)), "amin"
        )


@dataclass(frozen=True)
class SequenceToSequence:
    """Mean NLL over the gold tokens, the end token among them. The gold tokens travel with the input."""

    start: int

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        return [
            [{"input_ids": array([*ids(row["source"]), END]), "gold": array([*ids(row["summary"]), END])}]
            for row in rows
        ]

    def length(self, row: Row) -> int:
        return longest(row)

    def collate(self, rows: Sequence[Row], targets: np.ndarray) -> Batch:
        inputs = pad([{"input_ids": row[0]["input_ids"]} for row in rows], {})
        gold = pad([{"input_ids": row[0]["gold"]} for row in rows], {})
        start = torch.full((len(rows), 1), self.start)
        inputs["decoder_input_ids"] = torch.cat([start, gold["input_ids"][:, :-1]], 1)
        return Batch(inputs, {"gold": gold["input_ids"], "real": gold["attention_mask"]})

    def training_loss(self, output: Any, batch: Batch) -> Tensor:
        return self._tokens(output, batch).sum(1) / batch.targets["real"].sum(1)

    def outcome(self, output: Any, batch: Batch) -> Outcome:
        nll, tokens = self._tokens(output, batch).sum(1), batch.targets["real"].sum(1)
        return Outcome.of_loss(nll / tokens, gold_logprob=-nll / tokens, nll_sum=nll, tokens=tokens)

    @staticmethod
    def _tokens(output: Any, batch: Batch) -> Tensor:
        """(B, L) NLL of each gold token, 0 where padded."""
        nll = F.cross_entropy(output.logits.float().transpose(1, 2), batch.targets["gold"], reduction="none")
        return nll * batch.targets["real"]


@dataclass(frozen=True)
class MultipleChoice:
    """The options of a question are inputs of one row; softmax over the options of the item; absent ones are -inf."""

    most: int  # options of any item

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        return [[self._option(ids(row["question"]), ids(option)) for option in row["options"]] for row in rows]

    @staticmethod
    def _option(question: list[int], option: list[int]) -> dict[str, np.ndarray]:
        tokens = [START, *question, END, *option, END]
        segments = [0] * (len(question) + 2) + [1] * (len(option) + 1)
        return {"input_ids": array(tokens), "token_type_ids": array(segments)}

    def length(self, row: Row) -> int:
        return longest(row)

    def collate(self, rows: Sequence[Row], targets: np.ndarray) -> Batch:
        inputs = pad([item for row in rows for item in row], {})
        option = torch.from_numpy(np.concatenate([np.arange(len(row)) for row in rows]))
        return Batch(inputs, {"gold": torch.from_numpy(targets), "option": option}, owners(rows))

    def _table(self, output: Any, batch: Batch) -> Tensor:
        """(B, K max) logits of the options."""
        table = torch.full((len(batch.targets["gold"]), self.most), -torch.inf)
        return table.index_put((batch.owner, batch.targets["option"]), output.logits[:, 0].float())

    def training_loss(self, output: Any, batch: Batch) -> Tensor:
        return losses.cross_entropy(self._table(output, batch), batch.targets["gold"])

    def outcome(self, output: Any, batch: Batch) -> Outcome:
        return Outcome.from_logits(self._table(output, batch), batch.targets["gold"])


@dataclass(frozen=True)
class DecisionToken:
    """A causal LM answers with a label token: logits renormalised over the label tokens, several forms of one added.

    extra: `mass`, how much probability the whole vocabulary leaves for the labels.
    """

    labels: Sequence[Sequence[int]]  # token ids of each class
    side: str = "right"

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        return [[{"input_ids": array([START, *ids(row["prompt"])])}] for row in rows]

    def length(self, row: Row) -> int:
        return longest(row)

    def collate(self, rows: Sequence[Row], targets: np.ndarray) -> Batch:
        inputs = pad([row[0] for row in rows], {}, self.side, positions=True)
        return Batch(inputs, {"gold": torch.from_numpy(targets), "last": last_real(inputs["attention_mask"])})

    def _decision(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, K) logits of the labels, (B, V) of the vocabulary, where the answer is predicted."""
        z = output.logits[torch.arange(len(output.logits)), batch.targets["last"]].float()
        return torch.stack([z[:, list(forms)].logsumexp(-1) for forms in self.labels], dim=1), z

    def training_loss(self, output: Any, batch: Batch) -> Tensor:
        return losses.cross_entropy(self._decision(output, batch)[0], batch.targets["gold"])

    def outcome(self, output: Any, batch: Batch) -> Outcome:
        decision, z = self._decision(output, batch)
        mass = (decision.logsumexp(-1) - z.logsumexp(-1)).exp()
        return replace(Outcome.from_logits(decision, batch.targets["gold"]), extra={"mass": mass})


@dataclass(frozen=True)
class ImageClassification:
    side: int = 8

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        shape = (3, self.side, self.side)
        return [[{"pixel_values": np.asarray(row["image"], dtype=np.float32).reshape(shape) / 255}] for row in rows]

    def length(self, row: Row) -> int:
        return 1

    def collate(self, rows: Sequence[Row], targets: np.ndarray) -> Batch:
        return Batch(
            {"pixel_values": torch.from_numpy(np.stack([row[0]["pixel_values"] for row in rows]))},
            torch.from_numpy(targets),
        )

    def training_loss(self, output: Any, batch: Batch) -> Tensor:
        return losses.cross_entropy(output.logits, batch.targets)

    def outcome(self, output: Any, batch: Batch) -> Outcome:
        return Outcome.from_logits(output.logits, batch.targets)
