"""Settings: every key allowed in config.yaml, checked before the first job starts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from llm4brain.errors import UserError
from llm4brain.sections import (
    ARM,
    LABEL,
    SOURCE,
    WEN2018_RUN,
    AdaptSettings,
    AlignSettings,
    ArmName,
    BoldSettings,
    CaptionSettings,
    ClipSettings,
    EncoderSettings,
    EvaluateSettings,
    Label,
    OfArm,
    PhantomSettings,
    PreprocessSettings,
    PretrainingSettings,
    Settings,
    SNRCurveSettings,
    Splits,
    Table2Settings,
    TuneSettings,
    VideoLLMSettings,
    Wen2018Settings,
)
from llm4brain.sections.renamed import new_name


class Config(Settings):
    """The whole of config.yaml."""

    dataset: Literal["phantom", "bids", "wen2018"] = Field(
        "phantom",
        description="`phantom`: simulated; `bids`: bids_dir; `wen2018`: Wen 2018's own layout",
    )
    bids_dir: str | None = Field(None, description="raw BIDS data set, for dataset: bids")
    derivatives: str | None = Field(
        None, description="folder of existing fMRIPrep derivatives; skips preprocessing"
    )
    subjects: Annotated[list[Label], Field(min_length=1, description="labels, without `sub-`")]
    tasks: list[str] = Field(
        [],
        description="tasks whose runs are read, names or patterns (`s01e*`); empty: all",
        exclude_if=lambda tasks: not tasks,
    )
    splits: Splits
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="seed of all random numbers; also determines the simulated cohort"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="precision of training and generation; `auto`: bf16 if the device supports it",
    )
    gpus: Annotated[int, Field(ge=1)] = Field(
        1, description="GPUs for masked pretraining and tuning, one process each, on one machine"
    )
    phantom: PhantomSettings = PhantomSettings()
    wen2018: Wen2018Settings = Wen2018Settings()
    preprocess: PreprocessSettings = PreprocessSettings()
    bold: BoldSettings = BoldSettings()
    clips: ClipSettings = ClipSettings()
    video_llm: VideoLLMSettings = VideoLLMSettings()
    captions: CaptionSettings = CaptionSettings()
    pretraining: PretrainingSettings = PretrainingSettings()
    encoder: EncoderSettings = EncoderSettings()
    align: AlignSettings = AlignSettings()
    adapt: AdaptSettings = AdaptSettings()
    tune: TuneSettings = TuneSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    table2: Table2Settings = Table2Settings()
    snr_curve: SNRCurveSettings = SNRCurveSettings()
    arms: dict[ArmName, dict[OfArm, dict[str, Any]]] = Field(
        {"full": {}},
        description="name of an arm -> settings of encoder, align, adapt, tune that differ",
    )

    @property
    def backend(self) -> str:
        """What preprocesses: Wen 2018 is published preprocessed."""
        return "wen2018" if self.dataset == "wen2018" else self.preprocess.backend

    @property
    def derivatives_dir(self) -> Path:
        """Where preprocessed runs lie, or will: the user's own, or a folder in data/."""
        return Path(self.derivatives or f"data/derivatives/{self.backend}")

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if len(set(self.subjects)) < len(self.subjects):
            raise ValueError("subjects: one is named twice")
        if self.dataset == "bids" and self.bids_dir is None:
            raise ValueError("bids_dir: is needed for dataset: bids")
        if self.dataset == "wen2018":
            self._fits_wen2018()
        if self.gpus > 1 and self.video_llm.device_map is not None:
            raise ValueError("gpus: a process on each needs a whole LLM; leave device_map out")
        if self.dataset == "phantom" and self.clips.duration != self.phantom.clip_seconds:
            raise ValueError("clips.duration: is not phantom.clip_seconds, the length of a scene")
        if strangers := sorted(set(self.table2.targets or []) - set(self.subjects)):
            raise ValueError(f"table2.targets: {', '.join(strangers)} is none of the subjects")
        if unknown := sorted(set(self.table2.arms or []) - set(self.arms)):
            raise ValueError(f"table2.arms: {', '.join(unknown)} is none of the arms")
        self._grayordinates()
        if "reference" in self.arms:
            raise ValueError(
                "arms.reference: is the name of what needs no training; choose another"
            )
        for arm in self.arms:
            encoder = self.arm(arm).encoder
            if encoder.embed_dim % encoder.num_heads:
                raise ValueError(
                    f"arms.{arm}: encoder.embed_dim is not a multiple of encoder.num_heads"
                )
            one_dimensional = encoder.tokenizer == "patch1d" or self.bold.space == "fsLR"
            if not one_dimensional and encoder.embed_dim < encoder.patch_size**3:
                raise ValueError(f"arms.{arm}: encoder.embed_dim is below encoder.patch_size cubed")
            if one_dimensional and encoder.embed_dim < encoder.patch_values:
                raise ValueError(f"arms.{arm}: encoder.embed_dim is below encoder.patch_values")
            if encoder.temporal and encoder.tokenizer != "patch1d":
                raise ValueError(f"arms.{arm}: encoder.temporal: is for encoder.tokenizer: patch1d")
        return self

    def _grayordinates(self) -> None:
        """What reading CIFTI needs, and what is for CIFTI alone."""
        if self.bold.space != "fsLR":
            for key in ("rois", "atlas", "surfaces"):
                if getattr(self.bold, key) is not None:
                    raise ValueError(f"bold.{key}: is for bold.space: fsLR")
            return
        if self.dataset == "phantom":
            raise ValueError("bold.space: the phantom has volumes alone")
        made = self.dataset == "bids" and self.derivatives is None
        if made and not (self.preprocess.backend == "fmriprep" and self.preprocess.cifti):
            raise ValueError(
                "bold.space: fsLR needs derivatives, or preprocess: backend: fmriprep, cifti: true"
            )

    def _fits_wen2018(self) -> None:
        own = self.wen2018
        if not own.roots:
            raise ValueError("wen2018.roots: is needed for dataset: wen2018")
        if strangers := [s for s in self.subjects if not re.fullmatch("0*[1-3]", s)]:
            raise ValueError(f"subjects: {', '.join(strangers)}: Wen 2018 has 01, 02 and 03")
        if len({int(s) for s in self.subjects}) < len(self.subjects):
            raise ValueError("subjects: one is named twice")
        if self.derivatives is not None:
            raise ValueError("derivatives: are made of Wen 2018's own files; leave it out")
        if self.bold.space != own.space:
            raise ValueError(f"bold.space: is {own.space} for wen2018.kind: {own.kind}")
        if self.bold.confounds not in ("none", "polynomial"):
            raise ValueError(
                "bold.confounds: Wen 2018 is published without any; set polynomial or none"
            )

    def arm(self, name: str) -> Config:
        """The settings of one arm: these, with the arm's own laid over them."""
        sections = {}
        for key, over in self.arms[name].items():
            own = getattr(self, key)
            try:
                sections[key] = type(own).model_validate(_merge(own.model_dump(), over))
            except ValidationError as error:
                raise ValueError(_wrong(error, f"arms.{name}.{key}")) from None
        return self.model_copy(update=sections)

    def of_one_arm(self) -> str:
        """What the arm `full` of any one subject at any SNR depends on, as JSON."""
        apart = {"subjects", "table2", "snr_curve", "wen2018", "gpus"}
        found = self.model_dump(mode="json", exclude=apart)
        found["arms"] = {"full": found["arms"].get("full", {})}
        del found["phantom"]["snr"]
        return json.dumps(found, sort_keys=True)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, section by section."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


# what pydantic adds to a key that may be one of several things
ALTERNATIVE = re.compile(r"^(literal\[|constrained-str$)")
FORMS = "hub:org/name@commit, path:folder or pypi:package==version"
PLAIN = {  # in place of pydantic's words
    "extra_forbidden": "there is no such key",
    "string_type": "write it in quotation marks",
    "missing": "is needed",
}


def _wrong(error: ValidationError, section: str = "") -> str:
    """What a validation error says, key by key, on one line."""
    said: dict[str, str] = {}
    for e in error.errors():
        parts = [str(p) for p in e["loc"] if p != "[key]" and not ALTERNATIVE.match(str(p))]
        key = ".".join(filter(None, (section, *parts)))
        message = PLAIN.get(e["type"], e["msg"]).replace("Value error, ", "")
        if e["type"] == "extra_forbidden" and (now := new_name(*["", *key.split(".")][-2:])):
            message = f"is now called {now}"
        if e["type"] == "string_pattern_mismatch" and e["ctx"]["pattern"] == LABEL:
            message = f"'{e['input']}' may hold letters and digits alone (01, not sub-01)"
        if e["type"] == "string_pattern_mismatch" and e["ctx"]["pattern"] == ARM:
            message = f"'{e['input']}' may hold letters, digits and single hyphens between them"
        if e["type"] == "string_pattern_mismatch" and e["ctx"]["pattern"] == SOURCE:
            message = f"'{e['input']}' is no {FORMS}"
        if e["type"] == "string_pattern_mismatch" and e["ctx"]["pattern"] == WEN2018_RUN:
            message = f"'{e['input']}' is not a run (write subject1/seg1_1)"
        said[key] = message  # of alternatives, what the last one says
    return "; ".join(": ".join(filter(None, pair)) for pair in said.items())


def check(raw: dict[str, Any], where: str = "config.yaml") -> Config:
    """Check settings.

    Raises:
        UserError: one line that names every wrong key.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        todo = "correct it (docs/settings.md lists every key)"
        raise UserError(where, _wrong(error), todo) from None


class _Once(yaml.SafeLoader):
    """Refuses a key that is written twice, of which YAML would keep the last and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if key in lines:
                wrong = f"{key} is written twice, in lines {lines[key]} and {line}"
                raise yaml.constructor.ConstructorError(problem=wrong)
            lines[key] = line
        return super().construct_mapping(node, deep)


def read(path: str | Path) -> dict[str, Any]:
    """The settings of one YAML file, as they stand.

    Raises:
        UserError: no file, no YAML, or a key that is written twice.
    """
    try:
        found = yaml.load(Path(path).read_text(), Loader=_Once) or {}
    except FileNotFoundError:
        raise UserError(path, "does not exist", "correct --configfile") from None
    except yaml.constructor.ConstructorError as error:
        raise UserError(path, str(error.problem), "make them one") from None
    except yaml.YAMLError as error:
        raise UserError(path, f"is not YAML ({error})", "correct it") from None
    if not isinstance(found, dict):
        raise UserError(path, "holds no settings", "write it as key: value")
    return found


def load(*paths: str | Path) -> Config:
    """Read YAML files, later ones laid over earlier ones, and check the whole."""
    merged: dict[str, Any] = {}
    for path in paths:
        merged = _merge(merged, read(path))
    return check(merged, ", ".join(str(p) for p in paths))
