"""docs/your-data.md: its commands, on a data set of each event encoding, from disk to table 1."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
import yaml
from conftest import ROOT, shared

from llm4brain.io import read_table
from llm4brain.phantom.example import write_example

PAGE = (ROOT / "docs" / "your-data.md").read_text()
MAKE, CHECK, RUN = re.search(
    r"```bash\n([^`\n]*)\n```.*?```bash\n([^`\n]*)\n([^`\n]*)\n```", PAGE, re.DOTALL
).groups()  # fmt: skip
SETTINGS = re.findall(r"```yaml\n# [^\n]*\n(.*?)```", PAGE, re.DOTALL)
LIKE = dict(zip(("bold-moments", "had", "cneuromod"), SETTINGS, strict=True))
HOME = "/data/my study"


def command(line, home):
    """A line of the page, as a shell runs it in a clone."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-c", line.replace(HOME, str(home))],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PATH": path},
    )  # fmt: skip


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Settings that name a video-LLM of two layers, in place of the one that would be trained."""

    def make(folder):
        source = f"path:{tiny_models.blip2(folder / 'blip2', 'llama')}"
        own = {"video_llm": {"source": source}}
        (folder / "models.yaml").write_text(yaml.safe_dump(own))

    return shared(tmp_path_factory, "your-data-models", make) / "models.yaml"


@pytest.fixture
def study(tmp_path, request):
    """A folder with the example and its settings: the page's command makes the first."""
    home, like = tmp_path / "my study", request.param
    if like == "bold-moments":
        done = command(MAKE, home)
        assert done.returncode == 0, done.stderr
    else:
        write_example(home / "data set", like)
    (home / "my.yaml").write_text(LIKE[like].replace(HOME, str(home)))
    return home, like


@pytest.mark.long
@pytest.mark.parametrize("study", LIKE, indirect=True)
def test_the_page_s_commands_make_table_1(study, models):
    home, like = study
    validator = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run(
        [validator, home / "data set", "--ignoreWarnings"], capture_output=True, text=True
    )
    found = set(re.findall(r"\[ERROR\] (\w+)", done.stdout))
    assert found == ({"TSV_VALUE_INCORRECT_TYPE"} if like == "had" else set())  # its spaces

    checked = command(CHECK, home)
    assert "data: ok" in checked.stdout, checked.stdout + checked.stderr
    done = command(f"{RUN} '{models}'", home)
    assert done.returncode == 0, done.stdout + done.stderr
    clips = read_table(home / "data" / "clips.tsv")
    trials = read_table(home / "data" / "features" / "sub-01_trials.tsv")
    table = read_table(home / "results" / "table1.csv", ("system", "subject", "data"))
    splits = read_table(home / "data set" / "code" / "splits.tsv").set_index("stim_file")["split"]
    assert clips.groupby("stim_file")["split"].first().to_dict() == splits.to_dict()
    assert set(trials["clip_id"]) == set(clips["clip_id"])  # each has a window
    test = clips[clips["split"] == "test"]
    assert set(table["n_clips"]) == {len(test)}
    assert {"model", "ridge", "video", "shuffled_within"} <= set(table["system"])
    assert set(table["data"]) == {"simulated"}  # as its description says
