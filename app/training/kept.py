"""What an interrupted training has finished, kept so that the same command goes on instead of beginning again.

A run is known by everything that decides its result: candle files, configuration, seed, versions. Its folder holds
one file per finished stage, written whole or not at all, and goes away when the run is complete.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from app.inference.release import canonical_json

T = TypeVar("T")


class KeptWork:
    """The folder of one run under ``root``, for example ``var/training/classic-1f6c…``."""

    def __init__(self, root: Path, kind: str, identity: Mapping[str, Any]) -> None:
        self.folder = root / f"{kind}-{self.digest_of(identity)}"
        self.resumed = self.folder.is_dir() and any(self.folder.iterdir())
        """Whether an earlier run left something to go on with."""

    @staticmethod
    def digest_of(value: Mapping[str, Any]) -> str:
        """Sixteen hex digits that stand for a JSON value."""
        return hashlib.sha256(canonical_json(value)).hexdigest()[:16]

    def stage(self, name: str, make: Callable[[], T]) -> T:
        """The result of a stage, made now or read from the run before.

        Results are what `load` can give back: numbers, strings, lists, tuples, dicts and tensors.
        """
        found = self.load(name)
        if found is None:
            found = make()
            self.save(name, found)
        result: T = found
        return result

    def load(self, name: str) -> Any:
        """What `save` kept under this name, or None. A file that cannot be read counts as not there."""
        path = self._path(name)
        try:
            # weights_only: the file may hold data, never code.
            return torch.load(path, weights_only=True)
        except (
            OSError,
            RuntimeError,
            EOFError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            pickle.PickleError,
        ):
            return None

    def save(self, name: str, value: Any) -> None:
        """Keep a value in place of the one before; a kill at any moment leaves the old or the new one whole."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        torch.save(value, fresh)
        os.replace(fresh, path)

    def drop(self, name: str) -> None:
        """Forget a value that its stage's result has made needless."""
        self._path(name).unlink(missing_ok=True)

    def finish(self) -> None:
        """Remove the folder: the run is complete, the next one begins anew."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.pt"
