"""BERTScore (Zhang et al. 2020): greedy matching of words by the states of a language encoder.

The package bert-score 0.3.13 fails on empty captions with transformers 5, and treats any folder
with "t5" in its path as a T5 model. The computation is therefore repeated here, without idf and
rescaling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from llm4brain.errors import UserError
from llm4brain.io import read_json
from llm4brain.sources import checked
from llm4brain.tensors import loading

# Layers that agreed best with human ratings in the original, by model_type and depth, for base
# models. Models fine-tuned for a task have other layers (roberta-large-mnli: 19).
LAYERS = {
    ("bert", 12): 9, ("bert", 24): 18, ("roberta", 12): 10, ("roberta", 24): 17,
    ("distilbert", 6): 5,
}  # fmt: skip
PREFIXED = ("roberta", "gpt2")  # byte-level BPE: tokenise the first word like the others
LONGEST = 512  # tokens, if the model gives no limit

# sentences -> for each (unit rows of its tokens, weights; 0 for special tokens at its ends)
States = Callable[[Sequence[str]], list[tuple[np.ndarray, np.ndarray]]]


def token_states(folder: str | Path, layer: int | None = None, batch: int = 64) -> States:
    """A function from sentences to the states of one layer of an encoder; always on the CPU.

    Args:
        folder: of a Hugging Face encoder with its tokenizer.
        layer: 1 is the output of the first block; None: the layer used by the original.

    Raises:
        UserError: there is no encoder, the layer does not exist, or no default is known.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    config = read_json(checked(Path(folder)) / "config.json")
    kind, depth = config.get("model_type"), config.get("num_hidden_layers", config.get("n_layers"))
    tuned = any("ForSequenceClassification" in name for name in config.get("architectures") or ())
    if layer is None and (layer := None if tuned else LAYERS.get((kind, depth))) is None:
        wrong = f"is a {kind} of {depth} layers, of which bert-score names none to read"
        raise UserError(folder, wrong, "set evaluate.bertscore_layer (--bertscore-layer)")
    if depth is None or layer > depth:
        raise UserError(folder, f"has {depth} layers, not {layer}", "lower bertscore_layer")
    logging.disable_progress_bar()
    how = {"local_files_only": True, "trust_remote_code": False}  # else it may ask on the terminal
    with loading(folder, "holds no encoder", "name another model"):
        tokenizer = AutoTokenizer.from_pretrained(folder, **how)
        model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **how)
    model.eval()
    frame = [tokenizer.cls_token_id, tokenizer.sep_token_id]
    room = config.get("max_position_embeddings", LONGEST)
    if kind == "roberta":
        room -= 2  # positions start after the padding id
    longest = min(tokenizer.model_max_length, room)  # some tokenizers report 1e30
    lead = " " if kind in PREFIXED else ""

    @torch.inference_mode()
    def encode(sentences: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for begin in range(0, len(sentences), batch):
            texts = [lead + text.strip() for text in sentences[begin : begin + batch]]
            given = tokenizer(
                texts, padding=True, truncation=True, max_length=longest, return_tensors="pt"
            )
            shown = {k: given[k] for k in ("input_ids", "attention_mask")}
            states = model(**shown, output_hidden_states=True).hidden_states[layer]
            parts = (shown["input_ids"], shown["attention_mask"], states)
            for ids, mask, own in zip(*(part.numpy() for part in parts), strict=True):
                there = mask.astype(bool)
                rows = own[there].astype(np.float64)
                rows /= np.linalg.norm(rows, axis=1, keepdims=True)
                found.append((rows, (~np.isin(ids[there], frame)).astype(float)))
        return found

    return encode


def pair_score(said: tuple[np.ndarray, np.ndarray], truth: tuple[np.ndarray, np.ndarray]) -> float:
    """F1 of one caption and one reference: each token is matched to the most similar one.

    The special tokens at the ends of a sentence have weight 0 but may be matched, as in the
    original. The result is 0 if either sentence has no other tokens.
    """
    if not (said[1].any() and truth[1].any()):
        return 0.0
    alike = said[0] @ truth[0].T  # (tokens of the caption, tokens of the reference)
    precision = np.average(alike.max(axis=1), weights=said[1])
    recall = np.average(alike.max(axis=0), weights=truth[1])
    return float(2 * precision * recall / (precision + recall))


def bertscore(
    systems: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[Sequence[str]]],
    states: States,
) -> dict[str, np.ndarray]:
    """F1 against the best reference of each clip, 0-100.

    Args:
        systems: name -> a caption for each clip; an empty one gets 0.
        references: name -> one or more captions for each clip.
        states: see `token_states`; called with each distinct sentence once, in sorted order, so
            that results are reproducible bit for bit.

    Returns:
        Name -> shape (clips,).
    """
    every = {c for captions in systems.values() for c in captions}
    every |= {c for name in systems for clip in references[name] for c in clip}
    distinct = sorted(every)
    encoded = dict(zip(distinct, states(distinct), strict=True))
    known: dict[tuple[str, str], float] = {}

    def best(caption: str, clip: Sequence[str]) -> float:
        for reference in clip:
            if (caption, reference) not in known:
                known[caption, reference] = pair_score(encoded[caption], encoded[reference])
        return max(known[caption, reference] for reference in clip)

    return {
        name: 100
        * np.array([best(c, clip) for c, clip in zip(captions, references[name], strict=True)])
        for name, captions in systems.items()
    }
