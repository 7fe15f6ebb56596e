"""What systems, metrics and stored readings are called."""

KINDS = ("model", "baseline", "floor", "ceiling")
CAPTION_METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge_l", "cider")
METRICS = (*CAPTION_METRICS, "similarity", "top1", "top5")
COMPARED = ("cider", "similarity", "top1")  # those that lead
CENTRE, TRUTH = "centre", "truth"  # names of arrays in readings.safetensors that are no systems
