"""Stands in for `docker` and `apptainer`: notes how it was called, and does as fMRIPrep would.

It is copied onto the PATH under either name. The file `mode` beside it says how it goes:
`well`, `no daemon`, `no image`, `fails`, `incomplete`: with empty files of fMRIPrep's names;
`real`: with derivatives that can be read, made by the minimal backend;
`breaks 02`: so too, but subject 02 breaks off after its first run;
`hangs`: the container runs until it is killed, also when its client has ended;
`killed`: the container is killed for memory.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

SPACE = "_space-MNI152NLin2009cAsym"


def mounts(args: list[str]) -> dict[str, Path]:
    """Path in the container -> path here."""
    given = [args[i + 1].split(":") for i, a in enumerate(args) if a in ("-v", "--bind")]
    return {inside: Path(here) for here, inside, *_ in given}


def empty(data: Path, out: Path, subject: str, mode: str) -> None:
    for raw in sorted(data.glob(f"sub-{subject}/**/*_bold.nii.gz")):
        stem = raw.name.removesuffix("_bold.nii.gz")
        folder = out / raw.parent.relative_to(data)
        folder.mkdir(parents=True, exist_ok=True)
        wanted = ["preproc_bold.nii.gz", "preproc_bold.json", "brain_mask.nii.gz"]
        names = [f"{SPACE}_res-2_desc-{w}" for w in wanted[: 2 if mode == "incomplete" else 3]]
        names += [f"_desc-confounds_timeseries.{end}" for end in ("tsv", "json")]
        for name in [*names, "_space-fsLR_den-91k_bold.dtseries.nii"]:
            (folder / (stem + name)).write_text("{}")


def real(data: Path, out: Path, work: Path, subject: str, mode: str) -> None:
    from llm4brain.preprocess.minimal import preprocess_subject

    if (work / "half").exists():
        print(f"sub-{subject}: resumed")
    with tempfile.TemporaryDirectory() as made:
        preprocess_subject(data, Path(made), subject)
        (out / "dataset_description.json").write_bytes(
            Path(made, "dataset_description.json").read_bytes()
        )
        files = sorted(path for path in Path(made).rglob("sub-*") if path.is_file())
        runs = sorted({file.name.split(SPACE)[0] for file in files if SPACE in file.name})
        for file in files:
            if mode == f"breaks {subject}" and not file.name.startswith(runs[0]):
                continue
            target = out / file.relative_to(made)
            target = target.with_name(target.name.replace(SPACE, f"{SPACE}_res-2"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    if mode == f"breaks {subject}":
        (work / "half").touch()
        sys.exit(1)


def main(args: list[str], here: Path) -> None:
    stdin = os.readlink("/proc/self/fd/0")
    call = {"engine": Path(sys.argv[0]).name, "args": args, "stdin": stdin}
    with open(here / "calls.jsonl", "a") as file:
        file.write(json.dumps(call) + "\n")
    mode = (here / "mode").read_text()
    if args[0] == "version":
        if mode == "no daemon":
            sys.exit("Cannot connect to the Docker daemon. Is the docker daemon running?")
        print("27.0.0")
    elif args[0] == "images":
        print("" if mode == "no image" else "0123456789ab")
    elif args[0] == "ps":
        wanted = args[-1].removeprefix("volume=")
        print(*[p.name for p in here.glob("container-*") if wanted in p.read_text().split("\n")])
    elif args[0] == "kill":
        (here / args[1]).unlink()
    elif "--entrypoint=free" in args:
        print("              total  used  free")
        print("Mem:           4000  1000  3000")  # below the 8 GB at which the wrapper asks
    elif args[0] == "run":
        if mode in ("fails", "killed"):
            sys.exit(3 if mode == "fails" else 137)
        at, subject = mounts(args), args[args.index("--participant-label") + 1]
        if mode == "hangs":
            container = here / f"container-{os.getpid()}"
            container.write_text("\n".join(map(str, at.values())))
            while container.exists():
                time.sleep(0.05)
            sys.exit(137)
        if mode == "real" or mode.startswith("breaks"):
            work = at[args[args.index("-w") + 1]]
            real(at["/data"], at["/out"], work, subject, mode)
        else:
            empty(at["/data"], at["/out"], subject, mode)


def install(folder: Path, *names: str) -> None:
    """Put it into a folder of the PATH under the names of container engines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / name
        path.write_text(f"#!{sys.executable}\n" + Path(__file__).read_text())
        path.chmod(0o755)
    (folder / "mode").write_text("well")


def calls(folder: Path) -> list[dict]:
    """How it was called, in order."""
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main(sys.argv[1:], Path(__file__).parent)
