"""Map of where a model decodes from: each voxel's contribution to identifying the clip."""

from pathlib import Path

from llm4brain import steps
from llm4brain.align.basis import Space
from llm4brain.align.reader import BrainReader
from llm4brain.brain import cohort
from llm4brain.evaluate.figure import save
from llm4brain.evaluate.grayordinates import (
    draw_areas,
    draw_surfaces,
    save_scalars,
    scalars,
    sums,
)
from llm4brain.evaluate.maps import brain_map, same_grid, summary
from llm4brain.evaluate.volumes import draw_map, image, save_image
from llm4brain.io import Arrays, write_json
from llm4brain.provenance import record
from llm4brain.sections import EvaluateSettings


def main(
    subject: str,
    features: Path,
    trials: Path,
    video: Path,
    adapted: Path,
    out: Path,
    z_out: Path,
    about: Path,
    plot: Path,
    title: str,
    settings: str,
    seed: int,
    simulated: bool = False,
    surfaces: list[Path] | None = None,
    code: str = "",
) -> None:
    chosen, model = EvaluateSettings.given(settings), Arrays(adapted)
    test = cohort.load([subject], [features], [trials], ("test",), chosen.repeats)
    same_grid(features, test, model)
    tokens, names = Arrays(video), list(test.column("clip_id"))
    rows = cohort.rows_of(tokens.meta["clip_id"], names)
    reader = BrainReader.load(model)
    truth = Space.of(reader.basis).truth(tokens.mapped("video_tokens"), rows)
    found = brain_map(reader, test.windows, names, truth, subject, chosen.block_seconds, seed)

    meta, more = Arrays(features).meta, {}
    data = "simulated" if simulated else "measured"
    said = f"{data} data: contribution to the match"
    if "cifti" in meta:
        areas = meta["cifti"]["areas"]
        for values, path, name in ((found.contribution, out, said), (found.z, z_out, f"{said}, z")):
            save_scalars(scalars(values, test.voxels, meta, name), path)
        more = {"areas": sums(found.contribution, areas)}
        if surfaces:
            figure = draw_surfaces(found.z, test.voxels, meta, surfaces, found.threshold, title)
        else:
            figure = draw_areas(found.contribution, found.z, areas, found.threshold, title)
    else:
        grid = (test.voxels, test.affine, tuple(meta["shape"]))
        z = image(found.z, *grid, f"{said}, z against shuffles")
        save_image(image(found.contribution, *grid, said), out)
        save_image(z, z_out)
        figure = draw_map(z, found.threshold, title)
    save(figure, plot, dpi=130)
    made = {"provenance": record(chosen.model_dump(mode="json"), code, seed)}
    write_json(about, summary(found) | {"subject": subject, "data": data} | more | made)


if __name__ == "__main__":
    steps.run(main)
