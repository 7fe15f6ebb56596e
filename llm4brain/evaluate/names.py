"""What systems, metrics, clips and stored readings are called."""

from __future__ import annotations

from llm4brain.errors import UserError

# A control has a real brain, but not the subject's own: it may well score above a floor.
KINDS = ("model", "baseline", "floor", "control", "ceiling")
CAPTION_METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge_l", "cider")
METRICS = (*CAPTION_METRICS, "similarity", "top1", "top5")
AMONG_100 = ("top1_100", "top5_100")  # retrieval among 100 clips, none near the one seen
DIVERSITY = ("diversity", "distinct2")
FURTHER = ("spice", "bertscore", "clip_score")  # where a setting names their model or parser
CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")  # SPICE's parser
COMPARED = ("cider", "similarity", "top1")  # those that lead
P_VALUES = tuple(f"{metric}_p" for metric in COMPARED)
CENTRE, TRUTH = "centre", "truth"  # names of arrays in readings.safetensors that are no systems


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
        raise UserError("clip_id", wrong, "make the clip table anew") from None
