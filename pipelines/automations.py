"""What Prefect does when something happens: a new data version starts trainings, a failed run is told to somebody."""

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from components.data.publish import DataVersion
from components.project import Project
from pipelines.catalog import Catalog
from pipelines.flow_runs import project_tag
from pipelines.schedules import Trigger

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import Automation, AutomationCore

NEW_VERSION = "genmill.dataset.new-version"
TOLD_OF = ("build", "watch", "generate", "tune")
"""Flows of whose failure somebody is told; what they call fails with them."""
BODY = "{{ flow_run.state.message }}\nGo on with: genmill resume {{ flow_run.id }} --project {{ flow_run.parameters.project }}\n{{ flow_run|ui_url }}"


def tell_of_version(project: Project, version: DataVersion) -> None:
    """Send the event that a dataset has a new version."""
    from prefect.events import emit_event

    emit_event(
        NEW_VERSION,
        resource={"prefect.resource.id": _dataset_resource(project, version.dataset), "prefect.resource.name": version.dataset},
        payload={"version": version.version, "tag": version.tag, "sha256": version.sha256, "validation": version.validation},
    )


def apply_automations(client: "SyncPrefectClient", project: Project, catalog: Catalog, deployments: dict[str, UUID]) -> None:
    """Make this project's automations match `triggers:` and `notify:`; ``deployments`` has the ids by name.

    Raises:
        UserError: there is no such notification block.
    """
    wanted = [_of_trigger(project, name, trigger, deployments[name]) for name, trigger in catalog.triggers.items()]
    wanted += _notification(client, project, catalog)
    known = {found.name: found for found in _automations(client, project)}
    for automation in wanted:
        found = known.pop(automation.name, None)
        if found is None:
            client.create_automation(automation)
        elif found.description != automation.description:
            client.update_automation(found.id, automation)
    for found in known.values():
        client.delete_automation(found.id)


def _of_trigger(project: Project, name: str, trigger: Trigger, deployment: UUID) -> "AutomationCore":
    from prefect.events.actions import RunDeployment
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    return _described(
        AutomationCore(
            name=f"{name} ({project.root})",
            description=f"A new version of {trigger.dataset} starts {', '.join(trigger.models)}.",
            enabled=trigger.active,
            trigger=EventTrigger(
                expect={NEW_VERSION},
                match={"prefect.resource.id": _dataset_resource(project, trigger.dataset)},
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[RunDeployment(source="selected", deployment_id=deployment)],
            tags=[project_tag(project)],
        )
    )


def _notification(client: "SyncPrefectClient", project: Project, catalog: Catalog) -> "list[AutomationCore]":
    """None where nobody is to be told."""
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    block = catalog.notify.block
    if block is None:
        return []
    automation = AutomationCore(
        name=f"failed runs ({project.root})",
        description=f"A failed or crashed run is told through {block}.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=[
                ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": list(TOLD_OF)}),
                ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{project_tag(project)}"}),
            ],
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=_block_id(client, catalog, block),
                subject="Genmill: {{ flow.name }} {{ flow_run.state.name }}",
                body=BODY,
            )
        ],
        tags=[project_tag(project)],
    )
    return [_described(automation)]


def _block_id(client: "SyncPrefectClient", catalog: Catalog, block: str) -> UUID:
    from prefect.exceptions import ObjectNotFound

    kind, _, name = block.partition("/")
    try:
        return client.read_block_document_by_name(name, kind).id
    except ObjectNotFound:
        raise catalog.source.child("notify").error(
            f"the Prefect server has no block {block!r}: make it on the page Blocks of its UI, or name another.", "block"
        ) from None


def _described(automation: "AutomationCore") -> "AutomationCore":
    """With its digest at the end of the description: one that carries it needs no change."""
    digest = hashlib.sha256(automation.model_dump_json(exclude={"trigger": {"id"}}).encode()).hexdigest()[:12]
    return automation.model_copy(update={"description": f"{automation.description} [{digest}]"})


def _automations(client: "SyncPrefectClient", project: Project) -> "list[Automation]":
    return [found for found in client.read_automations() if project_tag(project) in found.tags]


def _dataset_resource(project: Project, dataset: str) -> str:
    return f"genmill.dataset.{hashlib.sha256(str(project.root).encode()).hexdigest()[:12]}.{dataset}"
