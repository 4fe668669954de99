"""Sets and lists of a million short digests in a few bytes each, where Python's own would take a hundred."""

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Digests = bytes | bytearray | np.ndarray[Any, np.dtype[np.bytes_]]

BYTES = 16


def short_digest(*texts: str) -> bytes:
    """16 bytes that tell the tuple ``texts`` from every other one."""
    found = hashlib.blake2b(digest_size=BYTES)
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        found.update(len(content).to_bytes(8, "little"))
        found.update(content)
    return found.digest()


def as_array(digests: "Digests") -> "np.ndarray[Any, np.dtype[np.bytes_]]":
    """Digests that stand one behind the other as an array, [N]; no byte is copied."""
    import numpy as np

    # NumPy shows such an item without the zeros at its end, but compares and stores all 16 bytes.
    return np.frombuffer(digests, dtype=f"S{BYTES}")


class DigestIndex:
    """Where each of N different digests stands."""

    def __init__(self, digests: "Digests") -> None:
        import numpy as np

        array = as_array(digests)
        self._order = np.argsort(array, kind="stable").astype(np.int32)
        self._sorted = array[self._order]

    def __len__(self) -> int:
        return len(self._sorted)

    def places(self, digests: "Digests") -> "np.ndarray[Any, np.dtype[np.int32]]":
        """The place of each of ``digests`` in what the index was made of, -1 where it is not in it, [N]."""
        import numpy as np

        wanted = as_array(digests)
        if not len(self._sorted):
            return np.full(len(wanted), -1, dtype=np.int32)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return np.where(self._sorted[at] == wanted, self._order[at], np.int32(-1))


def all_different(digests: "np.ndarray[Any, np.dtype[np.bytes_]]") -> bool:
    import numpy as np

    ordered = np.sort(digests)
    return not bool((ordered[1:] == ordered[:-1]).any())
