"""What the folders of a tree say of its files: the split where those at the top are named by splits, and the class."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from components.data.trees import Entry, Tree

SPLIT_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Layout:
    depth: int
    """Folders that all files share, and which so say nothing."""
    has_splits: bool

    @classmethod
    def of(cls, tree: Tree, file_endings: Collection[str] = ()) -> "Layout":
        """``file_endings``: of files that at the top may be named by splits as folders are, for they hold many rows."""
        folders, files = tree.tops()
        tops = {folder.lower() for folder in folders}
        for file in files:
            ending = next((ending for ending in file_endings if file.lower().endswith(ending)), "")
            tops |= {file.lower().removesuffix(ending)} if ending else set()
        # a lone folder `train` may hold pictures of trains
        return cls(tree.depth, "train" in tops and len(tops) > 1 and tops <= set(SPLIT_NAMES))

    def place(self, entry: Entry) -> tuple[str | None, str | None]:
        """The split and the class of a file: as said of it, else by its folders."""
        split, label = self.place_of(entry.name)
        said = entry.said or {}
        return said.get("split", split), said.get("label", label)

    def place_of(self, name: str) -> tuple[str | None, str | None]:
        parts = name.split("/")[self.depth :]
        split = SPLIT_NAMES.get(parts[0].lower()) if self.has_splits and len(parts) > 1 else None
        inner = parts[1:-1] if split else parts[:-1]
        return split, inner[-1] if inner else None

    def split_of_rows(self, name: str, ending: str) -> str | None:
        """The split of a file of rows, whose own name may be that of a split."""
        return self.place_of(f"{name[: -len(ending)]}/row")[0]

    def survey(self, entries: Iterable[Entry]) -> tuple[int, tuple[str, ...]]:
        """How many there are, and the classes that they have."""
        found = Counter(self.place(entry)[1] for entry in entries)
        return found.total(), tuple(sorted(filter(None, found)))
