"""Rules that every dataset must pass, whatever its modality: no empty split, no leak between splits, few bad rows, every class present.

They look at several rows or at the manifest at once, which the per-column rules of Great Expectations cannot.
"""

from typing import TYPE_CHECKING

from components.data.config import SplitConfig
from components.data.dataset import SPLITS, Manifest, is_added
from components.data.modalities import Limits
from components.data.result import RuleResult

if TYPE_CHECKING:
    import pandas as pd

NUM_SAMPLES = 3


def dataset_rules(manifest: Manifest, frame: "pd.DataFrame", split: SplitConfig, limits: Limits) -> list[RuleResult]:
    """``frame`` is the metadata table with a column `content_sha256`."""
    rules = [_splits_filled(frame, split), _no_leak(frame), _added_in_train(frame), _few_bad(manifest, limits)]
    return rules + (_classes(manifest, frame) if manifest.class_names else [])


def _splits_filled(frame: "pd.DataFrame", split: SplitConfig) -> RuleResult:
    wanted = [part for part in SPLITS if split.fractions[part] > 0]
    counts = {part: int((frame["split"] == part).sum()) for part in wanted}
    observed = ", ".join(f"{part} {count:,}" for part, count in counts.items())
    return RuleResult(rule="every_split_has_rows", severity="critical", success=all(counts.values()), expected="at least one row each", observed=observed)


def _no_leak(frame: "pd.DataFrame") -> RuleResult:
    """The same content in two splits would make every score a lie."""
    originals = frame[frame["parent_id"].isna()]
    splits = originals.groupby("content_sha256")["split"].nunique()
    leaked = originals[originals["content_sha256"].isin(splits[splits > 1].index)]
    return RuleResult(
        rule="no_content_in_two_splits",
        severity="critical",
        success=leaked.empty,
        expected="each content in one split",
        observed="none" if leaked.empty else f"{len(leaked):,} rows",
        checked=len(originals),
        unexpected=len(leaked),
        samples=tuple(f"{row.id}: {row.split}" for row in leaked.head(NUM_SAMPLES).itertuples()),
    )


def _added_in_train(frame: "pd.DataFrame") -> RuleResult:
    added = frame[frame["parent_id"].notna()]
    train = set(frame.loc[(frame["split"] == "train") & frame["parent_id"].isna(), "id"])
    wrong = added[(added["split"] != "train") | ~added["parent_id"].isin(train)]
    return RuleResult(
        rule="added_rows_are_in_train_beside_their_parent",
        severity="critical",
        success=wrong.empty,
        expected="split train, parent in train",
        observed=f"{len(added):,} added rows",
        checked=len(added),
        unexpected=len(wrong),
        samples=tuple(f"{row.id}: {row.split}, parent {row.parent_id}" for row in wrong.head(NUM_SAMPLES).itertuples()),
    )


def _few_bad(manifest: Manifest, limits: Limits) -> RuleResult:
    """Duplicates are no sign of a bad source, so they do not count."""
    originals = sum(shard.rows for shard in manifest.shards if not is_added(shard)) + sum(manifest.dropped.values())
    bad = {reason: number for reason, number in manifest.dropped.items() if reason != "duplicate"}
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


def _classes(manifest: Manifest, frame: "pd.DataFrame") -> list[RuleResult]:
    rules = []
    for part in sorted(frame["split"].unique(), key=list(SPLITS).index):
        present = set(frame.loc[frame["split"] == part, "label"])
        missing = [name for name in manifest.class_names if name not in present]
        shown = f"missing: {', '.join(missing[:NUM_SAMPLES])}" + (f" and {len(missing) - NUM_SAMPLES} more" if len(missing) > NUM_SAMPLES else "")
        rules.append(
            RuleResult(
                rule=f"every_class_in_{part}",
                column="label",
                severity="critical" if part == "train" else "warning",
                success=not missing,
                expected=f"{len(manifest.class_names)} classes",
                observed=shown if missing else f"{len(present)} classes",
            )
        )
    return rules
