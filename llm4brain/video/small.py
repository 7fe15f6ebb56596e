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
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from llm4brain.sections import VideoLLMSettings
from llm4brain.sources import checked
from llm4brain.training import seed_everything
from llm4brain.video.videollm import VideoLLM

EMBED_WEIGHT = 5.0
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
    # By itself it would come as it was saved, in bf16, which many a CPU multiplies by emulation
    # alone, twenty times as slow; where steps are taken in bf16, `Reading.lower` sees to it.
    language_model = AutoModelForCausalLM.from_pretrained(checked(llm), dtype=torch.float32)
    _make_room(language_model, len(processor.tokenizer))
    shape = {
        "hidden_size": settings.width,
        "intermediate_size": 4 * settings.width,
        "num_attention_heads": max(1, settings.width // 32),
        "initializer_range": settings.width**-0.5,  # BERT's 0.02 is for width 768: far too still
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
    # BLIP-2 starts its queries at zero, where they are all alike and stay so; and positions that
    # stand out from the start let a ViT of so few films find its way in minutes.
    nn.init.normal_(model.query_tokens, std=0.02)
    nn.init.normal_(model.vision_model.embeddings.position_embedding, std=0.5)
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


def embedded(video: VideoLLM, captions: list[list[str]], train: np.ndarray) -> Tensor:
    """What each query should look like to the LLM: a blend of the words that captions hold.

    A caption's tokens are cut into as many consecutive parts as there are queries, so that the
    queries share the sentence among them. A part is the sum of its tokens' input embeddings,
    rarer tokens weighing more (inverse document frequency over train clips), at the length that
    the LLM's own embeddings have, averaged over a clip's captions.

    Returns:
        (clips, queries, d)
    """
    queries = video.model.config.num_query_tokens
    table = video.embeddings.weight.detach().float().cpu()
    mean = table.mean(0)
    length = (table - mean).norm(dim=-1).mean()
    ids = [[video.answer_ids([text])[0][0, :-1].cpu() for text in texts] for texts in captions]
    seen = torch.zeros(len(table))
    for i in train:
        seen[torch.cat(ids[i]).unique()] += 1
    rare = torch.log(len(train) / seen.clamp(min=1))

    def blend(tokens: Tensor) -> Tensor:
        return ((table[tokens] - mean) * rare[tokens, None]).sum(0)

    out = torch.stack(
        [
            torch.stack(
                [torch.stack([blend(p) for p in row.tensor_split(queries)]) for row in rows]
            ).mean(0)
            for rows in ids
        ]
    )
    apart = out - out[train].mean(0)  # what all clips share says nothing
    return mean + apart * length / apart[train].norm(dim=-1).mean()


class Contrast(nn.Module):
    """Stage 1: image-text contrast, the words of captions, and their place in the LLM's space.

    The text side is cheap: the mean of the frozen LLM's input embeddings of a caption's tokens,
    through one linear layer. The projection learns to send each query to a blend of word
    embeddings (`embedded`), so that the LLM can almost read it before stage 2 begins. Captions
    alone teach; no label of any kind.
    """

    def __init__(self, video: VideoLLM, words: int, width: int = 64) -> None:
        super().__init__()
        model = video.model
        q, d = model.config.qformer_config.hidden_size, model.config.text_config.hidden_size
        self.vision_model, self.qformer = model.vision_model, model.qformer
        self.query_tokens = model.query_tokens
        self.language_projection = model.language_projection
        self.image = nn.Linear(q, width)
        self.text = nn.Linear(d, width)
        self.words = nn.Linear(q, words)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(
        self, pixels: Tensor, text: Tensor, shares: Tensor, blends: Tensor
    ) -> dict[str, Tensor]:
        """Losses.

        Args:
            pixels: (b, 3, h, w), one frame a clip
            text: (b, d), mean embedding of one caption a clip
            shares: (b, words), see `Words`
            blends: (b, queries, d), see `embedded`
        """
        tokens = self.vision_model(pixel_values=pixels).last_hidden_state
        queries = self.qformer(
            query_embeds=self.query_tokens.expand(len(pixels), -1, -1),
            encoder_hidden_states=tokens,
        ).last_hidden_state
        pooled = queries.mean(1).float()
        image, text = F.normalize(self.image(pooled), dim=-1), F.normalize(self.text(text), dim=-1)
        similar = self.scale.exp() * (image @ text.T).float()
        # Clips whose captions hold the same words are no negatives of each other.
        alike = F.normalize(shares, dim=-1) @ F.normalize(shares, dim=-1).T > 0.999
        similar = similar.masked_fill(alike.fill_diagonal_(False), -1e4)
        rows = torch.arange(len(pixels), device=similar.device)
        losses = {
            "contrast_loss": (F.cross_entropy(similar, rows) + F.cross_entropy(similar.T, rows))
            / 2,
            "words_loss": F.binary_cross_entropy_with_logits(self.words(pooled).float(), shares)
            * shares.shape[1],
            # 1 where the projection knows nothing
            "embed_loss": F.mse_loss(self.language_projection(queries).float(), blends)
            / blends.var(dim=0).mean(),
        }
        weights = {"contrast_loss": 1.0, "words_loss": 1.0, "embed_loss": EMBED_WEIGHT}
        return {"loss": sum(weights[k] * v for k, v in losses.items())} | losses


class Reading(nn.Module):
    """Stage 2: projection and LoRA in the LLM. ViT and Q-Former are as stage 1 left them.

    With the LLM frozen, a few thousand captions hardly teach it to read tokens that are no words
    (validation loss 1.84 nats a token after 165 steps); with LoRA it reads them after a hundred
    (0.66). `merge` folds LoRA into the LLM: what is saved is an ordinary checkpoint.
    """

    def __init__(self, video: VideoLLM, rank: int = 16, alpha: float = 64.0) -> None:
        super().__init__()
        self._video = [video]  # in a list: what is not trained is not this module's
        base = video.model.language_model
        self._full = [(p, p.data) for p in base.parameters()]
        config = LoraConfig(
            r=rank, lora_alpha=alpha, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
        )
        self.lora = get_peft_model(base, config)
        video.model.language_model = self.lora
        self.language_projection = video.model.language_projection.requires_grad_(True)

    def lower(self, dtype: torch.dtype) -> None:
        """Bring the frozen weights to the precision that the steps multiply in, once."""
        for p, data in self._full:
            p.data = data.to(p.device, dtype)

    def merge(self) -> None:
        """Fold LoRA into the LLM's weights, in full precision: bf16 would round much of it away."""
        for p, data in self._full:
            p.data = data.to(p.device, torch.float32)
        self._video[0].model.language_model = self.lora.merge_and_unload()


def caption_loss(video: VideoLLM, prefix: Tensor, captions: list[str]) -> Tensor:
    """Mean next-token loss on captions and end tokens, read from `prefix` (b, K, d)."""
    logits, labels = video.answer(prefix, captions)
    return F.cross_entropy(logits.float(), labels)
