"""Tiny random checkpoints, written as the real ones are."""

from pathlib import Path

import torch

TEXT = "describe the video a dog cat girl is running jumping on beach moon in red blue ."
WORDS = TEXT.split(" ")
CHAT = (
    "{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant {% endif %}"
)


def tokenizer(chat: bool):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<unk>"]
    names = [*special, "user", "assistant", *WORDS]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    if chat:
        made.chat_template = CHAT
    return made


def text_config(kind: str, size: int):
    from transformers import LlamaConfig, OPTConfig

    shared = {
        "vocab_size": size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if kind == "opt":
        return OPTConfig(ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=128, **shared)
    return LlamaConfig(
        intermediate_size=64, num_key_value_heads=1, tie_word_embeddings=True, **shared
    )


def llm(folder: Path, kind: str = "llama") -> Path:
    """A causal LLM with its tokenizer."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    words = tokenizer(chat=kind == "llama")
    model = AutoModelForCausalLM.from_config(text_config(kind, len(words)))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def blip2(folder: Path, kind: str) -> Path:
    """A `Blip2ForConditionalGeneration` with its processor."""
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        BlipImageProcessor,
    )

    torch.manual_seed(0)
    words = tokenizer(chat=kind == "llama")
    processor = Blip2Processor(BlipImageProcessor(size={"height": 16, "width": 16}), words, 2)
    shape = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            image_size=16, patch_size=8, initializer_range=0.1, **shape
        ),
        qformer_config=Blip2QFormerConfig(initializer_range=0.1, **shape),
        text_config=text_config(kind, len(words)),
        num_query_tokens=2,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    model = Blip2ForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def bert(folder: Path) -> Path:
    """A BERT encoder of two layers with a WordPiece tokenizer."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS), "##s", "##ning"]
    vocab = folder / "vocab.txt"
    vocab.write_text("\n".join(names) + "\n")
    BertTokenizerFast(vocab={n: i for i, n in enumerate(names)}).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(names), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=32, initializer_range=0.3,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def sentence(folder: Path) -> Path:
    """A sentence-transformers model: that BERT, and the mean over its tokens."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    words = Transformer(str(bert(folder)))
    mean = Pooling(words.get_word_embedding_dimension(), "mean")
    made = SentenceTransformer(modules=[words, mean], device="cpu")
    made.save(str(folder), create_model_card=False)
    return folder


def clip(folder: Path) -> Path:
    """A `CLIPModel` with its tokenizer and image processor."""
    from tokenizers.processors import TemplateProcessing
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(0)
    words = tokenizer(chat=False)
    # CLIP reads a text at its end token
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "initializer_range": 0.3}
    config = CLIPConfig(
        text_config={
            "vocab_size": len(words), "max_position_embeddings": 24, "eos_token_id": 2, **shape
        },
        vision_config={"image_size": 16, "patch_size": 8, **shape},
        projection_dim=8,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    size = {"height": 16, "width": 16}
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=size).save_pretrained(folder)
    return folder
