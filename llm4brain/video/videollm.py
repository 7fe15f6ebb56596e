"""The video-LLM: a BLIP model applied frame by frame, and its two ways to turn tokens into text.

Video tokens z_v and fMRI tokens z_f go through the same methods, `answer` and `generate`. Any
`Blip2ForConditionalGeneration` with a causal LLM can be used, and any
`InstructBlipVideoForConditionalGeneration`, whose Q-Former also takes the prompt. The queries of
the frames are concatenated in time, as in InstructBLIP-Video.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from llm4brain.checkpoint import NO_PROGRESS, hash_of
from llm4brain.provenance import sha256
from llm4brain.sections import DeviceMap, Quantize, VideoLLMSettings
from llm4brain.sources import checksums
from llm4brain.video.checkpoint import read
from llm4brain.video.sampled import drawing

FRAMES = 256  # frames per forward pass of the ViT
CACHE = 2**30  # maximum size of the key-value cache in numbers, 2 GB in bfloat16


class VideoLLM(nn.Module):
    """A BLIP-2 or InstructBLIP-Video model with its tokenizer and image processor.

    Args:
        model: from transformers.
        tokenizer: of the language model.
        image_processor: resizes and normalises frames.
        prompt: the instruction given with every clip.
        instruction: ids of the prompt for the Q-Former; None if the Q-Former takes no text.
        placed: whether the parts are on fixed devices and must not be moved.

    Attributes:
        progress: keeps each batch of generated text; its identity has to include the weights.
    """

    def __init__(
        self,
        model,
        tokenizer,
        image_processor,
        prompt: str,
        instruction: list[int] | None = None,
        placed: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.progress = NO_PROGRESS
        self.prompt, self.instruction, self.placed = prompt, instruction, placed
        # The first one ends the answers in training.
        self.stops = _stops(model, tokenizer, own_first=instruction is not None)
        # For short texts on a CPU, torch's fused attention is slow, mainly in the backward pass.
        if model.device.type == "cpu":
            model.language_model.set_attn_implementation("eager")
        self.before, self.after, self.lead = _prompt_ids(tokenizer, prompt)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        quantize: Quantize = None,
        device_map: DeviceMap = None,
    ) -> VideoLLM:
        """Load a Hugging Face folder, in evaluation mode and frozen.

        `dtype` is that of the ViT and the LLM. Q-Former, queries and projection stay in float32.

        Raises:
            UserError: see `llm4brain.video.checkpoint.read`.
        """
        found = read(Path(folder), dtype, device, quantize, device_map)
        whole = cls(
            found.model,
            found.tokenizer,
            found.image_processor,
            found.prompt,
            found.instruction,
            found.placed,
        )
        return whole.eval()

    @classmethod
    def on(
        cls, accelerator: Accelerator, folder: str | Path, how: VideoLLMSettings | None = None
    ) -> VideoLLM:
        """`load` with the device and precision that accelerate chose.

        Args:
            how: its `quantize` and `device_map` are used.
        """
        mixed = accelerator.mixed_precision
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(mixed, torch.float32)
        given = (how.quantize, how.device_map) if how else ()
        return cls.load(folder, dtype, accelerator.device, *given)

    def to(self, *args, **kwargs) -> VideoLLM:
        """Move the model, except if bitsandbytes or a device map has placed its parts."""
        return self if self.placed else super().to(*args, **kwargs)

    @property
    def device(self) -> torch.device:
        return self.model.query_tokens.device

    @property
    def embeddings(self) -> nn.Module:
        """The LLM's input embeddings: ids -> (..., d)."""
        return self.model.language_model.get_input_embeddings()

    def pixels(self, frames: np.ndarray) -> Tensor:
        """Resize and normalise: uint8 (b, t, h, w, 3) -> float32 (b, t, 3, H, W)."""
        b, t = frames.shape[:2]
        flat = list(frames.reshape(b * t, *frames.shape[2:]))
        out = self.image_processor(flat, return_tensors="pt")["pixel_values"]
        return out.view(b, t, *out.shape[1:])

    @torch.no_grad()
    def vit_tokens(self, pixels: Tensor) -> Tensor:
        """Frozen ViT: (b, t, 3, h, w) -> (b, t, n, v) in float32."""
        b, t = pixels.shape[:2]
        dtype, found = self.model.vision_model.dtype, []
        for frames in pixels.flatten(0, 1).split(FRAMES):
            frames = frames.to(self.device, dtype)
            found.append(self.model.vision_model(pixel_values=frames).last_hidden_state.float())
        return torch.cat(found).unflatten(0, (b, t))  # (b x t, n, v) -> (b, t, n, v)

    def queries(self, vit_tokens: Tensor) -> Tensor:
        """Q-Former over each frame's tokens: (b, t, n, v) -> (b, t x queries, q)."""
        b, t = vit_tokens.shape[:2]
        flat = vit_tokens.flatten(0, 1).to(self.device, self.model.query_tokens.dtype)
        queries, text = self.model.query_tokens.expand(b * t, -1, -1), {}
        if self.instruction is not None:
            ids = torch.tensor(self.instruction, device=self.device).expand(b * t, -1)
            seen = torch.ones(b * t, queries.shape[1] + ids.shape[1], device=self.device)
            text = {"input_ids": ids, "attention_mask": seen.long()}
        out = self.model.qformer(
            query_embeds=queries, encoder_hidden_states=flat, **text
        ).last_hidden_state[:, : queries.shape[1]]  # drop the text tokens
        return out.reshape(b, -1, out.shape[-1])  # (b x t, queries, q) -> (b, t x queries, q)

    def video_tokens(self, vit_tokens: Tensor) -> Tensor:
        """z_v: (b, t, n, v) -> (b, K, d), K = t x queries; differentiable."""
        return self.model.language_projection(self.queries(vit_tokens))

    def _context(self, prefix: Tensor) -> Tensor:
        """Prompt and prefix as embeddings: (b, K, d) -> (b, before + K + after, d)."""
        embed = self.embeddings
        parts = [
            embed(torch.tensor(ids, device=self.device, dtype=torch.long)).expand(
                len(prefix), -1, -1
            )
            for ids in (self.before, self.after)
        ]
        return torch.cat([parts[0], prefix.to(parts[0]), parts[1]], dim=1)

    def answer_ids(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Captions as ids with the end token, right-padded: ids (b, n), mask (b, n)."""
        rows = [
            [*self.tokenizer(self.lead + c.strip(), add_special_tokens=False)["input_ids"],
             self.stops[0]]
            for c in captions
        ]  # fmt: skip
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.stops[0])
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = True
        return ids.to(self.device), mask.to(self.device)

    def answer(self, prefix: Tensor, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Teacher-forced logits of `captions`, given `prefix` (b, K, d).

        All contexts have the same length and padding comes last. Under the causal mask, no answer
        token sees padding, so no attention mask is needed.

        Returns:
            logits (m, vocab) and labels (m,) at the m tokens of captions and end tokens; the prompt
            and the prefix are excluded.
        """
        ids, mask = self.answer_ids(captions)
        context = self._context(prefix)
        shown = self.embeddings(ids[:, :-1]).to(context.dtype)
        # The last n positions predict the n tokens of the answer.
        with self._head_sees(lambda hidden: hidden[:, -ids.shape[1] :][mask.to(hidden.device)]):
            logits = self._logits(torch.cat([context, shown], dim=1))
        return logits, ids[mask].to(logits.device)

    @torch.no_grad()
    def answer_states(self, prefix: Tensor, captions: Sequence[str]) -> list[Tensor]:
        """Inputs of the LLM's head in `answer`: for each caption (its answer tokens, d)."""
        ids, mask = self.answer_ids(captions)
        seen: list[Tensor] = []

        def keep(hidden: Tensor) -> Tensor:
            rows = zip(hidden[:, -ids.shape[1] :], mask.to(hidden.device), strict=True)
            seen.extend(row[m] for row, m in rows)
            return hidden[:1, -1:]

        shown = self.embeddings(ids[:, :-1])
        context = self._context(prefix)
        with self._head_sees(keep):
            self._logits(torch.cat([context, shown.to(context.dtype)], dim=1))
        return seen

    @torch.no_grad()
    def head(self, states: Tensor) -> Tensor:
        """Logits (m, vocab) of states (m, d) from `answer_states`.

        Uses the LLM's own forward method, since some LLMs do more than a matrix multiplication.
        """
        stub = torch.zeros(
            1, 1, self.embeddings.embedding_dim, dtype=states.dtype, device=self.device
        )
        with self._head_sees(lambda _: states):
            return self._logits(stub)

    def _logits(self, embedded: Tensor) -> Tensor:
        return self.model.language_model(inputs_embeds=embedded, use_cache=False).logits

    @contextmanager
    def _head_sees(self, select: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Apply the LLM's head only to `select(hidden)` of its hidden states (b, n, d).

        This avoids computing logits that are not used. The selection must be contiguous: for a
        slice of positions, torch would copy the head once per row, which takes gigabytes.
        """
        head = self.model.language_model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, given: (select(given[0]),))
        try:
            yield
        finally:
            hook.remove()

    @torch.no_grad()
    def generate(
        self,
        prefix: Tensor,
        max_new_tokens: int = VideoLLMSettings().max_new_tokens,
        batch: int = 256,
    ) -> list[str]:
        """Greedy, free-running text for `prefix` (b, K, d), at most `batch` rows at a time."""
        rows = self._at_once(prefix, max_new_tokens, batch)
        return [t for part in prefix.split(rows) for t in self._said(part, max_new_tokens)]

    @torch.no_grad()
    def sample(
        self,
        prefix: Tensor,
        seeds: Sequence[int],
        temperature: float,
        top_p: float,
        max_new_tokens: int = VideoLLMSettings().max_new_tokens,
        batch: int = 256,
    ) -> list[str]:
        """A text for each row of `prefix` (b, K, d), sampled from the LLM.

        Args:
            seeds: one per row; a row's text depends only on its tokens and its seed.
            temperature, top_p: see `llm4brain.video.sampled.drawing`.
        """
        texts, rows = [], self._at_once(prefix, max_new_tokens, batch)
        for i, part in enumerate(prefix.split(rows)):
            how = (list(seeds[i * rows : (i + 1) * rows]), temperature, top_p)
            texts += self._said(part, max_new_tokens, how, logits_processor=drawing(*how))
        return texts

    def _at_once(self, prefix: Tensor, max_new_tokens: int, most: int) -> int:
        """Number of rows per batch, such that keys and values stay within `CACHE`."""
        text = self.model.config.text_config
        around = len(self.before) + len(self.after) + max_new_tokens
        each = 2 * (prefix.shape[1] + around) * text.num_hidden_layers * text.hidden_size
        return max(1, min(most, CACHE // each))

    def _said(self, rows: Tensor, max_new_tokens: int, drawn: Sequence = (), **more) -> list[str]:
        """`_say`, or what was kept of it; `drawn`: seeds, temperature and top_p of `more`."""
        if self.progress.folder is None:
            return self._say(rows, max_new_tokens, **more)
        key = ["text", hash_of(rows), max_new_tokens, *drawn]
        return self.progress.value(key, lambda: self._say(rows, max_new_tokens, **more))

    def _say(self, rows: Tensor, max_new_tokens: int, **more) -> list[str]:
        """Continue each row, token by token, until an end token."""
        context = self._context(rows.to(self.device))
        with self._head_sees(Tensor.contiguous):
            ids = self.model.language_model.generate(
                inputs_embeds=context,
                attention_mask=torch.ones(context.shape[:2], dtype=torch.long, device=self.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                eos_token_id=self.stops,
                pad_token_id=self.stops[0],
                **more,
            )
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


def model_hash(folder: str | Path) -> str:
    """SHA-256 over the weights in a folder, 12 digits; identifies the model in tables."""
    digest, known = hashlib.sha256(), checksums(Path(folder))  # read once, as the model is loaded
    for path in sorted(Path(folder).glob("*.safetensors")):
        digest.update(f"{path.name} {known.get(path.name) or sha256(path)}".encode())
    return digest.hexdigest()[:12]


def loaded_as(folder: str | Path, how: VideoLLMSettings, accelerator: Accelerator) -> list[object]:
    """What the output of a loaded model depends on: its files, its settings, the precision.

    For the identity of a checkpoint. `model_hash` covers the weights, also without a manifest.
    """
    files = [model_hash(folder), checksums(Path(folder))]
    return [*files, how.model_dump(mode="json"), accelerator.mixed_precision]


def _stops(model, tokenizer, own_first: bool) -> list[int]:
    """Ids that end a text: those of the LLM's configuration, and the tokenizer's end token.

    They can differ, and models differ in which one the LLM was trained with. BLIP-2 with OPT ends
    at a newline, as in its configuration. InstructBLIP with Vicuna ends at its tokenizer's `</s>`,
    while the configuration names another id.
    """
    named, own = model.config.text_config.eos_token_id, tokenizer.eos_token_id
    named = list(named) if isinstance(named, list | tuple) else [named]
    found = [own, *named] if own_first else [*named, own]
    return list(dict.fromkeys(stop for stop in found if stop is not None))


def _prompt_ids(tokenizer, prompt: str) -> tuple[list[int], list[int], str]:
    """Ids before and after the video tokens, and the text that precedes an answer.

    With a chat template, the video and the prompt form one user turn. The turn is cut out of a
    longer conversation, to exclude a system message that the template may add. Without a template,
    as in BLIP-2 with OPT, the video tokens come first, even before the BOS token.
    """
    if not getattr(tokenizer, "chat_template", None):
        first = tokenizer.convert_ids_to_tokens(
            tokenizer("a", add_special_tokens=False)["input_ids"][0]
        )
        # Llama-like tokenizers add a space before the text themselves
        return [], tokenizer(prompt)["input_ids"], "" if first.startswith("\u2581") else " "
    talk = [{"role": "user", "content": "-"}, {"role": "assistant", "content": "-"}]
    turn = [{"role": "user", "content": f"<video>{prompt}"}]
    begun = tokenizer.apply_chat_template(talk, tokenize=False)
    whole = tokenizer.apply_chat_template(talk + turn, tokenize=False, add_generation_prompt=True)
    before, after = whole[len(begun) :].split("<video>")
    return (
        tokenizer(before, add_special_tokens=False)["input_ids"],
        tokenizer(after, add_special_tokens=False)["input_ids"],
        "",
    )
