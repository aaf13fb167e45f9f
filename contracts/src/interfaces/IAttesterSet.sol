// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @notice Who may attest inputs, and how many of them must.
/// @dev A new set is proposed, waits for the delay and is then activated; a signer whose key leaked is removed at once.
interface IAttesterSet {
    /// @notice A signature with the account that made it, in the compact form of EIP-2098.
    /// @dev Naming the signer lets the contract say what is wrong: unknown, twice, or not over this digest.
    struct AttesterSignature {
        address signer;
        bytes32 r;
        bytes32 vs;
    }

    /// @notice A set waits to be activated; a set proposed before is dropped.
    event SetProposed(address[] signers, uint256 threshold, uint256 activeFrom);
    /// @notice The proposed set was dropped.
    event SetCancelled();
    /// @notice This set attests from now on.
    event SetActivated(address[] signers, uint256 threshold);
    /// @notice A signer was removed without delay.
    event SignerRemoved(address indexed signer);

    /// @notice The account is not an attester.
    error UnknownSigner(address signer);
    /// @notice The account signed twice.
    error DuplicateSigner(address signer);
    /// @notice The signature is not this account's over this digest: another chain, contract, feed, window, model or
    /// commitment was signed.
    error InvalidSignature(address signer);
    /// @notice Fewer signatures than the threshold.
    error TooFewSignatures(uint256 given, uint256 threshold);
    /// @notice A set needs 1 to 32 distinct signers other than zero, and a threshold of at least one that they can
    /// reach.
    error InvalidSet();
    /// @notice Nothing is proposed.
    error NothingProposed();
    /// @notice The delay is not over.
    error TooEarly(uint256 activeFrom);

    /// @notice Propose a whole new set. Owner only.
    function propose(address[] calldata newSigners, uint256 newThreshold) external;

    /// @notice Drop the proposed set. Owner only.
    function cancel() external;

    /// @notice Put the proposed set in force once its delay is over. Anyone may.
    function activate() external;

    /// @notice Remove a signer at once; refused when the others could no longer reach the threshold. A proposed set
    /// that holds the signer is dropped with it, so that a leaked key cannot come back by itself. Where no signer can
    /// be spared, freezing the model in the registry stops the feed at once. Owner only.
    function remove(address signer) external;

    /// @notice Returns if at least `threshold` distinct attesters signed `digest`, and reverts saying why otherwise.
    /// @dev Every signature given must hold, also those beyond the threshold.
    function requireSigned(bytes32 digest, AttesterSignature[] calldata signatures) external view;

    /// @notice The attesters.
    function signers() external view returns (address[] memory);

    /// @notice Whether the account is an attester.
    function isSigner(address account) external view returns (bool);

    /// @notice How many must sign.
    function threshold() external view returns (uint256);

    /// @notice The proposed set, and from when on it may be activated; zero when there is none.
    function proposed() external view returns (address[] memory newSigners, uint256 newThreshold, uint256 activeFrom);

    /// @notice Seconds between a proposal and its activation.
    function delay() external view returns (uint256);
}
