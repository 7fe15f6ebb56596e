"""Names and explanations of systems, metrics, training stages and optional parts of the page."""

from __future__ import annotations

from dataclasses import dataclass

# One line each; see docs/evaluation.md.
SYSTEMS = {
    "model": "decoded from the brain: the mean over a clip's showings",
    "model_single": "decoded from the brain: one showing of a clip",
    "ridge": "linear regression to the video tokens, the agreement gate and the surprise among its "
    "options, chosen on validation; then the nearest train caption",
    "ridge_single": "the same from one showing",
    "ridge_llm": "ridge's reading, put into words by the LLM as it was before tuning",
    "ridge_plain": "ridge with neither: linear regression, as the field calls it",
    "ridge_gate": "linear regression with the agreement gate alone",
    "ridge_surprise": "linear regression from the surprise alone",
    "constant": "one caption for every clip, the best that train has",
    "random": "a train caption drawn blindly",
    "prompt": "the LLM with its prompt and nothing to look at",
    "rolled": "the model, fed BOLD from 20 s or more away",
    "noise": "the model, fed noise",
    "zeros": "the model, fed zeros",
    "train_mean": "the model, fed the mean train window",
    "shuffled": "the model's words, given to other clips",
    "shuffled_within": "the model's words, given to other clips of the same film",
    "other_subject": "the model, fed another brain that saw the same clip",
    "nearest": "the caption of the train clip nearest to the truth",
    "video": "the LLM watching the film itself",
    "agreement": "one reference scored against the others",
}
KINDS = {
    "model": "Model",
    "baseline": "Linear baselines",
    "floor": "Floors: no brain, or a broken one",
    "control": "Control: another real brain",
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
    "cider": "words shared with the references, rare ones counting more; 0 to 1000",
    "similarity": "cosine of sentence embeddings, -1 to 1",
    "top1": "percent of clips that match the reading best, among all test clips",
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
    "rolled": "Floor: brain of another moment",
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
        "Table 2: other arms, other cohorts, less data",
        "How the result depends on a part of the method, on who it is trained on, and on minutes. "
        "Each p of a lead stands beside its correction for all leads of the metric (Holm).",
        pictured=False,
        of_phantom=False,
    ),
    "snr": Part(
        "From noise to signal", "The same chain on simulated brains from silent to loud ones."
    ),
    "calibration": Part(
        "Reading a stranger",
        "How well a subject is read of whom training saw nothing, from a few minutes of scans: by "
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
