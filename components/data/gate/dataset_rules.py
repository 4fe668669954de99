"""Rules that every dataset must pass, whatever its modality: no empty split, no leak between splits, few bad rows, every class present, no drift unseen.

They look at several rows or at the manifest at once, which the per-column rules of Great Expectations cannot.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from components.data.config import SplitConfig
from components.data.dataset import SPLITS, Manifest, is_added
from components.data.drift import Drift, drift
from components.data.modalities import FAULTS, Limits
from components.data.profile import Profile
from components.data.result import RuleResult

if TYPE_CHECKING:
    import duckdb

NUM_SAMPLES = 3


def dataset_rules(
    manifest: Manifest, connection: "duckdb.DuckDBPyConnection", split: SplitConfig, limits: Limits, profile: Profile, previous: tuple[str, Profile] | None
) -> list[RuleResult]:
    """``connection`` has the view `metadata`; ``previous`` is the name and the profile of the version before this content."""
    rules = [_splits_filled(connection, split), _no_leak(connection), _added_in_train(connection), _few_bad(manifest, limits)]
    rules += _classes(manifest, connection) if manifest.class_names else []
    figures = drift(previous[1], profile) if previous else []
    return rules + ([_little_drift(figures, previous[0], limits)] if previous and figures else [])


def _splits_filled(connection: "duckdb.DuckDBPyConnection", split: SplitConfig) -> RuleResult:
    found = dict(connection.execute("SELECT split, count(*) FROM metadata GROUP BY split").fetchall())
    counts = {part: found.get(part, 0) for part in SPLITS if split.fractions[part] > 0}
    observed = ", ".join(f"{part} {count:,}" for part, count in counts.items())
    return RuleResult(rule="every_split_has_rows", severity="critical", success=all(counts.values()), expected="at least one row each", observed=observed)


def _no_leak(connection: "duckdb.DuckDBPyConnection") -> RuleResult:
    """The same content in two splits would make every score a lie."""
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE leaked AS
        WITH twice AS (SELECT content_sha256 FROM metadata WHERE parent_id IS NULL GROUP BY content_sha256 HAVING count(DISTINCT split) > 1)
        SELECT id, split FROM metadata SEMI JOIN twice USING (content_sha256) WHERE parent_id IS NULL
    """)
    originals, leaked = (_count(connection, query) for query in ("SELECT count(*) FROM metadata WHERE parent_id IS NULL", "SELECT count(*) FROM leaked"))
    return RuleResult(
        rule="no_content_in_two_splits",
        severity="critical",
        success=not leaked,
        expected="each content in one split",
        observed=f"{leaked:,} rows" if leaked else "none",
        checked=originals,
        unexpected=leaked,
        samples=_samples(connection, "SELECT id || ': ' || split FROM leaked ORDER BY id"),
    )


def _added_in_train(connection: "duckdb.DuckDBPyConnection") -> RuleResult:
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE astray AS
        WITH train AS (SELECT id FROM metadata WHERE split = 'train' AND parent_id IS NULL)
        SELECT id, split, parent_id FROM metadata
        WHERE parent_id IS NOT NULL AND (split <> 'train' OR parent_id NOT IN (SELECT id FROM train))
    """)
    added, astray = (_count(connection, query) for query in ("SELECT count(*) FROM metadata WHERE parent_id IS NOT NULL", "SELECT count(*) FROM astray"))
    return RuleResult(
        rule="added_rows_are_in_train_beside_their_parent",
        severity="critical",
        success=not astray,
        expected="split train, parent in train",
        observed=f"{added:,} added rows",
        checked=added,
        unexpected=astray,
        samples=_samples(connection, "SELECT id || ': ' || split || ', parent ' || parent_id FROM astray ORDER BY id"),
    )


def _few_bad(manifest: Manifest, limits: Limits) -> RuleResult:
    """Repetitions and what the user's own rules leave out are no sign of a bad source, so they do not count."""
    originals = sum(shard.rows for shard in manifest.shards if not is_added(shard)) + sum(manifest.dropped.values())
    bad = {reason: number for reason, number in manifest.dropped.items() if reason in FAULTS}
    share = sum(bad.values()) / max(originals, 1)
    return RuleResult(
        rule="few_rows_in_quarantine",
        severity="critical",
        success=share <= limits.max_quarantine,
        expected=f"at most {limits.max_quarantine:.1%} (clean.max_quarantine)",
        observed=f"{share:.1%}" + "".join(f", {reason} {number:,}" for reason, number in bad.items()),
        checked=originals,
        unexpected=sum(bad.values()),
    )


def _classes(manifest: Manifest, connection: "duckdb.DuckDBPyConnection") -> list[RuleResult]:
    counts: dict[str, dict[str, int]] = {}
    for part, label, number in connection.execute("SELECT split, label, count(*) FROM metadata GROUP BY ALL").fetchall():
        counts.setdefault(part, {})[label] = number
    return [_present(manifest, part, counts[part]) for part in SPLITS if part in counts]


def _present(manifest: Manifest, part: str, counts: dict[str, int]) -> RuleResult:
    """The balance is shown, and is the user's to judge: a rule of `expect:` can bound it."""
    missing = [name for name in manifest.class_names if name not in counts]
    present = {name: counts[name] for name in manifest.class_names if name in counts}
    shown = f"missing: {', '.join(missing[:NUM_SAMPLES])}" + (f" and {len(missing) - NUM_SAMPLES} more" if len(missing) > NUM_SAMPLES else "")
    rarest, commonest = min(present, key=present.__getitem__), max(present, key=present.__getitem__)
    balance = f"{len(present)} classes, {rarest}: {present[rarest]:,} rows to {commonest}: {present[commonest]:,}"
    return RuleResult(
        rule=f"every_class_in_{part}",
        column="label",
        severity="critical" if part == "train" else "warning",
        success=not missing,
        expected=f"{len(manifest.class_names)} classes",
        observed=shown if missing else balance,
    )


def _little_drift(figures: Sequence[Drift], name: str, limits: Limits) -> RuleResult:
    """What two draws from one distribution would show by chance is no drift, however large it is for so few rows."""
    far = [figure for figure in figures if figure.value > max(limits.max_drift, 2 * figure.chance)]
    return RuleResult(
        rule="little_drift_since_the_version_before",
        column=(far or figures)[0].column,
        severity="warning",
        success=not far,
        expected=f"population stability index at most {limits.max_drift:g} (clean.max_drift)",
        observed=", ".join(f"{figure.column} {figure.value:.3f}" for figure in figures) + f", against {name}",
    )


def _count(connection: "duckdb.DuckDBPyConnection", query: str) -> int:
    ((number,),) = connection.execute(query).fetchall()
    return int(number)


def _samples(connection: "duckdb.DuckDBPyConnection", query: str) -> tuple[str, ...]:
    rows: list[tuple[Any, ...]] = connection.execute(f"{query} LIMIT {NUM_SAMPLES}").fetchall()
    return tuple(str(text) for (text,) in rows)
