"""The trained default: a small BLIP-2 that learns from films and their captions alone.

Two stages, as in BLIP-2 (Li et al. 2023, arXiv 2301.12597). First ViT and Q-Former learn which
caption goes with which clip and which words it holds; then Q-Former and projection learn to be
read by a frozen LLM.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm4brain.config import VideoLLMSettings
from llm4brain.training import seed_everything
from llm4brain.video.videollm import VideoLLM

COMMON = 8  # a word in fewer clips than this is not predicted


def build(llm: Path, settings: VideoLLMSettings, seed: int) -> VideoLLM:
    """A VideoLLM with a new ViT and Q-Former around the frozen LLM of the folder `llm`."""
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        BlipImageProcessor,
    )

    seed_everything(seed, "video_llm")
    size = {"height": settings.image_size, "width": settings.image_size}
    # The processor adds the `<image>` token that BLIP-2's own forward looks for.
    processor = Blip2Processor(
        BlipImageProcessor(size=size), AutoTokenizer.from_pretrained(llm), settings.queries
    )
    language_model = AutoModelForCausalLM.from_pretrained(llm)
    _make_room(language_model, len(processor.tokenizer))
    shape = {
        "hidden_size": settings.width,
        "intermediate_size": 4 * settings.width,
        "num_attention_heads": max(1, settings.width // 32),
        "initializer_range": 0.02,
    }
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            num_hidden_layers=settings.vit_layers,
            image_size=settings.image_size,
            patch_size=settings.patch,
            **shape,
        ),
        qformer_config=Blip2QFormerConfig(
            num_hidden_layers=settings.qformer_layers,
            hidden_dropout_prob=0.0,  # z_v is a regression target: no noise in it
            attention_probs_dropout_prob=0.0,
            **shape,
        ),
        text_config=language_model.config,
        num_query_tokens=settings.queries,
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = Blip2ForConditionalGeneration(config)
    model.language_model = language_model.requires_grad_(False)
    # BLIP-2 starts its queries at zero, where they are all alike and stay so.
    nn.init.normal_(model.query_tokens, std=0.02)
    whole = VideoLLM(model, processor.tokenizer, processor.image_processor, settings.prompt)
    whole.processor = processor
    return whole


def _make_room(language_model, tokens: int) -> None:
    """Add embedding rows for new tokens: the mean of the old rows, so that none is ever likely."""
    old = language_model.get_input_embeddings().weight
    if tokens > len(old):
        mean, before = old.detach().float().mean(0), len(old)
        language_model.resize_token_embeddings(tokens, pad_to_multiple_of=64, mean_resizing=False)
        for layer in (
            language_model.get_input_embeddings(),
            language_model.get_output_embeddings(),
        ):
            with torch.no_grad():
                layer.weight[before:] = mean.to(layer.weight.dtype)


class Words:
    """The words of captions: which are common, and which share of a clip's captions holds each.

    >>> Words([["A dog runs."], ["A cat runs."]], least=1).names
    ['a', 'cat', 'dog', 'runs']
    """

    def __init__(self, captions: list[list[str]], least: int = COMMON) -> None:
        counts = Counter(w for texts in captions for w in {w for t in texts for w in _words(t)})
        self.names = sorted(w for w, n in counts.items() if n >= least)

    def shares(self, captions: list[list[str]]) -> Tensor:
        """(clips, words): the share of each clip's captions in which each word occurs."""
        column = {w: i for i, w in enumerate(self.names)}
        out = np.zeros((len(captions), len(column)), dtype=np.float32)
        for i, texts in enumerate(captions):
            for text in texts:
                found = [column[w] for w in set(_words(text)) if w in column]
                out[i, found] += 1 / len(texts)
        return torch.from_numpy(out)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


class Contrast(nn.Module):
    """Stage 1: image-text contrast, and the words that captions of the clip hold.

    The text side is cheap: the mean of the frozen LLM's input embeddings of a caption's tokens,
    through one linear layer. Captions alone teach; no label of any kind.
    """

    def __init__(self, video: VideoLLM, words: int, width: int = 64) -> None:
        super().__init__()
        model = video.model
        q, d = model.config.qformer_config.hidden_size, model.config.text_config.hidden_size
        self.vision_model, self.qformer = model.vision_model, model.qformer
        self.query_tokens = model.query_tokens
        self.image = nn.Linear(q, width)
        self.text = nn.Linear(d, width)
        self.words = nn.Linear(q, words)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("prior", torch.zeros(words), persistent=False)

    def forward(self, pixels: Tensor, text: Tensor, shares: Tensor) -> dict[str, Tensor]:
        """Losses.

        Args:
            pixels: (b, t, 3, h, w)
            text: (b, d), mean embedding of one caption a clip
            shares: (b, words), see `Words`
        """
        b, t = pixels.shape[:2]
        tokens = self.vision_model(pixel_values=pixels.flatten(0, 1)).last_hidden_state
        queries = self.qformer(
            query_embeds=self.query_tokens.expand(b * t, -1, -1), encoder_hidden_states=tokens
        ).last_hidden_state
        pooled = queries.reshape(b, -1, queries.shape[-1]).mean(1).float()
        image, text = F.normalize(self.image(pooled), dim=-1), F.normalize(self.text(text), dim=-1)
        similar = self.scale.exp() * image @ text.T
        # Clips whose captions hold the same words are no negatives of each other.
        same = F.normalize(shares, dim=-1) @ F.normalize(shares, dim=-1).T > 0.999
        similar = similar.masked_fill(
            same & ~torch.eye(b, dtype=torch.bool, device=same.device), -1e4
        )
        rows = torch.arange(b, device=similar.device)
        contrast = (F.cross_entropy(similar, rows) + F.cross_entropy(similar.T, rows)) / 2
        words = F.binary_cross_entropy_with_logits(self.words(pooled), shares) * shares.shape[1]
        return {"loss": contrast + words, "contrast_loss": contrast, "words_loss": words}


class Reading(nn.Module):
    """Stage 2: what a frozen LLM needs to read; ViT and LLM are outside of it."""

    def __init__(self, video: VideoLLM) -> None:
        super().__init__()
        self.qformer, self.query_tokens = video.model.qformer, video.model.query_tokens
        self.language_projection = video.model.language_projection


def caption_loss(video: VideoLLM, vit_tokens: Tensor, captions: list[str]) -> Tensor:
    """Mean next-token loss on captions and end tokens."""
    logits, labels = video.answer(video.video_tokens(vit_tokens), captions)
    return F.cross_entropy(logits.float(), labels)
