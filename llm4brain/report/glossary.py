"""Names and explanations of systems, metrics, training stages and optional parts of the page."""

from __future__ import annotations

from dataclasses import dataclass

# One line each; see docs/evaluation.md.
SYSTEMS = {
    "model": "decoded from the brain: the mean over a clip's showings",
    "model_single": "decoded from the brain: one showing of a clip",
    "ridge": "ridge regression to the video tokens, with the agreement gate and the surprise as "
    "options, chosen on validation; then the caption of the nearest train clip",
    "ridge_single": "the same, from one showing of a clip",
    "ridge_llm": "the reading of ridge, turned into text by the untuned LLM",
    "ridge_plain": "standard ridge regression, without gate and surprise",
    "ridge_gate": "ridge regression with the agreement gate only",
    "ridge_surprise": "ridge regression from the surprise only",
    "constant": "the same caption for every clip: the best train caption",
    "random": "a random train caption",
    "prompt": "the LLM with its prompt only",
    "rolled": "the model, given BOLD from at least 20 s away",
    "noise": "the model, given noise",
    "zeros": "the model, given zeros",
    "train_mean": "the model, given the mean train window",
    "shuffled": "the model's texts, assigned to other clips",
    "shuffled_within": "the model's texts, assigned to other clips of the same film",
    "other_subject": "the model, given BOLD of another subject who saw the same clip",
    "nearest": "the caption of the train clip most similar to the true clip",
    "video": "the LLM watching the film itself",
    "agreement": "one reference scored against the others",
}
KINDS = {
    "model": "Model",
    "baseline": "Linear baselines",
    "floor": "Floors: no brain input, or a corrupted one",
    "control": "Control: BOLD of another subject",
    "ceiling": "Ceilings",
}
METRICS = {
    "cider": "CIDEr",
    "similarity": "similarity",
    "top1": "top-1",
    "top5": "top-5",
    "top1_100": "top-1 of 100",
    "top5_100": "top-5 of 100",
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "spice": "SPICE",
    "bertscore": "BERTScore",
    "clip_score": "CLIP-score",
    "diversity": "different captions",
    "distinct2": "different word pairs",
    "n_clips": "clips",
    "n_blocks": "blocks",
}
EXPLAINED = {
    "cider": "words shared with the references, with rare words weighted more; 0 to 1000",
    "similarity": "cosine of sentence embeddings, -1 to 1",
    "top1": "percent of clips whose reading matches them best among all test clips",
}
STAGES = {
    "video_llm": "Video-LLM, on films",
    "pretrain": "Masked brain modelling",
    "align": "Alignment with the video tokens",
    "adapt": "Adaptation across subjects",
    "tune": "Tuning the LLM on fMRI tokens",
}
# Systems shown in the gallery, and their headings; the others are only in their files.
SAID = {
    "model": "From the brain",
    "ridge": "Ridge",
    "rolled": "Floor: BOLD from another time",
    "constant": "Floor: no brain",
    "video": "From the film",
}


@dataclass(frozen=True)
class Part:
    """A part of the page that exists only if it was requested; `of_phantom` parts need simulated
    data."""

    title: str
    about: str
    pictured: bool = True
    of_phantom: bool = True

    def command(self, stem: str) -> str:
        return f"snakemake --cores 8 results/{stem}.{'png' if self.pictured else 'csv'}"


PARTS = {
    "table2": Part(
        "Table 2: ablations, cohorts, and less data",
        "How the result depends on parts of the method, on the training subjects, and on minutes "
        "of data. Each p of a lead is also given corrected for all leads of the metric (Holm).",
        pictured=False,
        of_phantom=False,
    ),
    "snr": Part(
        "Results against SNR", "The same workflow on simulated data, from an SNR of zero upwards."
    ),
    "calibration": Part(
        "Decoding a new subject",
        "Decoding of a subject who was not in training, from a few minutes of scans: aligned by "
        "anatomy, by responses to the same films, without captions, and alone.",
        of_phantom=False,
    ),
}


def metric_name(column: str) -> str:
    """Heading of a column; columns without an entry keep their name in the file.

    >>> metric_name("cider_p"), metric_name("minutes")
    ('CIDEr p', 'minutes')
    """
    stem, _, end = column.rpartition("_")
    if end == "p" and stem in METRICS:
        return f"{METRICS[stem]} p"
    return METRICS.get(column, column)
