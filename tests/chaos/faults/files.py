"""Files that the service is started from: a bit is flipped in one, while it does not run."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.chaos.faults.fault import Fault, ProductAtFaultError
from tests.chaos.faults.store import require_refusal
from tests.rig.rig import Rig

What = Literal["pk", "vk", "SRS", "model"]
_REBUILT: tuple[What, ...] = ("pk", "vk")


@dataclass(frozen=True, slots=True)
class _ServeFault(Fault):
    hold_s: float = field(default=0.0, kw_only=True)

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({"serve"})


@dataclass(frozen=True, slots=True)
class FileSpoiled(_ServeFault):
    """Keys are built anew; of an SRS or a model the start is refused until the right file is back."""

    what: What

    @property
    def kind(self) -> str:
        return f"corrupted {self.what} file"

    def inject(self, rig: Rig) -> None:
        child, file = rig.children["serve"], self._file(rig)
        child.stop()
        good = file.read_bytes()
        _kept(rig, file).write_bytes(good)
        file.write_bytes(_flipped(good))
        if self.what not in _REBUILT:
            require_refusal(child, file.name, file.parent.name, self.what)

    def heal(self, rig: Rig) -> None:
        child, file = rig.children["serve"], self._file(rig)
        child.kill()
        kept = _kept(rig, file)
        if self.what not in _REBUILT:
            file.write_bytes(kept.read_bytes())
        child.start()
        if self.what in _REBUILT:
            rig.wait_until(child.is_up, f"serve up with a corrupted {self.what}", 60)
            if file.read_bytes() == _flipped(kept.read_bytes()):
                raise ProductAtFaultError(f"{file.name} is used though its hash is another")

    def _file(self, rig: Rig) -> Path:
        keys = rig.ground.keys
        return {
            "pk": rig.var / "keys" / keys.pk.parent.name / keys.pk.name,
            "vk": rig.var / "keys" / keys.vk.parent.name / keys.vk.name,
            "SRS": rig.var / "srs" / keys.srs.name,
            "model": rig.models / rig.ground.model.folder.name / rig.ground.model.circuit.compiled.name,
        }[self.what]


@dataclass(frozen=True, slots=True)
class SecondCopy(_ServeFault):
    """Another service on the same SQLite file: it is refused, and the first goes on."""

    @property
    def kind(self) -> str:
        return "second copy"

    @property
    def name(self) -> str:
        return "second copy of serve on one SQLite file"

    def inject(self, rig: Rig) -> None:
        try:
            code, said = rig.command("serve", "--port", "0", limit_s=30)
        except subprocess.TimeoutExpired:
            raise ProductAtFaultError("a second serve on the same SQLite file was not refused within 30 s") from None
        if code != 2 or str(rig.children["serve"].pid) not in said:
            raise ProductAtFaultError(f"a second serve ended with {code}, not refused by name: {said.strip()[-300:]}")

    def heal(self, rig: Rig) -> None:
        """There is nothing to mend."""


def _kept(rig: Rig, file: Path) -> Path:
    return rig.folder / f"kept-{file.name}"


def _flipped(good: bytes) -> bytes:
    middle = len(good) // 2
    return good[:middle] + bytes([good[middle] ^ 0x10]) + good[middle + 1 :]
