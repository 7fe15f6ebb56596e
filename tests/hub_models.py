"""Tiny random checkpoints laid out as those of the hub: shards, tokenizers, token ids, traps."""

import json
from pathlib import Path

import torch
from tiny_models import TEXT

SENTENCES = [TEXT, "a dog is running on the beach.", "the girl is jumping in red\n"]
SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 2, "initializer_range": 0.1}
VISION = {"image_size": 16, "patch_size": 8, **SHAPE}
QUERIES = 2
SHARD = "20KB"


def _wrap(inner, special: dict[str, str], before: str):
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    ids = [(before, inner.token_to_id(before))]
    inner.post_processor = TemplateProcessing(single=f"{before} $A", special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def opt_tokenizer():
    """Byte-level BPE as OPT's: `</s>` begins and would end a text, and a newline is one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    inner.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=[*names, "<image>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    special = {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "</s>"}
    return _wrap(inner, special, "</s>")


def vicuna_tokenizer():
    """BPE with Llama's space before a text; InstructBLIP made `</s>` its first token too."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    names = ["<unk>", "<s>", "</s>"]
    inner.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=90, special_tokens=[*names, "[PAD]", "<video>"])
    )
    special = {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "[PAD]", "unk_token": "</s>"}
    return _wrap(inner, special, "</s>")


def text_config(kind: str, size: int, **ids: int):
    from transformers import LlamaConfig, OPTConfig

    shared = {"vocab_size": size, "hidden_size": 32, "num_hidden_layers": 2, **ids}
    shared |= {"num_attention_heads": 2}
    if kind == "opt":
        return OPTConfig(
            ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=128, init_std=0.3, **shared
        )
    return LlamaConfig(intermediate_size=64, initializer_range=0.3, **shared)


def _finish(model, folder: Path, tokenizer, dtype: torch.dtype) -> Path:
    from transformers import BlipImageProcessor

    torch.nn.init.normal_(model.query_tokens)
    torch.nn.init.normal_(model.language_projection.weight, std=0.5)  # else all clips read alike
    model.to(dtype).save_pretrained(folder, max_shard_size=SHARD)
    tokenizer.save_pretrained(folder)
    BlipImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def blip2_opt(folder: Path) -> Path:
    """As Salesforce/blip2-opt-2.7b: half precision, shards, OPT that ends at a newline."""
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2QFormerConfig,
        Blip2VisionConfig,
    )

    torch.manual_seed(0)
    words = opt_tokenizer()
    (newline,) = words("\n", add_special_tokens=False)["input_ids"]
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**VISION),
        qformer_config=Blip2QFormerConfig(**SHAPE),
        text_config=text_config(
            "opt", len(words), bos_token_id=2, eos_token_id=newline, pad_token_id=1
        ),
        num_query_tokens=QUERIES,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    return _finish(Blip2ForConditionalGeneration(config), folder, words, torch.float16)


def instructblip_vicuna(folder: Path) -> Path:
    """As Salesforce/instructblip-vicuna-7b: a configuration for pictures, that names wrong ids."""
    from transformers import (
        BertTokenizerFast,
        InstructBlipVideoConfig,
        InstructBlipVideoForConditionalGeneration,
    )

    torch.manual_seed(0)
    words = vicuna_tokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(TEXT.split())]
    config = InstructBlipVideoConfig(
        vision_config=VISION,
        qformer_config={"vocab_size": len(names), **SHAPE},
        text_config=text_config(
            "llama", len(words), bos_token_id=0, eos_token_id=1, pad_token_id=3
        ).to_dict(),
        num_query_tokens=QUERIES,
        video_token_index=words.convert_tokens_to_ids("<video>"),
    )
    model = InstructBlipVideoForConditionalGeneration(config)
    _finish(model, folder, words, torch.bfloat16)
    BertTokenizerFast(vocab={n: i for i, n in enumerate(names)}).save_pretrained(
        folder / "qformer_tokenizer"
    )
    kept = json.loads((folder / "config.json").read_text())
    kept["model_type"], kept["image_token_index"] = "instructblip", kept.pop("video_token_index")
    kept["architectures"] = ["InstructBlipForConditionalGeneration"]
    for part in ("vision", "qformer"):
        own = kept[f"{part}_config"]
        own["model_type"] = own["model_type"].replace("instructblipvideo", "instructblip")
    (folder / "config.json").write_text(json.dumps(kept))
    return folder
