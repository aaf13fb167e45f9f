"""An account that signs: its key comes from a secret and stays inside."""

from __future__ import annotations

import json
from typing import Any, cast

from eth_account import Account as Accounts
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from hexbytes import HexBytes

from app.errors import Misconfigured

_VS_PARITY = 1 << 255


class Account:
    """One private key. It shows its address only; nothing here prints, logs or returns the key."""

    def __init__(self, key: LocalAccount) -> None:
        self._key = key

    @classmethod
    def from_secret(cls, secret: str, password: str | None, role: str) -> Account:
        """From a private key in hex, or from an encrypted keystore (JSON, Web3 Secret Storage) and its password.

        ``role`` names the settings in the error. Raises `Misconfigured`, which never repeats the secret.
        """
        if secret.lstrip().startswith("{"):
            return cls(_unlocked(secret, password, role))
        try:
            return cls(Accounts.from_key(secret.strip()))
        except ValueError:
            raise Misconfigured(f"the {role} key is not a private key of 32 bytes in hex") from None

    @property
    def address(self) -> str:
        return str(self._key.address)

    def sign_transaction(self, terms: dict[str, Any]) -> tuple[str, bytes]:
        """Hash (0x hex) and raw bytes of the signed transaction."""
        signed = self._key.sign_transaction(cast(Any, terms))
        return HexBytes(signed.hash).to_0x_hex(), bytes(signed.raw_transaction)

    def sign_digest(self, digest: bytes) -> tuple[bytes, bytes]:
        """``(r, vs)`` of EIP-2098, 32 bytes each, over a 32-byte digest as it stands."""
        signed = self._key.unsafe_sign_hash(Hash32(digest))
        vs = int(signed.s) | (_VS_PARITY if signed.v in (1, 28) else 0)
        return int(signed.r).to_bytes(32, "big"), vs.to_bytes(32, "big")

    def __repr__(self) -> str:
        return f"Account({self.address})"


def _unlocked(keystore: str, password: str | None, role: str) -> LocalAccount:
    if password is None:
        setting = f"VERIREGIME_{role.upper()}_PASSWORD_FILE"
        raise Misconfigured(f"the {role} key is an encrypted keystore: name the file with its password in {setting}")
    try:
        return cast(LocalAccount, Accounts.from_key(Accounts.decrypt(json.loads(keystore), password)))
    except (ValueError, KeyError, TypeError, AssertionError, NotImplementedError):
        raise Misconfigured(f"the {role} keystore does not open: wrong password, or no keystore") from None
