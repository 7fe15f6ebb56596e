"""Render the films and captions that train the small video-LLM."""

from pathlib import Path

from llm4brain import steps
from llm4brain.phantom.dataset import write_video_films
from llm4brain.provenance import record
from llm4brain.sections import PhantomSettings


def main(
    out_dir: Path,
    settings: str,
    seed: int = 0,
    code: str = "",
) -> None:
    phantom = PhantomSettings.given(settings)
    write_video_films(out_dir, phantom, seed, record(phantom.model_dump(), code, seed))


if __name__ == "__main__":
    steps.run(main)
