"""What is known of public ceremonies: hashes of their files, and what kind of SRS a file is by them.

A structured reference string holds the powers of a number that nobody may know. A ceremony of many people makes one so
that a single honest participant is enough; a file is of that ceremony when its hash is the one that was published.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

LARGEST_LOGROWS = 20
"""A released model needs 11. Checking the points of a larger SRS would take more than a quarter of an hour."""

PUBLIC_SRS_URL = "https://kzg.ezkl.xyz"
"""Where ezkl itself downloads ``kzg{k}.srs`` from. It has answered 403 since early 2026."""

PTAU_URL = "https://storage.googleapis.com/zkevm/ptau"
"""Where the README of snarkjs points for its list of `.ptau` files."""

PUBLIC_SRS_SHA256: Mapping[int, str] = {
    1: "cafb2aa72c200ddc4e28aacabb8066e829207e2484b8d17059a566232f8a297b",
    2: "8194ec51da5d332d2e17283ade34920644774452c2fadf33742e8c739e275d8e",
    3: "0729e815bce2ac4dfad7819982c6479c3b22c32b71f64dca05e8fdd90e8535ef",
    4: "2c0785da20217fcafd3b12cc363a95eb2529037cc8a9bddf8fb15025cbc8cdc9",
    5: "5b950e3b76e7a9923d69f6d6585ce6b5f9458e5ec57a71c9de5005d32d544692",
    6: "85030b2924111fc60acaf4fb8a7bad89531fbe0271aeab0c21e545f71eee273d",
    7: "e65f95150519fe01c2bedf8f832f5249822ef84c9c017307419e10374ff9eeb1",
    8: "446092fd1d6030e5bb2f2a8368267d5ed0fbdb6a766f6c5e4a4841827ad3106f",
    9: "493d088951882ad81af11e08c791a38a37c0ffff14578cf2c7fb9b7bca654d8b",
    10: "9705d450e5dfd06adb673705f7bc34418ec86339203198beceb2ae7f1ffefedb",
    11: "257fa566ed9bc0767d3e63e92b5e966829fa3347d320a32055dc31ee7d33f8a4",
    12: "28b151069f41abc121baa6d2eaa8f9e4c4d8326ddbefee2bd9c0776b80ac6fad",
    13: "d5d94bb25bdc024f649213593027d861042ee807cafd94b49b54f1663f8f267d",
    14: "c09129f064c08ecb07ea3689a2247dcc177de6837e7d2f5f946e30453abbccef",
    15: "90807800a1c3b248a452e1732c45ee5099f38b737356f5542c0584ec9c3ebb45",
    16: "2a1a494630e71bc026dd5c0eab4c1b9a5dbc656228c1f0d48f5dbd3909b161d3",
    17: "41509f380362a8d14401c5ae92073154922fe23e45459ce6f696f58607655db7",
    18: "d0148475717a2ba269784a178cb0ab617bc77f16c58d4a3cbdfe785b591c7034",
    19: "d1a1655b4366a766d1578beb257849a92bf91cb1358c1a2c37ab180c5d3a204d",
    20: "54ef75911da76d7a6b7ea341998aaf66cb06c679c53e0a88a4fe070dd3add963",
    21: "486e044cf98704e07f41137d2b89698dc03d1fbf34d13b60902fea19a6013b4b",
    22: "1ee9b4396db3e4e2516ac5016626ab6ba967f091d5d23afbdb7df122a0bb9d0c",
    23: "748e48b9b6d06f9c82d26bf551d0af43ee2e801e4be56d7ccb20312e267fd1d6",
    24: "f94fa4afa2f5147680f907d4dd96a8826206c26bd3328cd379feaed614b234de",
    25: "dec49a69893fbcd66cd06296b2d936a6aceb431c130b2e52675fe4274b504f57",
    26: "b198a51d48b88181508d8e4ea9dea39db285e4585663b29b7e4ded0c22a94875",
}
"""ezkl's copies of the perpetual powers of tau, SHA-256 by logrows; the ezkl library carries the same list."""

CEREMONY_PTAU_BLAKE2B: Mapping[int, str] = {
    8: (
        "d6a8fb3a04feb600096c3b791f936a578c4e664d262e4aa24beed1b7a9a96aa5"
        "eb72864d628db247e9293384b74b36ffb52ca8d148d6e1b8b51e279fdf57b583"
    ),
    9: (
        "94f108a80e81b5d932d8e8c9e8fd7f46cf32457e31462deeeef37af1b71c2c1b"
        "3c71fb0d9b59c654ec266b042735f50311f9fd1d4cadce47ab234ad163157cb5"
    ),
    10: (
        "6cfeb8cda92453099d20120bdd0e8a5c4e7706c2da9a8f09ccc157ed2464d921"
        "fd0437fb70db42104769efd7d6f3c1f964bcf448c455eab6f6c7d863e88a5849"
    ),
    11: (
        "47c282116b892e5ac92ca238578006e31a47e7c7e70f0baa8b687f0a5203e28e"
        "a07bbbec765a98dcd654bad618475d4661bfaec3bd9ad2ed12e7abc251d94d33"
    ),
    12: (
        "ded2694169b7b08e898f736d5de95af87c3f1a64594013351b1a796dbee393bd"
        "825f88f9468c84505ddd11eb0b1465ac9b43b9064aa8ec97f2b73e04758b8a4a"
    ),
    13: (
        "58efc8bf2834d04768a3d7ffcd8e1e23d461561729beaac4e3e7a47829a1c906"
        "6d5320241e124a1a8e8aa6c75be0ba66f65bc8239a0542ed38e11276f6fdb4d9"
    ),
    14: (
        "eeefbcf7c3803b523c94112023c7ff89558f9b8e0cf5d6cdcba3ade60f168af4"
        "a181c9c21774b94fbae6c90411995f7d854d02ebd93fb66043dbb06f17a831c1"
    ),
    15: (
        "982372c867d229c236091f767e703253249a9b432c1710b4f326306bfa2428a1"
        "7b06240359606cfe4d580b10a5a1f63fbed499527069c18ae17060472969ae6e"
    ),
    16: (
        "6a6277a2f74e1073601b4f9fed6e1e55226917efb0f0db8a07d98ab01df1ccf4"
        "3eb0e8c3159432acd4960e2f29fe84a4198501fa54c8dad9e43297453efec125"
    ),
    17: (
        "6247a3433948b35fbfae414fa5a9355bfb45f56efa7ab4929e669264a0258976"
        "741dfbe3288bfb49828e5df02c2e633df38d2245e30162ae7e3bcca5b8b49345"
    ),
    18: (
        "7e6a9c2e5f05179ddfc923f38f917c9e6831d16922a902b0b4758b8e79c2ab8a"
        "81bb5f29952e16ee6c5067ed044d7857b5de120a90704c1d3b637fd94b95b13e"
    ),
    19: (
        "bca9d8b04242f175189872c42ceaa21e2951e0f0f272a0cc54fc37193ff66486"
        "00eaf1c555c70cdedfaf9fb74927de7aa1d33dc1e2a7f1a50619484989da0887"
    ),
    20: (
        "89a66eb5590a1c94e3f1ee0e72acf49b1669e050bb5f93c73b066b564dca4e0c"
        "7556a52b323178269d64af325d8fdddb33da3a27c34409b821de82aa2bf1a27b"
    ),
    21: (
        "9aef0573cef4ded9c4a75f148709056bf989f80dad96876aadeb6f1c6d062391"
        "f07a394a9e756d16f7eb233198d5b69407cca44594c763ab4a5b67ae73254678"
    ),
    22: (
        "0d64f63dba1a6f11139df765cb690da69d9b2f469a1ddd0de5e4aa628abb28f7"
        "87f04c6a5fb84a235ec5ea7f41d0548746653ecab0559add658a83502d1cb21b"
    ),
    23: (
        "3063a0bd81d68711197c8820a92466d51aeac93e915f5136d74f63c394ee6d88"
        "c5e8016231ea6580bec02e25d491f319d92e77f5c7f46a9caa8f3b53c0ea544f"
    ),
    24: (
        "fa404d140d5819d39984833ca5ec3632cd4995f81e82db402371a4de7c2eae86"
        "87c62bc632a95b0c6aadba3fb02680a94e09174b7233ccd26d78baca2647c733"
    ),
    25: (
        "0377d860cdb09a8a31ea1b0b8c04335614c8206357181573bf294c25d5ca7dff"
        "72387224fbd868897e6769f7805b3dab02854aec6d69d7492883b5e4e5f35eeb"
    ),
    26: (
        "418dee4a74b9592198bd8fd02ad1aea76f9cf3085f206dfd7d594c9e264ae919"
        "611b1459a1cc920c2f143417744ba9edd7b8d51e44be9452344a225ff7eead19"
    ),
    27: (
        "10ffd99837c512ef99752436a54b9810d1ac8878d368fb4b806267bdd664b4ab"
        "f276c9cd3c4b9039a1fa4315a0c326c0e8e9e8fe0eb588ffd4f9021bf7eae1a1"
    ),
    28: (
        "55c77ce8562366c91e7cda394cf7b7c15a06c12d8c905e8b36ba9cf5e13eb37d"
        "1a429c589e8eaba4c591bc4b88a0e2828745a53e170eac300236f5c1a326f41a"
    ),
}
"""The Hermez powers of tau, prepared for phase 2: BLAKE2b-512 by power, as the README of snarkjs states them."""

_POWERS = {digest: power for power, digest in CEREMONY_PTAU_BLAKE2B.items()}


class SrsOrigin(StrEnum):
    """Who may know the secret of an SRS."""

    PUBLIC = "public"
    """One of ezkl's public files, by its SHA-256."""
    CEREMONY = "ceremony"
    """Converted here from a `.ptau` of a public ceremony, known by its BLAKE2b."""
    TRUSTED = "trusted"
    """The operator says, in the settings, that they trust where it comes from."""
    DEVELOPMENT = "development"
    """Made here, or of unknown origin: whoever made it may know its secret and forge proofs."""


def srs_origin(logrows: int, sha256: str, ptau_blake2b: str | None, trusted: Collection[str] = ()) -> SrsOrigin:
    """The kind of an SRS file with this hash, converted from that `.ptau` if from any."""
    if PUBLIC_SRS_SHA256.get(logrows) == sha256:
        return SrsOrigin.PUBLIC
    if ptau_blake2b in _POWERS:
        return SrsOrigin.CEREMONY
    return SrsOrigin.TRUSTED if sha256 in trusted else SrsOrigin.DEVELOPMENT


def ptau_name(power: int) -> str:
    """File name of the smallest published `.ptau` that holds 2**power points."""
    power = max(power, min(CEREMONY_PTAU_BLAKE2B))
    return "powersOfTau28_hez_final.ptau" if power == 28 else f"powersOfTau28_hez_final_{power:02d}.ptau"
