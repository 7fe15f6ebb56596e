"""What a step of masked pretraining and one of tuning take at full size, with random weights.

    python benchmarks/throughput.py                  # parameters and FLOPs, counted
    python benchmarks/throughput.py --run pretrain   # samples/s and peak memory on this machine
    python benchmarks/throughput.py --run tune --batch 8 --gradient-checkpointing
    python benchmarks/throughput.py --run pretrain --run tune --tiny

Full size is SC-MBM as MinD-Vis publishes it (24 blocks, 1,024 wide, decoder of 8 blocks, 512 wide)
on cubes of 3 voxels of 4 mm, windows of 3 volumes, and BLIP-2 with OPT-2.7b. The steps are those of
`fit`, reading from disk included; the first two are not counted.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import typer
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.flop_counter import FlopCounterMode
from transformers import Blip2Config, Blip2ForConditionalGeneration, PreTrainedTokenizerFast

from llm4brain.brain.encoder import new_encoder
from llm4brain.brain.pretrain import pretrain
from llm4brain.brain.stored import Stored
from llm4brain.io import write_arrays
from llm4brain.preprocess.grid import mni_grid
from llm4brain.sections import EncoderSettings, FitSettings, TuneSettings
from llm4brain.training import make_accelerator
from llm4brain.tune.lora import add_lora, tune
from llm4brain.tune.samples import Samples
from llm4brain.video.videollm import VideoLLM

FULL = {
    "embed_dim": 1024,
    "depth": 24,
    "num_heads": 16,
    "decoder_embed_dim": 512,
    "decoder_depth": 8,
}
TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "decoder_embed_dim": 32, "decoder_depth": 1}
OPT = {"hidden_size": 2560, "word_embed_proj_dim": 2560, "ffn_dim": 10240, "vocab_size": 50304}
OPT |= {"num_hidden_layers": 32, "num_attention_heads": 32}
TINY_OPT = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, "vocab_size": 64}
TINY_OPT |= {"num_hidden_layers": 2, "num_attention_heads": 2}
TINY_PART = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
TINY_PART |= {"num_attention_heads": 2}
VOLUMES, FRAMES, PROMPT = 3, 2, "a photo of"
CAPTION = "a girl in a green jacket is flying a kite on the moon and a dog looks at her"  # 18 words


def blip2(tiny: bool) -> Blip2ForConditionalGeneration:
    part = TINY_PART if tiny else {}
    vision = part | ({"image_size": 28} if tiny else {})
    text = {"model_type": "opt"} | (TINY_OPT if tiny else OPT)
    config = Blip2Config(vision_config=vision, qformer_config=part, text_config=text)
    return Blip2ForConditionalGeneration(config)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word: how many there are is what counts here."""
    words = ["<pad>", "</s>", "<unk>", *dict.fromkeys(f"{CAPTION} {PROMPT}".split())]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def counted(tiny: bool) -> None:
    """Parameters and FLOPs of one sample's step, on no device at all."""
    grid = mni_grid(8 if tiny else 4)
    settings = EncoderSettings(**(TINY if tiny else FULL))
    with torch.device("meta"):
        encoder = new_encoder(settings, grid.voxels, grid.affine, None, VOLUMES)
        windows = torch.empty(1, VOLUMES, len(grid.voxels))
        with FlopCounterMode(display=False) as flops:
            visible = encoder.draw_masks(1)
            patches = encoder.tokenizer.patches(windows)
            encoder.predict(encoder.encode_visible(patches, visible), visible).sum().backward()
    weights = sum(p.numel() for p in encoder.parameters())
    print(f"SC-MBM: {len(grid.voxels)} voxels, {len(encoder.pos)} tokens,", end=" ")
    print(f"{visible.shape[1]} visible; {weights / 1e6:.1f} M parameters;", end=" ")
    print(f"{flops.get_total_flops() / 1e9:.1f} GFLOP a sample's step")
    with torch.device("meta"):
        model = blip2(tiny)
    parts = ("vision_model", "qformer", "language_projection", "language_model")
    sizes = {p: sum(w.numel() for w in getattr(model, p).parameters()) / 1e6 for p in parts}
    print("BLIP-2:", ", ".join(f"{p} {n:.1f} M" for p, n in sizes.items()))
    llm = VideoLLM(model.requires_grad_(False), tokenizer(), None, PROMPT)
    lora = add_lora(llm, TuneSettings())
    trained = sum(p.numel() for p in lora.parameters() if p.requires_grad)
    tokens = FRAMES * model.config.num_query_tokens
    tokens += len(llm.before) + len(llm.after) + len(CAPTION.split())
    with torch.device("meta"), FlopCounterMode(display=False) as flops:
        embedded = torch.empty(1, tokens, model.config.text_config.hidden_size)
        llm.model.language_model(inputs_embeds=embedded, use_cache=False).logits.sum().backward()
    print(
        f"tuning: {tokens} tokens a sample, {trained / 1e6:.2f} M parameters of LoRA; "
        f"{flops.get_total_flops() / 1e9:.1f} GFLOP a sample's step"
    )


def measured(step: str, tiny: bool, batch: int, steps: int, precision: str, again: bool) -> dict:
    """Run some steps of `fit`; how fast they are, and what memory they took."""
    accelerator = make_accelerator(1024, precision)
    cuda = accelerator.device.type == "cuda"
    ends: list[float] = []

    def stamp(*_: object) -> None:
        if cuda:
            torch.cuda.synchronize()
        ends.append(time.perf_counter())

    hook = register_optimizer_step_post_hook(stamp)
    fit = FitSettings(epochs=1, batch_size=batch, lr=1e-4)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = _pretrain if step == "pretrain" else _tune
            run(Path(folder), tiny, batch * steps, fit, accelerator, again)
    finally:
        hook.remove()
    seconds = (ends[-1] - ends[1]) / (len(ends) - 2)
    peak = torch.cuda.max_memory_allocated() if cuda else 0
    return {
        "step": step,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "precision": accelerator.mixed_precision,
        "gradient_checkpointing": again,
        "batch": batch,
        "seconds_a_step": round(seconds, 4),
        "samples_a_second": round(batch / seconds, 2),
        "peak_gpu_gb": round(peak / 1e9, 2) if cuda else None,
    }


def _pretrain(folder, tiny, samples, fit, accelerator, again) -> None:
    grid = mni_grid(8 if tiny else 4)
    settings = EncoderSettings(
        **(TINY if tiny else FULL), fit=fit, gradient_checkpointing=again, pretraining=False
    )
    run = np.random.default_rng(0).standard_normal((200, len(grid.voxels)), dtype=np.float32)
    write_arrays(folder / "bold.safetensors", {"run": run})
    starts = np.arange(samples) % (len(run) - VOLUMES)
    places = np.stack([np.zeros_like(starts), starts], axis=1)
    source = [(folder / "bold.safetensors", "run")]
    train = Stored(source, places, VOLUMES, grid.voxels, grid.affine)
    held = Stored(source, places[:2], VOLUMES, grid.voxels, grid.affine)
    pretrain(train, held, settings, 0, folder / "checkpoint", accelerator)


def _tune(folder, tiny, samples, fit, accelerator, again) -> None:
    low = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
    before = torch.get_default_dtype()
    torch.set_default_dtype(low)
    with accelerator.device:
        model = blip2(tiny)
    torch.set_default_dtype(before)
    llm = VideoLLM(model.requires_grad_(False), tokenizer(), None, PROMPT).eval()
    width = model.config.text_config.hidden_size
    rng = np.random.default_rng(0)
    shape = (samples, FRAMES * model.config.num_query_tokens, width)
    z = rng.standard_normal(shape, dtype=np.float32)
    rows = np.arange(samples)
    train = Samples(z, rows, rows, [[CAPTION]] * samples, lambda found: found, z)
    held = Samples(z[:2], rows[:2], rows[:2], [[CAPTION]] * 2, lambda found: found, z)
    settings = TuneSettings(fit=fit, gradient_checkpointing=again)
    tune(llm, train, held, settings, 0, folder / "checkpoint", accelerator)


def main(
    run: list[str] = [],  # noqa: B006
    tiny: bool = False,
    batch: int = 8,
    steps: int = 10,
    precision: Literal["auto", "fp32", "bf16"] = "bf16",
    gradient_checkpointing: bool = False,
) -> None:
    if not run:
        counted(tiny)
    for step in run:
        if step not in ("pretrain", "tune"):
            raise SystemExit(f"--run {step}: is neither pretrain nor tune")
        found = measured(step, tiny, batch, steps, precision, gradient_checkpointing)
        print(json.dumps(found))


if __name__ == "__main__":
    typer.run(main)
