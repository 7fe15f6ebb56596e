"""Download one commit of a Hugging Face Hub repository, safetensors only, with one-line errors.

A branch such as `main` can change. A source should therefore name a commit; otherwise the commit
that was downloaded is recorded next to the weights and used again.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from llm4brain.errors import UserError, disk_is_full
from llm4brain.io import missing, read_json, write_json

FORM = re.compile(r"^(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?$")
COMMIT = re.compile(r"^[0-9a-f]{40}$")
RECORD = "hub.json"  # repository, revision and commit of the model in a folder
# Weights as safetensors, and text files. Pickled weights and a repository's .py files can execute
# code, so they are neither downloaded nor copied from a cache or a folder.
TAKEN = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*")


@dataclass(frozen=True)
class Repository:
    """`org/name@revision`; a revision is a commit, a branch or a tag.

    >>> Repository.parse("org/name"), Repository.parse("org/name@v1").pinned
    (Repository(name='org/name', revision='main'), False)
    """

    name: str
    revision: str

    @classmethod
    def parse(cls, text: str) -> Repository:
        """Parse `org/name@revision`.

        Raises:
            UserError: the text does not have that form.
        """
        match = FORM.match(text)
        if match is None:
            raise UserError(f"hub:{text}", "is not org/name@revision", "correct the source")
        return cls(match["name"], match["revision"] or "main")

    @property
    def pinned(self) -> bool:
        """Whether the revision is a full commit hash, which can never change."""
        return COMMIT.match(self.revision) is not None


def warning(source: str, folder: Path) -> str | None:
    """Warning about a source that names no commit, to show before the first job.

    Args:
        source: any source string.
        folder: current or future folder of its model.

    Returns:
        The warning, or None.
    """
    kind, _, rest = source.partition(":")
    if kind != "hub" or (repository := Repository.parse(rest)).pinned:
        return None
    if commit := recorded(repository, folder):
        todo = f"{commit} was taken before and is taken again; write hub:{repository.name}@{commit}"
    else:
        todo = f"the one that is taken will stand in {folder / RECORD}: write it behind the @"
    return f"{source}: names no commit, so it can change; {todo}"


def recorded(repository: Repository, folder: Path) -> str | None:
    """The commit in a folder, if the folder was made from this repository and revision."""
    if not (folder / RECORD).is_file():
        return None
    kept = read_json(folder / RECORD)
    same = (kept["repository"], kept["revision"]) == (repository.name, repository.revision)
    return kept["commit"] if same else None


def fetch(rest: str, whole: Path, before: Path) -> None:
    """Copy a commit's safetensors and settings into the folder `whole`, using the hub's cache.

    Args:
        rest: `org/name@revision`.
        whole: folder to make.
        before: folder made from this source earlier; its commit is used again.

    Raises:
        UserError: no network and nothing in the cache, no such repository or revision, or no
            permission to read it.
    """
    repository = Repository.parse(rest)
    cached = _snapshot(repository, recorded(repository, before) or repository.revision)
    copied(cached, whole, TAKEN)
    made_of = {"repository": repository.name, "revision": repository.revision}
    write_json(whole / RECORD, made_of | {"commit": cached.name})


def copied(
    folder: Path, out: Path, names: Sequence[str] = ("*",), home: Path | None = None
) -> None:
    """Copy a model's files to a new folder, but not their permissions, which may be to read alone.

    Args:
        folder: may be a snapshot of the hub's cache, whose files are links into it.
        out: folder to make.
        names: patterns of the names of files that are taken.
        home: folder that links may lead into; by default `folder`, or its repository's cache.

    Raises:
        UserError: a link that leads nowhere or out of `home`: what it leads to would become part of
            a model that may be passed on.
    """
    home = home or _home(folder.resolve())
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.rglob("*")):  # which does not enter linked folders
        taken = any(fnmatch(file.name, name) for name in names)
        target = out / file.relative_to(folder)
        if file.is_symlink() and (taken or file.is_dir()):
            if not file.exists():
                raise missing(file, "get the model again")
            where = file.resolve()
            if not where.is_relative_to(home) or folder.resolve().is_relative_to(where):
                wrong = f"is a link that leads out of the model's folder (to {file.readlink()})"
                raise UserError(file, wrong, "put the file itself there, or leave it out")
            if file.is_dir():
                copied(file, target, names, home)
        if taken and file.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def _home(folder: Path) -> Path:
    """The folder, or the repository's folder in the hub's cache that it is part of."""
    snapshots = (p for p in folder.parents if p.name == "snapshots")
    return next((p.parent for p in snapshots), folder)


def _snapshot(repository: Repository, revision: str) -> Path:
    """The folder of a commit in the hub's cache, downloaded if there is a network.

    On an offline machine, the cache is used (HF_HUB_OFFLINE=1, HF_HOME).
    """
    from huggingface_hub import constants, errors, snapshot_download

    def failed(why: str, todo: str) -> UserError:
        source = f"hub:{repository.name}@{revision}"
        return UserError(source, f"cannot be fetched: {why}", todo)

    once = "fetch it once with a network, or set HF_HOME to a cache that holds it"
    try:
        try:
            taken = list(TAKEN)
            return Path(snapshot_download(repository.name, revision=revision, allow_patterns=taken))
        except Exception as error:  # the client may take a full disk for a missing network
            if not disk_is_full(error):
                raise
            todo = f"free space in {constants.HF_HUB_CACHE}, or set HF_HOME to another disk"
            raise failed("the disk is full", todo) from None
    except errors.GatedRepoError:
        todo = "accept its terms on its page, then log in (hf auth login) or set HF_TOKEN"
        raise failed("it is gated", todo) from None
    except errors.RepositoryNotFoundError:
        todo = "correct the name, or log in (hf auth login) if it is private"
        raise failed("the hub has no such repository", todo) from None
    except errors.RevisionNotFoundError:
        raise failed("there is no such revision", "correct what stands behind the @") from None
    except errors.LocalEntryNotFoundError:
        offline = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
        raise failed(f"no network{offline}, and the cache does not hold all of it", once) from None
    except (errors.HTTPError, errors.RevisionResolutionError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise failed(reason, "check name, revision and network") from None
