"""The way onto a chain: compile the generated verifier, deploy it, send it proofs. The only door to web3."""

from __future__ import annotations

import sys

_RECURSION_LIMIT = sys.getrecursionlimit()

import eth_account  # noqa: E402, F401

# With it comes py_ecc, which raises the limit a hundredfold for the whole process: deeply nested JSON, from whomever,
# would overflow the stack and kill us instead of being refused.
sys.setrecursionlimit(_RECURSION_LIMIT)
