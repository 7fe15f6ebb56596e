"""Names of systems, metrics, clips and stored readings."""

from __future__ import annotations

from llm4brain.errors import UserError

# A control uses another subject's BOLD, so it may score above a floor.
KINDS = ("model", "baseline", "floor", "control", "ceiling")
CAPTION_METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge_l", "cider")
METRICS = (*CAPTION_METRICS, "similarity", "top1", "top5")
AMONG_100 = ("top1_100", "top5_100")  # retrieval among 100 clips, none close to the correct one
DIVERSITY = ("diversity", "distinct2")
FURTHER = ("spice", "bertscore", "clip_score")  # if a setting names their model or parser
CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")  # for SPICE
COMPARED = ("cider", "similarity", "top1")  # the main metrics
P_VALUES = tuple(f"{metric}_p" for metric in COMPARED)
TRUTH, NORMS = "truth", "norms"  # arrays in readings.safetensors that are not systems


def stimulus_and_onset(clip_id: str) -> tuple[str, float]:
    """Parse a clip's name.

    >>> stimulus_and_onset("film-01_0004.0")
    ('film-01', 4.0)
    """
    stimulus, _, onset = clip_id.rpartition("_")
    try:
        return stimulus, float(onset)
    except ValueError:
        wrong = f"the clip '{clip_id}' is not named <stimulus>_<onset in seconds>"
        raise UserError("clip_id", wrong, "make the clip table again") from None
