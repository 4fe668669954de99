"""What flows put on the page of a run, and on the pages of MLflow."""

from components.data.dataset import Dataset
from components.data.modalities import find_modality
from components.data.publish import DataVersion, read_published, versions
from components.models.family import find_family
from components.project import Project
from components.registry.stored import stored_evidence
from components.report.mlflow_pages import DatasetText, lay_out_experiment
from components.report.run import DatasetEntry, ModelEntry
from components.tracking import Tracker
from pipelines.outcomes import DatasetOutcome, ModelOutcome
from pipelines.servers import find_server, running_servers

SHOWN_VERSIONS = 5


def dataset_entry(project: Project, outcome: DatasetOutcome) -> DatasetEntry:
    """A dataset as the page shows it, with a preview of its training split."""
    version = outcome.version
    manifest = read_published(project, version)
    preview = find_modality(manifest.modality).preview(Dataset.open(project, version.dataset).table("train", augmented=False))
    return DatasetEntry(
        name=version.dataset, modality=manifest.modality, version=version.version, new=version.new, rows=version.rows, validation=version.validation,
        source=version.source, licence=manifest.licence, num_bytes=version.bytes, dropped=outcome.dropped,
        picture=preview if isinstance(preview, bytes) else None, excerpt=preview if isinstance(preview, str) else "", seconds=outcome.seconds,
        links=(("validation", (project.data / "validation" / version.dataset / "report.html").as_uri()),),
    )  # fmt: skip


def model_entry(project: Project, tracker: Tracker, outcome: ModelOutcome) -> ModelEntry:
    """A model as the page shows it, from the evidence its run stored."""
    server = find_server(project, "mlflow")
    run = tracker.get_run(outcome.run_id) if outcome.run_id else None
    evidence = stored_evidence(tracker, outcome.run_id) if run else None

    def cost(tag: str) -> float:
        return float(run.tag(tag) or 0) if run else 0.0

    return ModelEntry(
        name=outcome.model,
        family=outcome.family,
        size=outcome.size,
        dataset=outcome.dataset,
        data_version=outcome.data_version,
        status=outcome.status,
        message=outcome.message,
        summary=find_family(outcome.family).summary,
        primary=outcome.primary,
        figures=outcome.figures,
        gates=outcome.gates.rows if outcome.gates else (),
        verdict=outcome.verdict,
        promotion=outcome.promotion,
        pictures=evidence.pictures if evidence else {},
        animations=evidence.animations if evidence else {},
        texts=evidence.texts if evidence else {},
        notes=evidence.notes if evidence else (),
        version=f"{outcome.model}/{outcome.version}" if outcome.version else "",
        run_id=outcome.run_id,
        run_url=tracker.run_url(outcome.run_id, server.url if server else None) if run else "",
        steps=int(run.params.get("max_steps") or 0) if run else 0,
        train_s=outcome.train_s,
        evaluate_s=outcome.evaluate_s,
        package_s=cost("package_s"),
        core_s=cost("core_s"),
        peak_memory_bytes=int(cost("peak_memory_bytes")),
        parameters=int(cost("parameters")),
    )


def links(project: Project) -> list[tuple[str, str]]:
    """Where to look next: the UIs that run, and the command that stops them."""
    servers = running_servers(project)
    found = [(title, servers[name].url) for name, title in (("prefect", "Prefect UI"), ("mlflow", "MLflow UI")) if name in servers]
    return [*found, ("Stop them", f"genmill down --project {project.root}")] if found else []


def lay_out_experiment_of(project: Project, tracker: Tracker, dataset: str) -> None:
    """Let the experiment's page in MLflow say what its dataset is, and compare the runs that it has now."""
    published = versions(project, dataset)
    manifest = read_published(project, published[0])
    about = DatasetText(
        modality=manifest.modality,
        source=", ".join(f"{key} {value}" for key, value in manifest.source.items()),
        licence=manifest.licence,
        versions=tuple(_version_line(version) for version in published[:SHOWN_VERSIONS]),
    )
    lay_out_experiment(tracker, dataset, about)


def _version_line(version: DataVersion) -> str:
    rows = ", ".join(f"{count:,} {split}" for split, count in version.rows.items())
    return f"**{version.version}**, {version.created[:10]}: {rows}; validation {version.validation}"
