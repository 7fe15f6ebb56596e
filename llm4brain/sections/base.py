"""Base classes and types shared by all sections of the settings."""

from __future__ import annotations

import json
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
LABEL = r"^[0-9A-Za-z]+$"
Label = Annotated[str, Field(pattern=LABEL)]
ARM = r"^[0-9A-Za-z]+(-[0-9A-Za-z]+)*$"
ArmName = Annotated[str, Field(pattern=ARM)]
SOURCE = r"^(hub:.+|path:.+|pypi:.+==.+)$"
Source = Annotated[str, Field(pattern=SOURCE)]


class Settings(BaseModel):
    """A frozen section. Unknown keys are errors, so a typo does not silently use the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def given(cls, *texts: str) -> Self:
        """Only the keys that a job was given, as one or several JSON objects.

        Reading any other key raises an AttributeError instead of returning its default. Otherwise a
        job could use a setting that its rule does not track, and would not rerun when it changes.
        """
        part = cls.model_validate({key: v for t in texts for key, v in json.loads(t).items()})
        for key in cls.model_fields.keys() - part.model_fields_set:
            del part.__dict__[key]
        return part


class FitSettings(Settings):
    """One training run of `llm4brain.training.fit`."""

    epochs: Annotated[
        int, Field(ge=0, description="passes over the data; the best epoch on validation is kept")
    ]
    batch_size: Annotated[
        int, Field(ge=1, description="samples held at once, by all GPUs together")
    ]
    gradient_accumulation_steps: Count = Field(1, description="batches per optimiser step")
    lr: Annotated[float, Field(gt=0, description="peak learning rate of AdamW")]
    weight_decay: float = Field(0.05, description="weight decay of AdamW")
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="fraction of steps with linear warmup; then cosine decay"
    )
    max_grad_norm: Positive = Field(0.8, description="maximum gradient norm")
