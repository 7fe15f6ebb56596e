"""A video-LLM's folder as transformers reads it: which class, how precise, on which devices.

BLIP-2 (Li et al. 2023) and InstructBLIP (Dai et al. 2023) have the same parts under the same names:
ViT, queries, Q-Former, projection, LLM. InstructBLIP's Q-Former also reads the instruction.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from llm4brain.errors import UserError
from llm4brain.io import read_json
from llm4brain.sections import DeviceMap, Quantize, VideoLLMSettings
from llm4brain.sources import SIDECAR, checked
from llm4brain.tensors import require_whole

# InstructBLIP for pictures has the weights of InstructBLIP-Video, which reads frame by frame.
CLASSES = {
    "blip-2": "Blip2ForConditionalGeneration",
    "instructblip": "InstructBlipVideoForConditionalGeneration",
    "instructblipvideo": "InstructBlipVideoForConditionalGeneration",
}
# Small, and z_v is a regression target: BLIP-2 itself keeps its Q-Former in full.
FULL = ("query_tokens", "qformer", "language_projection")
QFORMER_TOKENIZER = "qformer_tokenizer"
PROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds.

    Attributes:
        model: in evaluation mode, frozen; `FULL` in float32, ViT and LLM as asked for.
        tokenizer: of the LLM.
        image_processor: resizes and normalises frames.
        prompt: given with every clip.
        instruction: ids of the prompt for the Q-Former, or None if that reads no text.
        placed: whether its parts lie where they must stay.
    """

    model: Any
    tokenizer: Any
    image_processor: Any
    prompt: str
    instruction: list[int] | None
    placed: bool


def read(
    folder: Path,
    dtype: torch.dtype,
    device: str | torch.device,
    quantize: Quantize = None,
    device_map: DeviceMap = None,
) -> Checkpoint:
    """Read a Hugging Face folder. Weights take the precision asked for as they are read.

    Args:
        dtype: of the ViT and the LLM.
        device: for all of it, if there is no `device_map`.
        quantize: how the LLM's matrices are held; `dtype` is what they are multiplied in.
        device_map: how accelerate spreads the parts over devices.

    Raises:
        UserError: no such folder, another kind of model, or quantization that is not to be had.
    """
    import transformers
    from transformers.utils import logging

    config = read_json(checked(folder) / "config.json")
    kind = config.get("model_type")
    if kind not in CLASSES:
        wrong = f"is a {kind} model, neither BLIP-2 nor InstructBLIP"
        raise UserError(folder, wrong, "name one of these")
    base = getattr(transformers, CLASSES[kind])
    # transformers' own way to say which modules no lower precision touches
    whole = type(base.__name__, (base,), {"_keep_in_fp32_modules_strict": set(FULL)})
    how: dict[str, Any] = {"dtype": dtype, "device_map": device_map, "use_safetensors": True}
    if quantize:
        how["quantization_config"] = _quantization(quantize, dtype)
        how["device_map"] = device_map or {"": device}
    if kind == "instructblip":  # said here, or transformers warns that the kinds differ
        own = base.config_class
        how["config"] = own.from_dict(config | {"model_type": own.model_type})
    logging.disable_progress_bar()
    try:
        model, found = whole.from_pretrained(folder, output_loading_info=True, **how)
    except (SafetensorError, EOFError) as error:
        raise UserError(folder, f"holds weights that are cut ({error})", "get it again") from None
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        wrong = f"holds weights of other shapes than its config.json says ({error})"
        raise UserError(folder, wrong, "get the whole model") from None
    own = dict(model.named_parameters())
    require_whole(folder, own, "get the whole model", lacks=found["missing_keys"])
    if not model.config.use_decoder_only_language_model:
        raise UserError(folder, "has an encoder-decoder LLM", "name one with a causal LLM")
    sidecar = read_json(folder / SIDECAR) if (folder / SIDECAR).exists() else {}
    if "settings" in sidecar and not quantize:
        # The trained default has been read with rotary frequencies that are rounded too; what is
        # published of it stays as it is.
        model.language_model.to(dtype)
    prompt = sidecar.get("prompt", VideoLLMSettings().prompt)
    placed = bool(quantize or device_map)
    model.requires_grad_(False)
    return Checkpoint(
        (model if placed else model.to(device)).eval(),
        transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        _image_processor(folder),
        prompt,
        None if kind == "blip-2" else _instruction(folder, prompt),
        placed,
    )


def _quantization(quantize: Quantize, dtype: torch.dtype) -> Any:
    """How bitsandbytes holds the LLM; ViT, Q-Former and head stay as they are.

    Raises:
        UserError: it is not installed, or there is no GPU for it.
    """
    key = f"video_llm.quantize: {quantize}"
    if importlib.util.find_spec("bitsandbytes") is None:
        todo = "pip install bitsandbytes, or set it to null"
        raise UserError(key, "needs bitsandbytes, which is not installed", todo)
    if not torch.cuda.is_available():
        todo = "set it to null; precision: bf16 halves what the weights take"
        raise UserError(key, "needs a GPU, and there is none", todo)
    from transformers import BitsAndBytesConfig

    kept = ["vision_model", *FULL[1:], "lm_head", "embed_out"]
    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=kept,
    )


def _image_processor(folder: Path) -> Any:
    """What resizes and normalises frames, whether a folder has it for pictures or for videos."""
    from transformers import BlipImageProcessor
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    found = next((folder / name for name in PROCESSORS if (folder / name).is_file()), None)
    if found is None:
        wrong = "holds no preprocessor_config.json"
        raise UserError(folder, wrong, "put it there: it says how frames are resized")
    settings = read_json(found)
    video = settings.get("video_processor", settings if "video" in found.name else None)
    if video is None:
        return AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
    names = ("size", "resample", "image_mean", "image_std", "rescale_factor")
    names += ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb")
    return BlipImageProcessor(**{name: video[name] for name in names if name in video})


def _instruction(folder: Path, prompt: str) -> list[int]:
    """The prompt as InstructBLIP's Q-Former reads it, by a tokenizer of its own."""
    from transformers import AutoTokenizer

    own = folder / QFORMER_TOKENIZER
    if not own.is_dir():
        raise UserError(own, "is missing", "InstructBLIP's Q-Former reads the prompt: get it whole")
    return AutoTokenizer.from_pretrained(own, trust_remote_code=False)(prompt)["input_ids"]
