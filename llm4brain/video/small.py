"""The default video-LLM: a small BLIP-2 trained on films and their captions only.

Two stages, as in BLIP-2 (Li et al. 2023, arXiv 2301.12597). In the first, ViT and Q-Former learn
which caption belongs to which clip and which words it contains. In the second, the projection and
a LoRA in the LLM learn to generate the captions.
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
COMMON = 8  # words in fewer clips than this are not predicted


def build(llm: Path, settings: VideoLLMSettings, seed: int) -> VideoLLM:
    """A VideoLLM with a new ViT and Q-Former around the frozen LLM in the folder `llm`."""
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
    # The processor adds the `<image>` token that BLIP-2's forward method needs.
    processor = Blip2Processor(
        BlipImageProcessor(size=size), AutoTokenizer.from_pretrained(llm), settings.num_query_tokens
    )
    # The default is the saved dtype, bf16, which many CPUs only emulate, twenty times slower.
    # For training in bf16, `Reading.lower` converts the weights.
    language_model = AutoModelForCausalLM.from_pretrained(checked(llm), dtype=torch.float32)
    _make_room(language_model, len(processor.tokenizer))
    shape = {
        "hidden_size": settings.embed_dim,
        "intermediate_size": 4 * settings.embed_dim,
        "num_attention_heads": max(1, settings.embed_dim // 32),
        "initializer_range": settings.embed_dim
        ** -0.5,  # BERT's 0.02 is for width 768: too small here
    }
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            num_hidden_layers=settings.vit_layers,
            image_size=settings.image_size,
            patch_size=settings.patch_size,
            **shape,
        ),
        qformer_config=Blip2QFormerConfig(
            num_hidden_layers=settings.qformer_layers,
            hidden_dropout_prob=0.0,  # z_v is a regression target, so it must not be noisy
            attention_probs_dropout_prob=0.0,
            **shape,
        ),
        text_config=language_model.config,
        num_query_tokens=settings.num_query_tokens,
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = Blip2ForConditionalGeneration(config)
    model.language_model = language_model.requires_grad_(False)
    # BLIP-2 initialises its queries at zero, where they are identical and remain so. Large
    # initial position embeddings speed up training of a ViT on so few films to minutes.
    nn.init.normal_(model.query_tokens, std=0.02)
    nn.init.normal_(model.vision_model.embeddings.position_embedding, std=0.5)
    whole = VideoLLM(model, processor.tokenizer, processor.image_processor, settings.prompt)
    whole.processor = processor
    return whole


def _make_room(language_model, tokens: int) -> None:
    """Add embedding rows for new tokens: the mean of the old rows, so that none is likely."""
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
    """The common words of captions, and the share of a clip's captions that contain each.

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
    """Target of each query's projection: a blend of the word embeddings of the clip's captions.

    A caption's tokens are cut into as many consecutive parts as there are queries, so that the
    queries share the sentence. A part is the sum of its tokens' input embeddings, weighted by
    inverse document frequency over train clips. Parts are averaged over a clip's captions and
    scaled to the mean norm of the LLM's embeddings.

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
    apart = out - out[train].mean(0)  # the part common to all clips is uninformative
    return mean + apart * length / apart[train].norm(dim=-1).mean()


class Contrast(nn.Module):
    """Stage 1: image-text contrast, word prediction, and projection into the LLM's embedding space.

    The text encoder is cheap: the mean of the frozen LLM's input embeddings of a caption's tokens,
    followed by one linear layer. The projection learns to map each query to a blend of word
    embeddings (`embedded`), so that the LLM can use it at the start of stage 2. Captions are the
    only supervision; there are no labels.
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
        """Losses of stage 1.

        Args:
            pixels: (b, 3, h, w), one frame per clip
            text: (b, d), mean embedding of one caption per clip
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
        # Clips whose captions contain the same words are not negatives of each other.
        alike = F.normalize(shares, dim=-1) @ F.normalize(shares, dim=-1).T > 0.999
        similar = similar.masked_fill(alike.fill_diagonal_(False), -1e4)
        rows = torch.arange(len(pixels), device=similar.device)
        losses = {
            "contrast_loss": (F.cross_entropy(similar, rows) + F.cross_entropy(similar.T, rows))
            / 2,
            "words_loss": F.binary_cross_entropy_with_logits(self.words(pooled).float(), shares)
            * shares.shape[1],
            # 1 if the projection is uninformative
            "embed_loss": F.mse_loss(self.language_projection(queries).float(), blends)
            / blends.var(dim=0).mean(),
        }
        weights = {"contrast_loss": 1.0, "words_loss": 1.0, "embed_loss": EMBED_WEIGHT}
        return {"loss": sum(weights[k] * v for k, v in losses.items())} | losses


class Reading(nn.Module):
    """Stage 2: projection and LoRA in the LLM. ViT and Q-Former stay as stage 1 left them.

    With a frozen LLM, a few thousand captions are not enough for it to learn to use tokens that are
    not words (validation loss of 1.84 nats per token after 165 steps); with LoRA, a hundred steps
    are (0.66). `merge` folds LoRA into the LLM, so a standard checkpoint is saved.
    """

    def __init__(self, video: VideoLLM, rank: int = 16, alpha: float = 64.0) -> None:
        super().__init__()
        self._video = [video]  # in a list, so that untrained parts are not registered as submodules
        base = video.model.language_model
        self._full = [(p, p.data) for p in base.parameters()]
        config = LoraConfig(
            r=rank, lora_alpha=alpha, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
        )
        self.lora = get_peft_model(base, config)
        video.model.language_model = self.lora
        self.language_projection = video.model.language_projection.requires_grad_(True)

    def lower(self, dtype: torch.dtype) -> None:
        """Convert the frozen weights to the precision of the training steps, once."""
        for p, data in self._full:
            p.data = data.to(p.device, dtype)

    def merge(self) -> None:
        """Fold LoRA into the LLM's weights in full precision: bf16 would round much of it away."""
        for p, data in self._full:
            p.data = data.to(p.device, torch.float32)
        self._video[0].model.language_model = self.lora.merge_and_unload()


def caption_loss(video: VideoLLM, prefix: Tensor, captions: list[str]) -> Tensor:
    """Mean next-token loss on captions and end tokens, given `prefix` (b, K, d)."""
    logits, labels = video.answer(prefix, captions)
    return F.cross_entropy(logits.float(), labels)
