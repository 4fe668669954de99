"""The published version that a dataset is compared with."""

from components import git
from components.data.dataset import Manifest
from components.data.profile import Profile
from components.data.published import read_published_validation, versions
from components.errors import UserError
from components.project import Project


def profile_before(project: Project, manifest: Manifest) -> tuple[str, Profile] | None:
    """Name and profile of the version before this content; None where there is none, or no git repository.

    That of content which is published already is the one before it then, so that validating it again finds the same.
    """
    try:
        git.require_repository(project.root)
    except UserError:
        return None
    known = versions(project, manifest.name)
    own = next((version.number for version in known if version.sha256 == manifest.sha256), None)
    before = next((version for version in known if own is None or version.number < own), None)
    return (f"{manifest.name}@{before.version}", read_published_validation(project, before).profile) if before else None
