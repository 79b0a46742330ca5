"""A description of the machine that a prediction is for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields

from costmodel.errors import SeercError


@dataclass(frozen=True)
class Target:
    """One kind of machine. Sizes in bytes, rates of one core unless said otherwise."""

    name: str
    isa: str = "x86_64"
    features: tuple[str, ...] = ("avx2", "fma")
    vector_bytes: int = 32
    vector_registers: int = 16
    cores: int = 1
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 512 * 1024
    l3_bytes: int = 16 * 1024 * 1024
    peak_gflops_core: float = 100.0
    """Measured f32 multiply-adds of one core, counted as two operations each."""
    bandwidth_gbs: float = 20.0
    """Measured copy bandwidth of main memory, all cores."""
    calibration_ns: float = 0.0
    """Time of the calibration kernel when this description was measured (0: not measured)."""

    def to_json(self) -> str:
        """Compact JSON with sorted keys; the same target gives the same text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Target:
        """The target that `to_json` wrote; SeercError if it is not one. Unknown keys are refused."""
        try:
            values = json.loads(text)
            values["features"] = tuple(values.get("features", ()))
            return Target(**values)
        except (ValueError, TypeError, AttributeError) as error:
            known = ", ".join(f.name for f in fields(Target))
            raise SeercError(f"not a target description: {error}; its keys are {known}") from error

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that name the kind of machine; what was measured on it does not count."""
        kind = (self.name, self.isa, self.features, self.vector_bytes, self.vector_registers, self.cores)
        sizes = (self.l1_bytes, self.l2_bytes, self.l3_bytes)
        return hashlib.sha256(repr((kind, sizes)).encode()).hexdigest()[:16]

    def lanes(self, element_bytes: int = 4) -> int:
        """Elements of one vector register."""
        return max(1, self.vector_bytes // element_bytes)
