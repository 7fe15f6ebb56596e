"""Map of the gate: where the responses of different people to the same clips agree."""

from pathlib import Path

import numpy as np

from llm4brain import steps
from llm4brain.evaluate.figure import save
from llm4brain.evaluate.grayordinates import draw_areas, draw_surfaces, save_scalars, scalars
from llm4brain.evaluate.volumes import draw_gate, image, save_image
from llm4brain.io import Arrays


def main(
    adapted: Path,
    features: Path,
    out: Path,
    plot: Path,
    title: str,
    simulated: bool = False,
    surfaces: list[Path] | None = None,
    code: str = "",
) -> None:
    """`features` may be of any subject in the cohort; they provide the grid."""
    arrays, meta = Arrays(adapted), Arrays(features).meta
    gate, voxels = arrays["gate"], arrays["grid.voxels"]
    data = "simulated" if simulated else "measured"
    named = f"{data} data: agreement of responses"
    title = f"Agreement of responses: {title}"
    if "cifti" in meta:
        save_scalars(scalars(gate, voxels, meta, named), out)
        if surfaces:
            figure = draw_surfaces(gate, voxels, meta, surfaces, 0.0, title)
        else:
            figure = draw_areas(gate, gate, meta["cifti"]["areas"], 0.0, title)
    else:
        made = image(gate, voxels, np.array(meta["affine"]), tuple(meta["shape"]), named)
        save_image(made, out)
        figure = draw_gate(made, title)
    save(figure, plot, dpi=130)


if __name__ == "__main__":
    steps.run(main)
