"""Keys come in and never go out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from eth_account import Account as Accounts
from eth_keys import keys
from eth_utils.crypto import keccak

from app.chain.account import Account
from app.errors import Misconfigured

KEY = "5e" * 32
ADDRESS = keys.PrivateKey(bytes.fromhex(KEY)).public_key.to_checksum_address()
HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2


@pytest.fixture(scope="module")
def keystore() -> str:
    return json.dumps(Accounts.encrypt("0x" + KEY, "hunter2", kdf="pbkdf2", iterations=1))


@pytest.mark.parametrize("secret", [KEY, "0x" + KEY, KEY.upper(), f"  0x{KEY}\n"])
def test_from_secret__hex__is_its_account(secret: str) -> None:
    assert Account.from_secret(secret, None, "submitter").address == ADDRESS


@pytest.mark.parametrize("space", ["", "\n  "])
def test_from_secret__keystore_with_its_password__is_its_account(keystore: str, space: str) -> None:
    assert Account.from_secret(space + keystore, "hunter2", "submitter").address == ADDRESS


@pytest.mark.parametrize(
    "secret",
    ["", "0x", "hunter2", "5e" * 31, "5e" * 33, "zz" * 32, "5e" * 31 + "5é", "00" * 32, "ff" * 32, f'["{KEY}"]'],
)
def test_from_secret__no_key__is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Account.from_secret(secret, None, "attester")
    assert str(caught.value) == "the attester key is not a private key of 32 bytes in hex"
    assert caught.value.__cause__ is None


def test_from_secret__keystore_without_a_password__names_the_setting(keystore: str) -> None:
    with pytest.raises(Misconfigured, match="VERIREGIME_ATTESTER_PASSWORD_FILE"):
        Account.from_secret(keystore, None, "attester")


def _changed(keystore: str, **crypto: Any) -> str:
    whole = json.loads(keystore)
    return json.dumps(whole | {"crypto": whole["crypto"] | crypto})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: whole,
        lambda whole: whole[:-1],
        lambda whole: "{}",
        lambda whole: '{"version": 1}',
        lambda whole: '{"version": 3, "crypto": 5}',
        lambda whole: _changed(whole, kdf="none"),
        lambda whole: _changed(whole, mac="00" * 32),
        lambda whole: _changed(whole, kdfparams={"prf": "hmac-md5", "c": 1, "dklen": 32, "salt": "00"}),
        lambda whole: _changed(whole, ciphertext="not hex"),
    ],
    ids=["wrong password", "cut off", "empty", "version 1", "no crypto", "kdf", "mac", "prf", "no hex"],
)
def test_from_secret__keystore_that_does_not_open__is_refused_without_repeating_anything(
    keystore: str, spoil: Any
) -> None:
    with pytest.raises(Misconfigured) as caught:
        Account.from_secret(spoil(keystore), "swordfish", "submitter")
    assert str(caught.value) == "the submitter keystore does not open: wrong password, or no keystore"


@pytest.fixture
def account() -> Account:
    return Account.from_secret(KEY, None, "submitter")


def test_account__printed__shows_its_address_only(account: Account) -> None:
    assert f"{account!r} {account} {[account]}" == f"Account({ADDRESS}) Account({ADDRESS}) [Account({ADDRESS})]"
    assert KEY not in f"{vars(account)}"


def test_sign_transaction__is_its_accounts_and_hashes_to_what_it_says(account: Account) -> None:
    terms = {
        "type": 2,
        "chainId": 1,
        "nonce": 3,
        "to": "0x" + "11" * 20,
        "value": 0,
        "data": b"\1",
        "gas": 21_000,
        "maxFeePerGas": 9,
        "maxPriorityFeePerGas": 1,
    }
    tx_hash, raw = account.sign_transaction(terms)
    assert Accounts.recover_transaction(raw) == ADDRESS
    assert tx_hash == "0x" + keccak(raw).hex()
    assert bytes.fromhex(KEY) not in raw


def test_sign_digest__compact_form__holds_parity_and_a_low_s_that_give_the_account_back(account: Account) -> None:
    parities = set()
    for number in range(16):
        digest = number.to_bytes(32, "big")
        r, vs = account.sign_digest(digest)
        parity, s = vs[0] >> 7, int.from_bytes(vs, "big") % 2**255
        signature = keys.Signature(vrs=(parity, int.from_bytes(r, "big"), s))
        assert (len(r), len(vs), s <= HALF_ORDER) == (32, 32, True)
        assert signature.recover_public_key_from_msg_hash(digest).to_checksum_address() == ADDRESS
        parities.add(parity)
    assert parities == {0, 1}
