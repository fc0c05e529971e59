"""learn/models.py and the evaluation pass: every family loads, trains, is saved, and is evaluated as it was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from leadline import signals
from leadline.errors import InputError
from leadline.learn import models
from leadline.learn.interpolate import Pairing, SentenceMix
from leadline.learn.predict import batches, predict
from leadline.learn.tasks.batch import Batch, pad
from leadline.learn.tasks.classification import Classification
from leadline.learn.tasks.regression import Regression
from leadline.recipe import Model
from tiny_models import FAMILIES, accelerator, bytelevel, checkpoint, encoder, examples, fit, sentences, wordpiece

CLASSES = ("dry", "neither", "wet")
DECODERS = [name for name, family in FAMILIES.items() if family.decoder]
TEXTS = sentences(48)
LABELS = [i % 3 for i in range(48)]
DATA = examples(TEXTS, LABELS, CLASSES)
CPU = torch.device("cpu")

family = pytest.mark.parametrize("family", FAMILIES)
decoder = pytest.mark.parametrize("family", DECODERS)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    with models.quiet():
        return {name: checkpoint(name, root / name) for name in FAMILIES}


def plain(path: Path) -> tuple[Any, Any]:
    """As a stranger loads it."""
    with models.quiet():
        model = transformers.AutoModelForSequenceClassification.from_pretrained(path)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(path)


@torch.no_grad()
def one_by_one(model: Any, tokenizer: Any, texts: list[str]) -> Tensor:
    """(N, K): each text alone, nothing padded."""
    return torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])


def outcomes(model: Any, tokenizer: Any, data: Any = DATA) -> dict[str, np.ndarray]:
    task = Classification(encoder(model, tokenizer))
    return predict(model, task, task.encode(data.table.to_dicts()), data.targets, CPU)


@family
def test_a_checkpoint_loads_with_a_new_head_and_a_pad_token(checkpoints: dict[str, Path], family: str) -> None:
    model, tokenizer = models.load(str(checkpoints[family]), CLASSES, seed=3)
    again, _ = models.load(str(checkpoints[family]), CLASSES, seed=3)
    other, _ = models.load(str(checkpoints[family]), CLASSES, seed=4)
    assert model.config.id2label == {0: "dry", 1: "neither", 2: "wet"} and model.config.num_labels == 3
    assert tokenizer.pad_token is not None and model.config.pad_token_id == tokenizer.pad_token_id
    weights = [models.head(m).state_dict() for m in (model, again, other)]
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name])
    assert any(not torch.equal(weight, weights[2][name]) for name, weight in weights[0].items())
    body = transformers.AutoModel.from_pretrained(checkpoints[family]).state_dict()
    shared = [name for name in body if name in model.base_model.state_dict()]
    assert len(shared) >= len(model.base_model.state_dict()) - 2  # a pooler may be new
    assert all(torch.equal(body[name], model.base_model.state_dict()[name]) for name in shared)


@pytest.mark.parametrize("precision", ["no", "bf16"])
@family
def test_the_path_trained_is_the_path_evaluated(
    checkpoints: dict[str, Path], tmp_path: Path, family: str, precision: str
) -> None:
    model, tokenizer = models.load(str(checkpoints[family]), CLASSES)
    before = {name: p.clone() for name, p in model.named_parameters()}
    trained = fit(
        model, Classification(encoder(model, tokenizer)), DATA, to=tmp_path / "run", accelerator=accelerator(precision)
    )
    assert trained.run() == 3
    (period,) = signals.read_periods(tmp_path / "run" / "signals")
    assert period.recorded.all() and period.trained.all() and np.isfinite(period.loss).all()
    assert sorted(set(period.step.tolist())) == [0, 1, 2]
    still = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    assert [name for name in still if "position" not in name and "token_type" not in name] == []

    models.save(model, tokenizer, tmp_path / "model")
    saved, saved_tokenizer = plain(tmp_path / "model")
    assert saved.config.id2label == dict(enumerate(CLASSES)) and saved.config.label2id["wet"] == 2
    assert saved_tokenizer.pad_token_id == saved.config.pad_token_id == tokenizer.pad_token_id
    alone = one_by_one(saved, saved_tokenizer, TEXTS)
    found = outcomes(model, tokenizer)  # still inside accelerate's autocast
    np.testing.assert_allclose(found["logits"], alone, atol=2e-5 if precision == "no" else 0.1)
    reloaded, tokenizer = models.load(str(tmp_path / "model"), CLASSES)
    np.testing.assert_allclose(outcomes(reloaded, tokenizer)["logits"], alone, atol=2e-5)


@family
def test_the_head_is_float32_whatever_the_body_runs_in(checkpoints: dict[str, Path], family: str) -> None:
    """2,000 rows at full size are the bench's; here 1,000 texts, against a head in bf16."""
    data = examples(sentences(1000, seed=5), [0, 1] * 500, ("dry", "wet"))
    model, tokenizer = models.load(str(checkpoints[family]), data.classes)
    usual, _ = models.load(str(checkpoints[family]), data.classes)
    exact = outcomes(model, tokenizer, data)
    decision = [
        [m for m in models.head(network).modules() if isinstance(m, nn.Linear)][-1] for network in (model, usual)
    ]
    with torch.no_grad():
        for layer in decision:
            layer.weight.mul_(3 / float(exact["margin"].std()))  # margins as large as after training
    exact = outcomes(model, tokenizer, data)
    for part in models.head_parts(usual):
        del part.forward  # the class's own again: inside autocast
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, bf16 = outcomes(model, tokenizer, data), outcomes(usual, tokenizer, data)
    assert found["logits"].dtype == np.float32 and not np.array_equal(found["logits"], exact["logits"])
    np.testing.assert_array_equal(torch.from_numpy(bf16["logits"]).bfloat16().float().numpy(), bf16["logits"])
    in_bf16 = torch.from_numpy(found["logits"]).bfloat16().float().numpy()
    assert (in_bf16 != found["logits"]).mean() > 0.9  # bf16 could not hold them
    distinct, of_bf16 = (len(np.unique(columns["gold_logprob"])) for columns in (found, bf16))
    assert distinct > 990 and of_bf16 < 0.95 * distinct


@family
def test_dropout_zero_is_a_deterministic_training_pass(checkpoints: dict[str, Path], family: str) -> None:
    def twice(dropout: float | None) -> tuple[Tensor, Tensor, float]:
        model, tokenizer = models.load(Model(name=str(checkpoints[family]), dropout=dropout), CLASSES)
        batch = encoder(model, tokenizer).collate(encoder(model, tokenizer).encode([{"text": t} for t in TEXTS]))
        model.train()
        return model(**batch).logits, model(**batch).logits, models.dropout_of(model)

    one, two, told = twice(0.0)
    assert torch.equal(one, two) and told == 0
    one, two, told = twice(None)
    assert not torch.allclose(one, two, atol=1e-4) and told > 0
    assert twice(0.3)[2] == 0.3


# Decoders: the last real token, whatever is padded and on which side


@pytest.mark.parametrize("side", ["left", "right"])
@decoder
def test_a_decoder_pools_the_last_real_token(checkpoints: dict[str, Path], family: str, side: str) -> None:
    model, tokenizer = models.load(str(checkpoints[family]), CLASSES)
    model.eval()
    tokenizer.padding_side = side
    if family == "gpt2":
        assert tokenizer.pad_token_id == tokenizer.eos_token_id
    alone = one_by_one(model, tokenizer, TEXTS)
    with torch.no_grad():
        for text, logits in zip(TEXTS[:5], alone, strict=False):
            hidden = model.base_model(**tokenizer(text, return_tensors="pt")).last_hidden_state
            torch.testing.assert_close(hidden[0, -1] @ models.head(model).weight.T, logits, atol=1e-5, rtol=0)
        rows = encoder(model, tokenizer).encode([{"text": text} for text in TEXTS])
        assert len({len(row[0]["input_ids"]) for row in rows}) > 5
        together = model(**encoder(model, tokenizer).collate(rows)).logits
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_text_that_ends_in_the_pad_token_is_pooled_alike_everywhere(checkpoints: dict[str, Path], side: str) -> None:
    """pad = eos and a text that ends in eos: plain transformers reads the token before; so do batches and mixing."""
    model, tokenizer = models.load(str(checkpoints["gpt2"]), CLASSES)
    model.eval()
    tokenizer.padding_side = side
    texts = [*TEXTS[:6], TEXTS[6] + tokenizer.eos_token, TEXTS[7] + 2 * tokenizer.eos_token]
    alone = one_by_one(model, tokenizer, texts)
    batch = encoder(model, tokenizer).collate(encoder(model, tokenizer).encode([{"text": t} for t in texts]))
    mixer, every = SentenceMix(model), torch.arange(len(texts))

    def mixed(anchor: torch.Tensor, partner: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        pairing = Pairing(anchor, partner, lam)
        return mixer(lambda b: model(**b.inputs), Batch(batch, None), pairing, 0, "no").logits

    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, alone, atol=1e-5, rtol=0)
        mixed(every, every.flip(0), torch.full((len(texts),), 0.3))  # leaves nothing behind
        torch.testing.assert_close(mixed(every, every.flip(0), torch.ones(len(texts))), alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(mixed(every.flip(0), every, torch.zeros(len(texts))), alone, atol=1e-5, rtol=0)
    mixer.close()


@pytest.mark.parametrize("side", ["left", "right"])
@decoder
def test_a_text_without_tokens_is_no_crash(checkpoints: dict[str, Path], family: str, side: str) -> None:
    model, tokenizer = models.load(str(checkpoints[family]), CLASSES)
    model.eval()
    tokenizer.padding_side = side
    text = encoder(model, tokenizer)
    assert tokenizer("")["input_ids"] == []
    with torch.no_grad():
        alone = model(**text.collate(text.encode([{"text": ""}]))).logits
        together = model(**text.collate(text.encode([{"text": t} for t in ("", TEXTS[0], "")]))).logits
    assert alone.isfinite().all() and together.isfinite().all()
    if side == "right":  # padded left, transformers reads it at a position of padding
        torch.testing.assert_close(together[[0, 2]], alone.expand(2, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(together[1:2], one_by_one(model, tokenizer, TEXTS[:1]), atol=1e-5, rtol=0)


def test_a_tokenizer_without_any_special_token_gets_a_pad_token(tmp_path: Path) -> None:
    tokenizer = bytelevel()
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=4, n_positions=64, bos_token_id=None, eos_token_id=None
    )
    transformers.GPT2Model(config).save_pretrained(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "bare")
    model, known = models.load(str(tmp_path / "bare"), CLASSES)
    assert known.pad_token == "[PAD]" and model.config.pad_token_id == known.pad_token_id == len(tokenizer)
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) + 1
    models.save(model, known, tmp_path / "saved")
    saved, saved_tokenizer = plain(tmp_path / "saved")
    assert saved.config.pad_token_id == saved_tokenizer.pad_token_id == len(tokenizer)
    padded = saved_tokenizer(TEXTS[:9], padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(saved(**padded).logits, one_by_one(saved, saved_tokenizer, TEXTS[:9]))


def test_embeddings_to_spare_are_not_cut_off(tmp_path: Path) -> None:
    """Published checkpoints have more rows of embeddings than tokens; a new pad token takes one of those."""
    tokenizer = bytelevel()
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer) + 30, n_embd=32, n_layer=1, n_head=4, bos_token_id=None, eos_token_id=None
    )
    transformers.GPT2Model(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, _ = models.load(str(tmp_path), CLASSES)
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) + 30


# Lengths


@family
def test_as_many_tokens_as_the_model_has_positions(checkpoints: dict[str, Path], family: str) -> None:
    model, tokenizer = models.load(str(checkpoints[family]), CLASSES)
    assert models.max_tokens(model, tokenizer, 16) == 16
    tokenizer.model_max_length = int(1e30)  # what tokenizers say that do not know
    assert models.max_tokens(model, tokenizer, 512) == 64
    long = encoder(model, tokenizer).encode([{"text": " ".join(sentences(60))}])
    batch = Classification(encoder(model, tokenizer)).encoder.collate(long)
    assert batch["input_ids"].shape == (1, 64)
    assert torch.isfinite(model(**batch).logits).all()


def test_positions_that_start_after_the_pad_token(tmp_path: Path) -> None:
    """RoBERTa and its kin (MPNet too) number positions from pad + 1: of 66 rows a text can use 64."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    tokenizer = wordpiece(pad=1, segments=False, length=int(1e30))
    shared = {"vocab_size": len(tokenizer), "pad_token_id": 1, "max_position_embeddings": 66, **sizes}
    for config in (
        transformers.XLMRobertaConfig(**shared),
        transformers.CamembertConfig(**shared),
        transformers.MPNetConfig(**shared),
    ):
        model = transformers.AutoModelForSequenceClassification.from_config(config)
        length = models.max_tokens(model, tokenizer, 512)
        assert length == 64, config.model_type
        model(input_ids=torch.full((1, length), 20))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, length + 1), 20))


def test_pad_on_either_side() -> None:
    inputs = [{"input_ids": np.array([5, 6, 7]), "token_type_ids": np.array([0, 0, 1])}, {"input_ids": np.array([8])}]
    inputs[1]["token_type_ids"] = np.array([1])
    right = pad(inputs, {"input_ids": 9}, "right", positions=True)
    assert {name: tensor.tolist() for name, tensor in right.items()} == {
        "input_ids": [[5, 6, 7], [8, 9, 9]],
        "token_type_ids": [[0, 0, 1], [1, 0, 0]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
    }
    left = pad(inputs, {"input_ids": 9, "token_type_ids": 3}, "left", positions=True)
    assert {name: tensor.tolist() for name, tensor in left.items()} == {
        "input_ids": [[5, 6, 7], [9, 9, 8]],
        "token_type_ids": [[0, 0, 1], [3, 3, 1]],
        "attention_mask": [[1, 1, 1], [0, 0, 1]],
        "position_ids": [[0, 1, 2], [0, 0, 0]],
    }
    assert "position_ids" not in pad(inputs, {}, "left")


def test_pairs_are_encoded_as_the_tokenizer_does(checkpoints: dict[str, Path]) -> None:
    model, tokenizer = models.load(str(checkpoints["bert"]), CLASSES)
    pairs = [{"premise": a, "hypothesis": b} for a, b in zip(TEXTS[:8], TEXTS[8:16], strict=True)]
    text = encoder(model, tokenizer, ["premise", "hypothesis"])
    expected = tokenizer(TEXTS[:8], TEXTS[8:16], padding=True, return_tensors="pt")
    found = text.collate(text.encode(pairs))
    assert set(found) == set(expected) and expected["token_type_ids"].sum() > 0
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


# tiny: built here from the training texts


def test_tiny_is_the_same_model_every_time() -> None:
    texts = sentences(300, seed=2)
    (one, tokens), (two, again) = (models.load("tiny", CLASSES, texts, seed=1, max_length=32) for _ in range(2))
    assert tokens.get_vocab() == again.get_vocab()
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert tokens.convert_ids_to_tokens([0, 1, 2, 3, 4]) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_tiny_reads_its_texts_and_is_saved(tmp_path: Path) -> None:
    texts = [*sentences(100), "Überraschung! don't ##a [SEP]", "漢字 and 🙂"]
    model, tokenizer = models.load(Model(name="tiny", dropout=0.0), CLASSES, texts, max_length=24)
    assert tokenizer.unk_token_id not in [i for text in texts for i in tokenizer(text)["input_ids"]]
    assert tokenizer.tokenize("Rain RAIN rain") == ["rain"] * 3
    assert tokenizer.tokenize("##a") == ["#", "#", "a"]  # pieces of words are not words
    assert models.dropout_of(model) == 0 and models.max_tokens(model, tokenizer, 256) == 24
    models.save(model, tokenizer, tmp_path)
    saved, saved_tokenizer = plain(tmp_path)
    texts = [text for text in texts if len(tokenizer(text)["input_ids"]) <= 24]
    data = examples(texts, [0] * len(texts), CLASSES)
    np.testing.assert_allclose(
        outcomes(model, tokenizer, data)["logits"], one_by_one(saved, saved_tokenizer, texts), atol=1e-5
    )


# Errors


def test_a_model_of_the_hub_without_a_network_is_one_clear_error() -> None:
    for name in ("nobody/no-such-model", "no-such-model", "not a name at all!"):
        with pytest.raises(InputError) as error:
            models.load(name, CLASSES)
        assert name in str(error.value) and "minilm" in str(error.value) and "tiny" in str(error.value)
        assert len(str(error.value).splitlines()) == 1


def broken(path: Path, kind: str) -> Path:
    if kind == "empty":
        path.mkdir()
        return path
    with models.quiet():
        checkpoint("bert", path)
    config = json.loads((path / "config.json").read_text())
    weights = path / "model.safetensors"
    match kind:
        case "no weights":
            weights.unlink()
        case "cut weights":
            weights.write_bytes(weights.read_bytes()[:200])
        case "broken config":
            (path / "config.json").write_text("{")
        case "unknown architecture":
            (path / "config.json").write_text(json.dumps({**config, "model_type": "of-the-future"}))
        case "no text model":
            transformers.ViTConfig().save_pretrained(path)
        case "no tokenizer":
            for name in ("tokenizer.json", "tokenizer_config.json"):
                (path / name).unlink()
        case "broken tokenizer":
            (path / "tokenizer.json").write_text('{"version": 3')
        case "wrong sizes":
            (path / "config.json").write_text(json.dumps({**config, "num_attention_heads": 5}))
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "empty",
        "no weights",
        "cut weights",
        "broken config",
        "unknown architecture",
        "no text model",
        "no tokenizer",
        "broken tokenizer",
        "wrong sizes",
    ],
)
def test_a_directory_that_is_no_model_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    path = broken(tmp_path / "model", kind)
    with pytest.raises(InputError, match="cannot be loaded as a Hugging Face model") as error:
        models.load(str(path), CLASSES)
    assert str(path) in str(error.value) and len(str(error.value).splitlines()) == 1


def test_classes_of_a_saved_model(tmp_path: Path) -> None:
    model, tokenizer = models.load("tiny", CLASSES, TEXTS, max_length=32)
    models.save(model, tokenizer, tmp_path / "three")
    assert models.classes_of(tmp_path / "three") == CLASSES
    model, tokenizer = models.load("tiny", (), TEXTS, max_length=32)
    models.save(model, tokenizer, tmp_path / "number")
    assert models.classes_of(tmp_path / "number") == ()
    with pytest.raises(InputError, match="cannot be loaded"):
        models.classes_of(tmp_path)


def test_quiet_puts_the_settings_back() -> None:
    before = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    with pytest.raises(KeyError), models.quiet():
        assert not transformers.logging.is_progress_bar_enabled()
        raise KeyError
    assert (transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()) == before


# Precision


@pytest.mark.parametrize(
    ("avx512", "amx", "chosen"), [(True, False, "bf16"), (False, True, "bf16"), (False, False, "fp32")]
)
def test_precision_of_a_processor(monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, chosen: str) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert models.precision("auto", CPU) == chosen
    assert [models.precision(asked, CPU) for asked in ("bf16", "fp16", "fp32")] == ["bf16", "fp16", "fp32"]


@pytest.mark.parametrize(("capability", "chosen"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_precision_of_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert models.precision("auto", torch.device("cuda")) == chosen
    assert models.precision("fp32", torch.device("cuda")) == "fp32"


# A regression answers in the unit of its labels


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_a_regression_is_saved_in_the_unit_of_its_labels(
    checkpoints: dict[str, Path], tmp_path: Path, family: str
) -> None:
    model, tokenizer = models.load(Model(name=str(checkpoints[family]), dropout=0.0), ())
    values = 1000 + 40 * np.random.default_rng(0).normal(size=len(TEXTS))
    mean, std = models.scale_of(model, values)
    has_bias = family != "gpt2"
    assert mean == pytest.approx(values.mean() if has_bias else 0.0)
    assert std == pytest.approx(values.std() if has_bias else np.sqrt((values**2).mean()))
    task = Regression(encoder(model, tokenizer), mean, std)
    encoded = task.encode(DATA.table.to_dicts())
    before = predict(model, task, encoded, values, CPU)
    assert set(before) == {"loss", "gold_logprob", "margin", "entropy", "correct", "prediction"}
    np.testing.assert_allclose(before["loss"], (before["prediction"] - values) ** 2, rtol=1e-4)
    assert np.isnan(before["gold_logprob"]).all() and (before["correct"] == -1).all()
    models.fold_scale(model, mean, std)
    models.save(model, tokenizer, tmp_path)
    saved, saved_tokenizer = plain(tmp_path)
    assert saved.config.problem_type == "regression"
    alone = one_by_one(saved, saved_tokenizer, TEXTS)[:, 0]
    np.testing.assert_allclose(before["prediction"], alone, rtol=1e-5, atol=1e-3)
    assert before["prediction"].std() > 0


def test_labels_that_are_all_alike_have_scale_one(checkpoints: dict[str, Path]) -> None:
    model, _ = models.load(str(checkpoints["bert"]), ())
    assert models.scale_of(model, np.full(5, 7.0)) == (7.0, 1.0)


# The evaluation pass


def test_predict_keeps_the_order_of_the_rows_and_the_mode_of_the_model(checkpoints: dict[str, Path]) -> None:
    model, tokenizer = models.load(str(checkpoints["bert"]), CLASSES)
    task = Classification(encoder(model, tokenizer))
    encoded, targets = task.encode(DATA.table.to_dicts()), DATA.targets
    model.train()
    found = predict(model, task, encoded, targets, CPU)
    assert model.training
    model.eval()
    for tokens in (1, 60):
        again = predict(model, task, encoded, targets, CPU, tokens=tokens)
        for name, array in found.items():
            np.testing.assert_allclose(again[name], array, atol=1e-5, err_msg=name)
    assert not model.training
    order = np.random.default_rng(0).permutation(len(encoded))
    shuffled = predict(model, task, [encoded[i] for i in order], targets[order], CPU)
    np.testing.assert_allclose(shuffled["logits"], found["logits"][order], atol=1e-5)
    np.testing.assert_allclose(found["logits"], one_by_one(model, tokenizer, TEXTS), atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 50, 8192])
def test_batches_of_the_evaluation_pass(tokens: int) -> None:
    lengths = np.random.default_rng(1).integers(1, 40, 300)
    pieces = batches(lengths, tokens)
    assert sorted(np.concatenate(pieces).tolist()) == list(range(300))
    assert all(len(rows) == 1 or lengths[rows].max() * len(rows) <= tokens for rows in pieces)
    assert batches(np.array([], dtype=int), tokens) == []


def test_a_model_without_a_head_of_its_own_is_refused_for_mixing() -> None:
    with pytest.raises(InputError, match="no separate head"):
        SentenceMix(nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("device", "precision", "installed", "supported", "chosen"),
    [
        ("cuda", "bf16", True, True, ["flash_attention_2"]),
        ("cuda", "fp32", True, True, []),
        ("cpu", "bf16", True, True, []),
        ("cuda", "bf16", False, True, []),
        ("cuda", "fp16", True, False, []),
    ],
)
def test_flash_attention_only_where_everything_has_it(monkeypatch, device, precision, installed, supported, chosen):
    class Model:
        _supports_flash_attn = supported
        asked: list[str] = []

        def set_attn_implementation(self, name):
            self.asked.append(name)

    Model.asked = []
    monkeypatch.setattr(models, "is_flash_attn_2_available", lambda: installed)
    assert models.flash(Model(), torch.device(device), precision) is bool(chosen) and Model.asked == chosen
