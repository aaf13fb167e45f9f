"""VeriRegime: a volatility oracle whose every forecast carries a zero-knowledge proof."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("veriregime")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
