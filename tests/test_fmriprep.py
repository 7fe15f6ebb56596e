"""The fMRIPrep backend: real wrapper and commands, against a stand-in `docker` and `apptainer`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import container_stand_in
import pytest
from conftest import ROOT
from preprocess_data import write_run
from pydantic import ValidationError

from llm4brain.errors import UserError
from llm4brain.preprocess import containers, fmriprep
from llm4brain.preprocess.names import Recording
from llm4brain.sections import PreprocessSettings


class Place:
    """A BIDS set, a licence and a stand-in docker on the PATH."""

    def __init__(self, root: Path, monkeypatch):
        self.root, self.bids, self.out = root, root / "raw", root / "out"
        self.work = root / "work" / "sub-01"
        self.bin = root / "bin"
        container_stand_in.install(self.bin, "docker", "apptainer")
        self.licence = root / "license.txt"
        self.licence.write_text("licence")
        for run in ("01", "02"):
            write_run(self.bids, f"sub-01_task-film_run-{run}", volumes=2)
        write_run(self.bids, "sub-02_task-film_run-01", volumes=2)
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        for name in ("FS_LICENSE", "TEMPLATEFLOW_HOME"):
            monkeypatch.delenv(name, raising=False)
        self.settings = PreprocessSettings(
            backend="fmriprep", fs_license=str(self.licence), cifti=True
        )

    def mode(self, mode: str) -> None:
        (self.bin / "mode").write_text(mode)

    def calls(self) -> list[dict]:
        return container_stand_in.calls(self.bin)

    def runs(self) -> list[list[str]]:
        return [
            c["args"]
            for c in self.calls()
            if c["args"][0] == "run" and "--entrypoint=free" not in c["args"]
        ]

    def go(self, tasks=(), **over):
        settings = self.settings.model_copy(update=over)
        return fmriprep.preprocess_subject(
            self.bids, self.out, self.work, "01", settings, tasks, threads=8, mem_mb=32000
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
        ("no image", "nipreps/fmriprep:25.2.7: is not an image .* docker pull nipreps/fmriprep"),
        ("fails", "sub-01: fMRIPrep ended with status 3"),
        ("killed", "sub-01: fMRIPrep was killed, .* memory; raise preprocess.mem_mb; a rerun"),
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


def started(place):
    """The script as a job, once its container runs."""
    command = [sys.executable, ROOT / "scripts" / "preprocess_fmriprep.py", "--subject", "01"]
    command += ["--bids", place.bids, "--out", place.out, "--work", place.work, "--mem-mb", 32000]
    command += ["--settings", place.settings.model_dump_json(), "--machine", "{}"]
    told = os.environ | {"PYTHONPATH": str(ROOT)}
    place.mode("hangs")
    job = subprocess.Popen(list(map(str, command)), env=told, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not running(place) and time.monotonic() < deadline:
        time.sleep(0.05)
    return job


def running(place):
    return list(place.bin.glob("container-*"))


def test_a_job_that_is_told_to_end_ends_its_container(place):
    job = started(place)
    assert running(place)
    job.terminate()
    assert job.wait() == 128 + signal.SIGTERM
    assert not running(place)


def test_a_container_that_a_killed_job_left_is_ended_before_the_next(place):
    job = started(place)
    job.kill()
    job.wait()
    (left,) = running(place)
    other = place.bin / "container-1"
    other.write_text("/of/another/subject")
    place.mode("well")
    place.go()
    assert running(place) == [other]
    assert ["kill", left.name] in [call["args"] for call in place.calls()]


@pytest.mark.bad_input("fMRIPrep", "no Docker")
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


def test_slice_times_in_milliseconds_are_told_before_hours_of_work(place):
    sidecar = next(place.bids.glob("sub-01/func/*_bold.json"))
    sidecar.write_text('{"RepetitionTime": 2, "SliceTiming": [0, 1000]}')
    with pytest.raises(UserError, match="has 1000 in its SliceTiming, not within its TR of 2 s"):
        place.go()
    assert not place.runs()


# -- Apptainer


def test_apptainer_gets_the_right_command(place, monkeypatch):
    place.go(engine="apptainer")
    (call,) = place.calls()
    assert call["engine"] == "apptainer"
    assert call["stdin"] == "/dev/null"
    binds = [f"{place.bids}:/data:ro", f"{place.out}:/out", f"{place.work}:/work"]
    binds.append(f"{place.licence}:/opt/freesurfer/license.txt:ro")
    assert call["args"] == [
        *("run", "--cleanenv", *(word for bind in binds for word in ("--bind", bind))),
        *("docker://nipreps/fmriprep:25.2.7", "/data", "/out", "participant"),
        *("--participant-label", "01", "--fs-license-file", "/opt/freesurfer/license.txt"),
        *("--output-spaces", "MNI152NLin2009cAsym:res-2", "--cifti-output", "91k"),
        *("--nthreads", "8", "--omp-nthreads", "4", "--mem_mb", "32000"),
        *("-w", "/work", "--skip-bids-validation", "--notrack"),
    ]
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(place.root))  # templates of the cluster's own
    place.go(engine="apptainer")
    args = place.runs()[-1]
    assert f"{place.root}:/templateflow" in args
    assert args[args.index("--env") + 1] == "TEMPLATEFLOW_HOME=/templateflow"


def test_what_apptainer_lacks_is_one_line(place, monkeypatch):
    sif = place.root / "fmriprep.sif"
    said = "fmriprep.sif: does not exist; build it once with: apptainer build"
    with pytest.raises(UserError, match=said):
        place.go(engine="apptainer", image=str(sif))
    assert not place.runs()
    sif.touch()
    place.go(engine="apptainer", image=str(sif))
    assert str(sif) in place.runs()[0]
    work, place.work = place.work, place.root / "a, b"
    with pytest.raises(UserError, match="a, b: holds a comma or a colon"):
        place.go(engine="apptainer")
    place.work = work
    monkeypatch.setenv("PATH", str(place.root))
    with pytest.raises(UserError, match="apptainer: is not on the PATH"):
        place.go(engine="apptainer")


# -- which runs


def test_fmriprep_is_told_of_the_tasks_that_are_read(place):
    write_run(place.bids, "sub-01_task-rest_run-01", volumes=2)
    for engine, inside in (
        ("docker", str(Path("/", "tmp", "bids_filter.json"))),  # where the wrapper mounts it
        ("apptainer", "/work" + "/tasks.json"),
    ):
        written = place.go(["fi*"], engine=engine)
        args = place.runs()[-1]
        assert args[args.index("--bids-filter-file") + 1] == inside
        chosen = json.loads((place.work / "tasks.json").read_text())
        assert chosen == {"bold": {"datatype": "func", "suffix": "bold", "task": ["film"]}}
        assert not [path for path in written if "task-rest" in path.name]


# -- further arguments


def test_further_arguments_reach_fmriprep(place):
    more = ["--fs-no-reconall", "--dummy-scans", "4"]
    for engine in ("docker", "apptainer"):
        place.go(engine=engine, extra=more)
        args = place.runs()[-1]
        at = args.index("--fs-no-reconall")
        assert args[at : at + 3] == more
        assert args[-args[::-1].index("/data") - 1 :][:3] == ["/data", "/out", "participant"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--output-spaces", "T1w"], "--output-spaces is set by the pipeline itself"),
        (["--mem=8000"], "--mem=8000 is set"),
        (["--n_cpus", "3"], "--n_cpus is set"),
        (["--participant", "02"], "--participant is set"),  # argparse takes it for the whole
        (["--task-id", "rest"], "--task-id is set"),
        (["-w", "elsewhere"], "-w is set"),
        (["T1w"], "begins with 'T1w', which is not an option"),
    ],
)
def test_what_the_pipeline_sets_itself_is_no_further_argument(extra, said):
    with pytest.raises(ValidationError, match=said):
        PreprocessSettings(extra=extra)


# -- the real parser, where there is one


def test_fmriprep_itself_takes_the_command(place):
    """LLM4BRAIN_FMRIPREP names a Python that can import fmriprep: docs/preprocessing.md."""
    python = os.environ.get("LLM4BRAIN_FMRIPREP")
    if python is None:
        pytest.skip("LLM4BRAIN_FMRIPREP names no Python that has fMRIPrep")
    place.out.mkdir()
    settings = place.settings.model_copy(update={"extra": ["--fs-no-reconall", "--ignore", "t2w"]})
    places = containers.Places(*map(str, (place.bids, place.out, place.work, place.licence)))
    place.work.mkdir(parents=True)
    (place.work / "tasks.json").write_text('{"bold": {"task": ["film"]}}')
    words = fmriprep.arguments(places, "01", settings, ["film"], threads=8, mem_mb=32000)
    code = (
        "import json, sys\n"
        "from fmriprep.cli.parser import _build_parser\n"
        "found = vars(_build_parser().parse_args(sys.argv[1:]))\n"
        "print(json.dumps({k: str(v) for k, v in found.items()}))"
    )
    done = subprocess.run([python, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["bids_dir"] == str(place.bids)
    assert found["output_dir"] == str(place.out)
    assert found["work_dir"] == str(place.work)
    assert found["participant_label"] == "['01']"
    assert found["fs_license_file"] == str(place.licence)
    assert "MNI152NLin2009cAsym:res-2" in found["output_spaces"]
    assert found["cifti_output"] == "91k"
    assert (found["nprocs"], found["omp_nthreads"], found["memory_gb"]) == ("8", "4", "32.0")
    assert found["ignore"] == "['t2w']"
    assert found["bids_filters"] == "{'bold': {'task': ['film']}}"
    assert found["run_reconall"] == "False"
    assert (found["skip_bids_validation"], found["notrack"]) == ("True", "True")
