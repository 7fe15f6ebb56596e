"""The fMRIPrep backend: the real wrapper, run against a stand-in `docker` that records."""

import json
import os
import sys
from pathlib import Path

import pytest
from preprocess_data import write_run

from llm4brain.errors import UserError
from llm4brain.preprocess import fmriprep
from llm4brain.preprocess.names import Recording
from llm4brain.sections import PreprocessSettings

# Answers what the wrapper asks; a run of fMRIPrep writes files of fMRIPrep's names.
DOCKER = """#!{python}
import json, os, pathlib, sys
args = sys.argv[1:]
here = pathlib.Path(__file__).parent
with open(here / "calls.jsonl", "a") as file:
    stdin = os.readlink("/proc/self/fd/0")
    file.write(json.dumps({{"args": args, "stdin": stdin}}) + "\\n")
mode = (here / "mode").read_text()
if args[0] == "version":
    if mode == "no daemon":
        sys.exit("Cannot connect to the Docker daemon. Is the docker daemon running?")
    print("27.0.0")
elif args[0] == "images":
    print("" if mode == "no image" else "0123456789ab")
elif "--entrypoint=free" in args:
    print("              total  used  free")
    print("Mem:           4000  1000  3000")  # below the 8 GB at which the wrapper asks
elif args[0] == "run":
    if mode == "fails":
        sys.exit(3)
    mounts = dict(reversed(args[i + 1].split(":")[:2]) for i, a in enumerate(args) if a == "-v")
    out, subject = pathlib.Path(mounts["/out"]), args[args.index("--participant-label") + 1]
    for raw in sorted(pathlib.Path(mounts["/data"]).glob("sub-" + subject + "/**/*_bold.nii.gz")):
        stem = raw.name.removesuffix("_bold.nii.gz")
        folder = out / raw.parent.relative_to(mounts["/data"])
        folder.mkdir(parents=True, exist_ok=True)
        space = stem + "_space-MNI152NLin2009cAsym_res-2_desc-"
        wanted = ["preproc_bold.nii.gz", "preproc_bold.json", "brain_mask.nii.gz"]
        for name in wanted[: 2 if mode == "incomplete" else 3]:
            (folder / (space + name)).write_text("{{}}")
        for end in ("tsv", "json"):
            (folder / (stem + "_desc-confounds_timeseries." + end)).write_text("{{}}")
        (folder / (stem + "_space-fsLR_den-91k_bold.dtseries.nii")).write_text("")
"""


class Place:
    """A BIDS set, a licence and a stand-in docker on the PATH."""

    def __init__(self, root: Path, monkeypatch):
        self.root, self.bids, self.out = root, root / "raw", root / "out"
        self.work = root / "work" / "sub-01"
        self.bin = root / "bin"
        self.bin.mkdir()
        docker = self.bin / "docker"
        docker.write_text(DOCKER.format(python=sys.executable))
        docker.chmod(0o755)
        self.mode("well")
        self.licence = root / "license.txt"
        self.licence.write_text("licence")
        for run in ("01", "02"):
            write_run(self.bids, f"sub-01_task-film_run-{run}", volumes=2)
        write_run(self.bids, "sub-02_task-film_run-01", volumes=2)
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        monkeypatch.delenv("FS_LICENSE", raising=False)
        self.settings = PreprocessSettings(
            backend="fmriprep", fs_license=str(self.licence), cifti=True
        )

    def mode(self, mode: str) -> None:
        (self.bin / "mode").write_text(mode)

    def calls(self) -> list[dict]:
        lines = self.bin / "calls.jsonl"
        return [json.loads(x) for x in lines.read_text().splitlines()] if lines.exists() else []

    def runs(self) -> list[list[str]]:
        return [
            c["args"]
            for c in self.calls()
            if c["args"][0] == "run" and "--entrypoint=free" not in c["args"]
        ]

    def go(self, **over):
        settings = self.settings.model_copy(update=over)
        return fmriprep.preprocess_subject(
            self.bids, self.out, self.work, "01", settings, threads=8, mem_mb=32000
        )


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)


def test_the_command_of_the_wrapper_is_the_documented_one(place):
    line = fmriprep.command(
        place.bids, place.out, place.work, "01", place.settings, threads=8, mem_mb=32000
    )
    assert Path(line[0]).name == "fmriprep-docker"
    assert line[1:] == [
        *(str(place.bids), str(place.out), "participant"),
        *("--participant-label", "01", "--fs-license-file", str(place.licence)),
        *("--output-spaces", "MNI152NLin2009cAsym:res-2", "--cifti-output", "91k"),
        *("--nthreads", "8", "--omp-nthreads", "4", "--mem_mb", "32000"),
        *("-w", str(place.work), "--skip-bids-validation", "--notrack", "--no-tty"),
        *("-u", f"{os.getuid()}:{os.getgid()}"),
    ]


def test_the_real_wrapper_hands_docker_the_right_command(place):
    written = place.go()
    (args,) = place.runs()
    head, tail = args[: args.index("nipreps/fmriprep:25.2.7")], args[-len(args) :]
    assert head[:2] == ["run", "--rm"]
    assert "-it" not in args
    assert "-i" not in args
    assert head[head.index("-u") + 1] == f"{os.getuid()}:{os.getgid()}"
    mounts = [head[i + 1] for i, a in enumerate(head) if a == "-v"]
    assert mounts == [
        f"{place.licence}:/opt/freesurfer/license.txt:ro",
        f"{place.bids}:/data:ro",
        f"{place.out}:/out",
        f"{place.work}:/scratch",
    ]
    inside = tail[tail.index("nipreps/fmriprep:25.2.7") + 1 :]
    assert inside == [
        *("/data", "/out", "participant", "--participant-label", "01"),
        *("--cifti-output", "91k", "--nthreads", "8", "--omp-nthreads", "4"),
        *("--mem_mb", "32000", "--skip-bids-validation", "--notrack"),
        *("-w", "/scratch", "--output-spaces", "MNI152NLin2009cAsym:res-2"),
    ]
    assert {c["stdin"] for c in place.calls()} == {"/dev/null"}
    run = Recording.parse("sub-01_task-film_run-02_bold.nii.gz")
    assert place.out / run.bold("MNI152NLin2009cAsym", "2") in written
    assert len(written) == 12


def test_another_image_is_asked_for_and_run(place):
    place.go(image="my/fmriprep:1")
    assert "my/fmriprep:1" in place.runs()[0]
    assert ["images", "-q", "my/fmriprep:1"] in [c["args"] for c in place.calls()]


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("no daemon", "docker: does not answer .*Cannot connect.*start the Docker daemon"),
        ("no image", "nipreps/fmriprep:25.2.7: is no image .* docker pull nipreps/fmriprep"),
        ("fails", "sub-01: fMRIPrep ended with status 3"),
        ("incomplete", r"run-01_space-\S*_desc-brain_mask.nii.gz: was not written"),
    ],
)
def test_what_goes_wrong_is_one_line(place, mode, said):
    place.mode(mode)
    with pytest.raises(UserError, match=said) as error:
        place.go()
    assert "\n" not in str(error.value)
    if mode.startswith("no "):
        assert not place.runs()
        assert not place.out.exists()


def test_no_docker_on_the_path(place, monkeypatch):
    monkeypatch.setenv("PATH", str(place.root))
    with pytest.raises(UserError, match="docker: is not on the PATH"):
        place.go()


def test_no_licence(place):
    with pytest.raises(UserError, match="FreeSurfer licence: is missing"):
        place.go(fs_license=None)
    with pytest.raises(UserError, match=r"gone.txt: does not exist; get one"):
        place.go(fs_license="gone.txt")
    assert not place.calls()


def test_work_folder_within_the_data_set(place):
    place.work = place.bids / "work"
    with pytest.raises(UserError, match="lies inside the BIDS data set"):
        place.go()


def test_echoes_are_one_run(place):
    names = [f"sub-01_task-film_echo-{k}_bold.nii.gz" for k in (1, 2)]
    runs = {Recording.parse(n).without("echo") for n in names}
    assert [r.stem for r in runs] == ["sub-01_task-film"]
