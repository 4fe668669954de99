"""The ledger: an unbroken chain of records that agrees with the registry on what is in production."""

from collections.abc import Iterator

from components import git
from components.errors import UserError
from components.project import Project
from components.registry import ledger
from components.registry.audit.rows import AuditRow, not_rehashed, same, unbroken
from components.registry.ledger import Record
from components.registry.promotion import mirrors
from components.registry.registration import CHAMPION
from components.tracking import ModelVersion, Tracker

CHAIN = "an unbroken chain of records"


def ledger_rows(project: Project, tracker: Tracker, version: ModelVersion, *, rehash: bool) -> Iterator[AuditRow]:
    """Rows on the whole ledger, and on the records of ``version``."""
    try:
        broken = ledger.verify(project, mirrors(tracker)) if rehash else []
        records = ledger.read(project, version.name) if not broken else []
    except (UserError, git.GitError) as error:
        broken, records = [str(error)], []
    yield unbroken("ledger", CHAIN, broken) if rehash or broken else not_rehashed("ledger", CHAIN)
    if broken:
        return
    champion, stack = tracker.alias(version.name, CHAMPION), ledger.champions(records)
    yield same("champion in the ledger", f"version {champion}" if champion else "none", f"version {stack[-1]}" if stack else "none")
    pending = ledger.open_intents(records)
    if pending:
        found = f"record {pending[0].number} was never closed: the next promote or rollback mends it"
        yield AuditRow(link="open intent", expected="none", found=found, ok=False)
    promoted = next((record for record in reversed(records) if record.state == "done" and record.to_version == version.version), None)
    if promoted:
        yield from _record_rows(version, promoted)


def _record_rows(version: ModelVersion, record: Record) -> Iterator[AuditRow]:
    yield same(f"package in record {record.number}", record.package_sha256, version.tag("package_sha256"))
    yield same(f"run in record {record.number}", record.run_id, version.run_id)
    yield same(f"data in record {record.number}", record.data_sha256, version.tag("data_sha256"))
