"""Takes a registered model along to other tools: a folder in the format of transformers."""

from pathlib import Path

from components.errors import UserError, writing
from components.models.capabilities import IsPretrained
from components.project import Project
from components.registry.loading import load_package, package_folder
from components.registry.references import resolve
from components.tracking import Tracker


def export_registered(project: Project, tracker: Tracker, ref: str, folder: Path) -> str:
    """Write the version that ``ref`` means into ``folder``, which must be empty or new; returns that version.

    Raises:
        UserError: the model has no such format, its code is no longer the code here, or ``folder`` holds something.
    """
    if (folder.is_dir() and any(folder.iterdir())) or folder.is_file():
        raise UserError(f"{folder} holds something already: give --to a new folder.")
    version = resolve(tracker, ref)
    with load_package(package_folder(project, tracker, version)) as loaded:
        if loaded.model is None:
            raise UserError(f"{version.ref} was packaged with other code than stands here: train it anew, or export it with the code of its commit.")
        if not isinstance(loaded.model, IsPretrained):
            raise UserError(f"{version.ref} has no form that transformers reads: choose a model of a family that has one (gpt with backbone llama).")
        with writing(folder):
            loaded.model.export_pretrained(folder)
    return version.ref
