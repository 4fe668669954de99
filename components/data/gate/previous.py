"""The published version that a dataset is compared with."""

from components import git
from components.data.dataset import Manifest
from components.data.profile import Profile
from components.data.published import read_published_validation, versions
from components.errors import UserError
from components.project import Project


def profile_before(project: Project, manifest: Manifest) -> tuple[str, Profile] | None:
    """Name and profile of the newest published version of other content; None where there is none, or no git repository."""
    try:
        git.require_repository(project.root)
    except UserError:
        return None
    before = next((version for version in versions(project, manifest.name) if version.sha256 != manifest.sha256), None)
    return (f"{manifest.name}@{before.version}", read_published_validation(project, before).profile) if before else None
