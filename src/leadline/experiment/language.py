"""The language model that says how probable texts are: somebody's, or a small one trained here; kept in the run."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from leadline import runs
from leadline.data.examples import Examples
from leadline.errors import InputError
from leadline.experiment.device import accelerate, precision
from leadline.learn import density
from leadline.learn.models import max_tokens
from leadline.runs import Run

FORMAT = 1


@dataclass(frozen=True)
class Language:
    """Which language model, and what it is trained on.

    name       a Hub id or a local directory; None: a small one, trained here on `train` alone
    fine_tune  train that one on `train`, too
    train      texts in distribution, training texts only
    run        where a trained one is kept and found again
    precision  auto, bf16, fp16 or fp32: what one is trained in; all are measured in float32
    reader     the classifier's tokenizer: the small one reads texts as it gives them back, without what the classifier
               cannot see (capitals, where it is uncased); others read texts as they are
    """

    name: str | None
    fine_tune: bool
    train: Examples | None
    max_length: int
    run: Run | None = None
    tell: Callable[[Mapping[str, Any]], None] = lambda event: None
    precision: str = "auto"
    reader: Any = None

    @property
    def trained(self) -> bool:
        return self.name is None or self.fine_tune

    @property
    def says(self) -> str:
        """For a person: what the densities are of."""
        if self.name is None:
            return (
                f"a small language model trained here on {self._count} texts in distribution (2 layers, no pretraining)"
            )
        return (
            f"{self.name}{f', fine-tuned on {self._count} texts in distribution' if self.fine_tune else ', as it is'}"
        )

    @property
    def _count(self) -> str:
        return f"{len(self.train):,}" if self.train is not None else "0"

    def measure(self, texts: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
        """({nll (N,), tokens (N,)}, what a reader must know of them, a sentence each), as `learn.density.measure`.

        Raises InputError: there is nothing to train one on, or some text has no token that can be scored.
        """
        model, tokenizer = self._ready()
        found = density.measure(model, tokenizer, self._read(texts), accelerate("fp32").device, self.max_length)
        if bad := int((found["tokens"] == 0).sum()):
            raise InputError(
                f"{bad} of {len(texts)} texts have no token that {self.name or 'the language model'} can score (one "
                "token, and a tokenizer without a token that begins texts); choose another --lm, or take these rows out"
            )
        told = [f"perplexity and density by {self.says}"]
        if cut := int(found.pop("cut").sum()):
            longest = max_tokens(model, tokenizer, self.max_length)
            why = "training.max_length" if longest == self.max_length else "the language model reads no more"
            told.append(
                f"{cut:,} of {len(texts):,} texts are cut for perplexity and density: at most {longest} tokens of a "
                f"text count ({why}), in the language model's own tokens"
            )
        return found, told

    def _ready(self) -> tuple[Any, Any]:
        if not self.trained:
            return density.load(str(self.name))
        if self.train is None:
            raise InputError("a language model is trained on texts in distribution; give them: --fit FILE")
        place = self.run.path / "density" / self._slug if self.run is not None else None
        if place is not None and self._kept(place):
            self.tell({"event": "note", "says": f"language model of {place}"})
            return density.load(str(place))
        model, tokenizer = self._train(self._texts)
        if place is not None:
            self._keep(place, model, tokenizer)
        return model, tokenizer

    @cached_property
    def _texts(self) -> Sequence[str]:
        """(M,) the training texts as the language model reads them."""
        assert self.train is not None
        return self._read(runs.joined_texts(self.train))

    def _read(self, texts: Sequence[str]) -> Sequence[str]:
        return texts if self.name is not None or self.reader is None else density.read_back(self.reader, texts)

    def _train(self, texts: Sequence[str]) -> tuple[Any, Any]:
        self.tell({"event": "note", "says": f"training {self.says}"})
        if self.name is None:
            model, tokenizer = density.small(texts, max(8, self.max_length))
        else:
            model, tokenizer = density.load(self.name)
        accelerator = accelerate(self.precision)
        density.train(model, tokenizer, texts, self._settings, accelerator, self.max_length, self._progress)
        return model, tokenizer

    def _progress(self, event: Mapping[str, Any]) -> None:
        """Of the loop's events, those that a person waits for."""
        if event["event"] == "epoch":
            of = f"{event['epoch']} of {self._settings['epochs']}"
            says = f"language model: epoch {of}, loss {event['train'].get('loss', math.nan):.3f} a token"
            self.tell({"event": "note", "says": says})

    @property
    def _settings(self) -> dict[str, Any]:
        return density.OF_SMALL if self.name is None else density.OF_FINE_TUNING

    @property
    def _slug(self) -> str:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name or density.SMALL).strip("-.") or density.SMALL

    def _about(self) -> dict[str, Any]:
        """What decides the weights; equal abouts, equal models."""
        assert self.train is not None
        texts = hashlib.sha256("\0".join(self._texts).encode("utf-8", "surrogatepass")).hexdigest()
        about = {"format": FORMAT, "model": self.name or density.SMALL, "texts": texts, "n": len(self.train)}
        sizes = density.SIZES | {"vocabulary": density.VOCABULARY} if self.name is None else {}
        about |= {"files": self._files, "precision": precision(self.precision)}
        return about | {"max_length": self.max_length, "training": self._settings, "sizes": sizes}

    @cached_property
    def _files(self) -> str:
        """SHA-256 over names and contents of a local directory's files; "" of a Hub id, whose name must do."""
        folder = Path(self.name) if self.name is not None else None
        if folder is None or not folder.is_dir():
            return ""
        total = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            total.update(f"{path.relative_to(folder)}\0{runs.sha256(path)}\0".encode("utf-8", "surrogatepass"))
        return total.hexdigest()

    def _kept(self, place: Path) -> bool:
        try:
            return json.loads((place / "about.json").read_text(encoding="utf-8")) == self._about()
        except (OSError, ValueError):
            return False

    def _keep(self, place: Path, model: Any, tokenizer: Any) -> None:
        """Whole or not at all; a run that cannot be written to goes without."""
        try:
            place.parent.mkdir(exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        except OSError:
            return
        try:
            density.save(model, tokenizer, partial)
            (partial / "about.json").write_text(json.dumps(self._about(), indent=1) + "\n", encoding="utf-8")
            shutil.rmtree(place, ignore_errors=True)
            partial.rename(place)
        except OSError:
            self.tell({"event": "note", "says": f"{place}: the language model could not be kept"})
        finally:
            shutil.rmtree(partial, ignore_errors=True)
