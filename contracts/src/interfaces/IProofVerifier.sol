// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @notice A generated halo2 verifier: one circuit under one verifying key.
/// @dev The generated contract does not write storage, so it is called as a view: it can change nothing and call back
/// nowhere.
interface IProofVerifier {
    /// @notice Whether `proof` proves `instances`. The generated contract reverts instead of answering false.
    function verifyProof(bytes calldata proof, uint256[] calldata instances) external view returns (bool);
}
