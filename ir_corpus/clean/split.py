"""Train, validation and test by package, so that what is alike by origin stays together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath

SPLITS = ("train", "valid", "test")
FEW_PACKAGES = 5
_SHARES = (0.90, 0.05)


def group_of(package: str, path: str, packages: int) -> str:
    """What must stay in one split: the package; where a language has few packages, a folder of one."""
    return package if packages >= FEW_PACKAGES else f"{package}/{PurePosixPath(path).parent}"


def split_of(group: str) -> str:
    """The split of a group: 90, 5 and 5 per cent of the groups, by hash, the same in every corpus."""
    value = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    return SPLITS[0] if value < _SHARES[0] else SPLITS[1] if value < sum(_SHARES) else SPLITS[2]


def splits(groups: Mapping[str, int]) -> dict[str, str]:
    """The split of each group of a language, given their sizes.

    By hash, as `split_of`; where that leaves the validation or test part empty, the training group whose size is
    nearest to 5 per cent goes there, as long as training keeps at least one. A single group is for training.
    """
    chosen = {group: split_of(group) for group in sorted(groups)}
    if groups and "train" not in chosen.values():
        chosen[max(groups, key=lambda group: (groups[group], group))] = "train"
    wanted = _SHARES[1] * sum(groups.values())
    for split in SPLITS[1:]:
        training = [group for group in chosen if chosen[group] == "train"]
        if split not in chosen.values() and len(training) > 1:
            chosen[min(training, key=lambda group: (abs(groups[group] - wanted), group))] = split
    return chosen
