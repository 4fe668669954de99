"""What dvc.yaml calls: `python -m components.data STAGE NAME`, in the project's folder or below."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from components.data.dvc_repo import QUIET
from components.data.failure import disk_full, failure_path, write_failure
from components.data.stamp import STAGES, Stamp, read_stamp
from components.errors import UserError, nearest
from components.project import Project


def main(arguments: list[str]) -> int:
    """Exit code 0, or 2 for what the user can mend; the message goes to stderr and to the project's state."""
    try:
        stage, name, project = _parse(arguments)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    failure = failure_path(project, name, stage)
    failure.unlink(missing_ok=True)
    try:
        with _disk_full_is_the_users(project), project.lock(f"stage_{name}", f"python -m components.data {stage} {name}"):
            _run(project, name, stage)
    except KeyboardInterrupt:
        return 130
    except UserError as error:
        if not _quiet():
            print(f"Error: {error}", file=sys.stderr)
        with contextlib.suppress(OSError):  # a full disk cannot take the note either; stderr has the message
            write_failure(failure, error)
        return 2
    return 0


def _parse(arguments: list[str]) -> tuple[str, str, Project]:
    known = ("probe", *STAGES)
    if len(arguments) != 2:
        raise UserError(f"Usage: python -m components.data {{{','.join(known)}}} NAME")
    stage, name = arguments
    if stage not in known:
        raise UserError(f"There is no stage {stage!r}; {nearest(stage, known)}")
    return stage, name, Project.find()


def _run(project: Project, name: str, stage: str) -> None:
    started = time.monotonic()
    if stage == "probe":
        from components.data.stages import probe

        print(f"probe {name}: {'changed' if probe(project, name) else 'unchanged'}")
        return
    line = _stage_function(stage)(project, read_stamp(project, name, stage))
    if not _quiet():
        print(f"{stage} {name}: {line} in {time.monotonic() - started:.1f} s", flush=True)


def _quiet() -> bool:
    """Started by a flow, which says what happened itself."""
    return bool(os.environ.get(QUIET))


def _stage_function(stage: str) -> Callable[[Project, Stamp], str]:
    """The stage's function, wrapped so that it returns its one line for people."""
    if stage == "validate":
        from components.data.validate import validate

        return lambda project, stamp: validate(project, stamp).summary
    from components.data.augment import augment
    from components.data.clean import clean
    from components.data.collect import collect

    function = {"collect": collect, "clean": clean, "augment": augment}[stage]

    def run(project: Project, stamp: Stamp) -> str:
        manifest = function(project, stamp)
        rows = ", ".join(f"{split} {number:,}" for split, number in manifest.rows_by_split().items())
        dropped = sum(manifest.dropped.values())
        return f"{rows} rows" + (f", {dropped:,} in quarantine" if dropped else "")

    return run


@contextlib.contextmanager
def _disk_full_is_the_users(project: Project) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        explained = disk_full(project, error)
        if explained is None:
            raise
        raise explained from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
