"""What all sections of the settings are made of."""

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
    """A frozen section that knows all its keys: a typo is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def given(cls, *texts: str) -> Self:
        """The keys that a job was given, as one JSON object or several, and no others.

        To read another one is an AttributeError and not its default: a job that uses a setting
        which its rule does not watch would not run again when that setting changes.
        """
        part = cls.model_validate({key: v for t in texts for key, v in json.loads(t).items()})
        for key in cls.model_fields.keys() - part.model_fields_set:
            del part.__dict__[key]
        return part


class FitSettings(Settings):
    """One training run of `llm4brain.training.fit`."""

    epochs: Annotated[int, Field(ge=0, description="passes; the best one on validation is kept")]
    batch_size: Annotated[
        int, Field(ge=1, description="samples held at once, by all GPUs together")
    ]
    accumulate: Count = Field(
        1, description="batches that make a step together, where one alone has room"
    )
    lr: Annotated[float, Field(gt=0, description="peak learning rate of AdamW")]
    weight_decay: float = Field(0.05, description="of AdamW")
    warmup: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="share of steps in which the rate rises; then it falls as a cosine"
    )
    clip: Positive = Field(0.8, description="largest norm of the gradient")
