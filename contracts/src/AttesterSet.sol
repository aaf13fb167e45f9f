// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IAttesterSet} from "./interfaces/IAttesterSet.sol";
import {KeptOwnable} from "./libraries/KeptOwnable.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @notice Who may attest inputs, and how many of them must.
/// @dev The invariant: 1 to 32 distinct signers other than zero, and 1 <= threshold <= their number.
contract AttesterSet is IAttesterSet, KeptOwnable {
    struct Proposal {
        address[] signers;
        uint256 threshold;
        uint256 activeFrom;
    }

    uint256 public constant MAX_SIGNERS = 32;

    /// @inheritdoc IAttesterSet
    uint256 public immutable delay;

    /// @inheritdoc IAttesterSet
    uint256 public threshold;

    address[] private _signers;
    /// @dev Place in `_signers`, counted from one; zero is not a signer.
    mapping(address account => uint256) private _places;
    Proposal private _proposal;

    /// @notice The first set is in force at once.
    constructor(address owner, uint256 delay_, address[] memory signers_, uint256 threshold_) KeptOwnable(owner) {
        delay = delay_;
        _validate(signers_, threshold_);
        _install(signers_, threshold_);
    }

    /// @inheritdoc IAttesterSet
    function propose(address[] calldata newSigners, uint256 newThreshold) external onlyOwner {
        _validate(newSigners, newThreshold);
        uint256 activeFrom = block.timestamp + delay;
        _proposal = Proposal(newSigners, newThreshold, activeFrom);
        emit SetProposed(newSigners, newThreshold, activeFrom);
    }

    /// @inheritdoc IAttesterSet
    function cancel() external onlyOwner {
        _requireProposal();
        _cancel();
    }

    /// @inheritdoc IAttesterSet
    function activate() external {
        _requireProposal();
        Proposal memory proposal = _proposal;
        if (block.timestamp < proposal.activeFrom) revert TooEarly(proposal.activeFrom);
        delete _proposal;
        _install(proposal.signers, proposal.threshold);
    }

    /// @inheritdoc IAttesterSet
    function remove(address signer) external onlyOwner {
        uint256 place = _places[signer];
        if (place == 0) revert UnknownSigner(signer);
        if (_signers.length == threshold) revert InvalidSet();
        if (_contains(_proposal.signers, signer)) _cancel();
        address last = _signers[_signers.length - 1];
        _signers[place - 1] = last;
        _places[last] = place;
        _places[signer] = 0;
        _signers.pop();
        emit SignerRemoved(signer);
    }

    /// @inheritdoc IAttesterSet
    function requireSigned(bytes32 digest, AttesterSignature[] calldata signatures) external view {
        uint256 seen = 0;
        for (uint256 i = 0; i < signatures.length; ++i) {
            AttesterSignature calldata signature = signatures[i];
            uint256 place = _places[signature.signer];
            if (place == 0) revert UnknownSigner(signature.signer);
            if (seen & (1 << place) != 0) revert DuplicateSigner(signature.signer);
            seen |= 1 << place;
            // A failed recovery gives zero, which is never a signer: its reason adds nothing.
            // slither-disable-next-line unused-return
            (address recovered,,) = ECDSA.tryRecover(digest, signature.r, signature.vs);
            if (recovered != signature.signer) revert InvalidSignature(signature.signer);
        }
        if (signatures.length < threshold) revert TooFewSignatures(signatures.length, threshold);
    }

    /// @inheritdoc IAttesterSet
    function signers() external view returns (address[] memory) {
        return _signers;
    }

    /// @inheritdoc IAttesterSet
    function isSigner(address account) external view returns (bool) {
        return _places[account] != 0;
    }

    /// @inheritdoc IAttesterSet
    function proposed() external view returns (address[] memory newSigners, uint256 newThreshold, uint256 activeFrom) {
        return (_proposal.signers, _proposal.threshold, _proposal.activeFrom);
    }

    function _cancel() private {
        delete _proposal;
        emit SetCancelled();
    }

    function _requireProposal() private view {
        // Nobody can make a length differ by moving the clock.
        // slither-disable-next-line incorrect-equality
        if (_proposal.signers.length == 0) revert NothingProposed();
    }

    /// @dev Replaces whatever set is in force by one that was validated.
    function _install(address[] memory newSigners, uint256 newThreshold) private {
        for (uint256 i = 0; i < _signers.length; ++i) {
            _places[_signers[i]] = 0;
        }
        for (uint256 i = 0; i < newSigners.length; ++i) {
            _places[newSigners[i]] = i + 1;
        }
        _signers = newSigners;
        threshold = newThreshold;
        emit SetActivated(newSigners, newThreshold);
    }

    function _contains(address[] storage accounts, address account) private view returns (bool) {
        for (uint256 i = 0; i < accounts.length; ++i) {
            if (accounts[i] == account) return true;
        }
        return false;
    }

    function _validate(address[] memory accounts, uint256 newThreshold) private pure {
        if (accounts.length > MAX_SIGNERS || newThreshold == 0 || newThreshold > accounts.length) revert InvalidSet();
        for (uint256 i = 0; i < accounts.length; ++i) {
            if (accounts[i] == address(0)) revert InvalidSet();
            for (uint256 j = 0; j < i; ++j) {
                if (accounts[j] == accounts[i]) revert InvalidSet();
            }
        }
    }
}
