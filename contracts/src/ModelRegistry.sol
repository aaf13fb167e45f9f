// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {KeptOwnable} from "./libraries/KeptOwnable.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @notice Which model speaks for a feed, and what verifies its proofs.
/// @dev `modelOf` of a feed is never cleared, so it also tells whether the feed ever had a model. A model that was
/// superseded cannot come back under the same id: going back is a change like any other and takes a new proposal.
contract ModelRegistry is IModelRegistry, KeptOwnable {
    /// @dev The first slot holds all that an update of one window needs, the second what a joint one needs besides.
    struct Entry {
        address verifier;
        uint8 outputScale;
        uint24 number;
        State state;
        uint40 proposedAt;
        address jointVerifier;
        uint8 jointWindows;
        bytes32 srsHash;
        bytes32 vkHash;
        bytes32 jointVkHash;
        bytes32 trainingRecord;
        bytes32[] feedIds;
    }

    uint8 public constant MAX_OUTPUT_SCALE = 27;

    /// @inheritdoc IModelRegistry
    uint256 public immutable delay;

    /// @inheritdoc IModelRegistry
    bool public changesFrozen;

    uint24 private _count;

    /// @inheritdoc IModelRegistry
    mapping(bytes32 feedId => bytes32) public modelOf;

    /// @inheritdoc IModelRegistry
    mapping(uint24 number => bytes32) public modelAt;

    mapping(bytes32 modelId => Entry) private _entries;

    modifier whileChangeable() {
        if (changesFrozen) revert ChangesAreFrozen();
        _;
    }

    constructor(address owner, uint256 delay_) KeptOwnable(owner) {
        delay = delay_;
    }

    /// @inheritdoc IModelRegistry
    function propose(bytes32 modelId, Model calldata proposal, bytes32[] calldata feedIds)
        external
        onlyOwner
        whileChangeable
    {
        Entry storage entry = _entries[modelId];
        if (entry.state != State.Unknown) revert ModelAlreadyKnown(modelId);
        _validate(modelId, proposal, feedIds);
        modelAt[++_count] = modelId;
        _write(entry, proposal, feedIds);
        emit ModelProposed(modelId, proposal, feedIds, _activeFrom(entry));
    }

    /// @inheritdoc IModelRegistry
    function cancel(bytes32 modelId) external onlyOwner {
        Entry storage entry = _proposed(modelId);
        delete modelAt[entry.number];
        delete _entries[modelId];
        emit ModelCancelled(modelId);
    }

    /// @inheritdoc IModelRegistry
    function activate(bytes32 modelId) external onlyOwner whileChangeable {
        Entry storage entry = _proposed(modelId);
        uint256 from = _activeFrom(entry);
        if (block.timestamp < from) revert TooEarly(from);
        entry.state = State.Active;
        bytes32[] memory feedIds = entry.feedIds;
        for (uint256 i = 0; i < feedIds.length; ++i) {
            emit ModelActivated(modelId, feedIds[i], modelOf[feedIds[i]]);
            modelOf[feedIds[i]] = modelId;
        }
    }

    /// @inheritdoc IModelRegistry
    function freeze(bytes32 modelId) external onlyOwner {
        Entry storage entry = _known(modelId);
        if (entry.state == State.Frozen) revert ModelIsFrozen(modelId);
        entry.state = State.Frozen;
        emit ModelFrozen(modelId);
    }

    /// @inheritdoc IModelRegistry
    function freezeChanges() external onlyOwner whileChangeable {
        changesFrozen = true;
        emit ChangesFrozen();
    }

    /// @inheritdoc IModelRegistry
    function serving(bytes32 modelId, bytes32[] calldata feedIds, bool joint)
        external
        view
        returns (Serving memory found)
    {
        Entry storage entry = _known(modelId);
        State state = entry.state;
        if (state == State.Proposed) revert ModelNotActive(modelId, _activeFrom(entry));
        if (state == State.Frozen) revert ModelIsFrozen(modelId);
        found = Serving(entry.verifier, entry.outputScale, entry.number, 1);
        if (joint) {
            (found.verifier, found.windows) = (entry.jointVerifier, entry.jointWindows);
            if (found.verifier == address(0)) revert NoJointVerifier(modelId);
        }
        for (uint256 i = 0; i < feedIds.length; ++i) {
            if (modelOf[feedIds[i]] != modelId) revert ModelNotOfFeed(modelId, feedIds[i]);
        }
    }

    /// @inheritdoc IModelRegistry
    function model(bytes32 modelId) external view returns (Model memory) {
        Entry storage entry = _known(modelId);
        return Model(
            entry.verifier,
            entry.jointVerifier,
            entry.jointWindows,
            entry.outputScale,
            entry.srsHash,
            entry.vkHash,
            entry.jointVkHash,
            entry.trainingRecord
        );
    }

    /// @inheritdoc IModelRegistry
    function feedsOf(bytes32 modelId) external view returns (bytes32[] memory) {
        return _entries[modelId].feedIds;
    }

    /// @inheritdoc IModelRegistry
    function stateOf(bytes32 modelId) external view returns (State) {
        return _entries[modelId].state;
    }

    /// @inheritdoc IModelRegistry
    function activeFrom(bytes32 modelId) external view returns (uint256) {
        return _activeFrom(_proposed(modelId));
    }

    function _write(Entry storage entry, Model calldata proposal, bytes32[] calldata feedIds) private {
        entry.verifier = proposal.verifier;
        entry.outputScale = proposal.outputScale;
        entry.number = _count;
        entry.state = State.Proposed;
        entry.proposedAt = SafeCast.toUint40(block.timestamp);
        entry.jointVerifier = proposal.jointVerifier;
        entry.jointWindows = proposal.jointWindows;
        entry.srsHash = proposal.srsHash;
        entry.vkHash = proposal.vkHash;
        entry.jointVkHash = proposal.jointVkHash;
        entry.trainingRecord = proposal.trainingRecord;
        entry.feedIds = feedIds;
    }

    /// @dev Asked again at activation, not stored: a feed that got its first model after the proposal has readers now.
    function _activeFrom(Entry storage entry) private view returns (uint256) {
        bytes32[] storage feedIds = entry.feedIds;
        for (uint256 i = 0; i < feedIds.length; ++i) {
            if (modelOf[feedIds[i]] != 0) return entry.proposedAt + delay;
        }
        return entry.proposedAt;
    }

    function _known(bytes32 modelId) private view returns (Entry storage entry) {
        entry = _entries[modelId];
        if (entry.state == State.Unknown) revert ModelUnknown(modelId);
    }

    function _proposed(bytes32 modelId) private view returns (Entry storage entry) {
        entry = _known(modelId);
        if (entry.state == State.Active) revert ModelAlreadyActive(modelId);
        if (entry.state == State.Frozen) revert ModelIsFrozen(modelId);
    }

    /// @dev Id zero is no model's: it stands for none in `modelOf`.
    function _validate(bytes32 modelId, Model calldata proposal, bytes32[] calldata feedIds) private view {
        if (modelId == 0 || proposal.outputScale > MAX_OUTPUT_SCALE || proposal.verifier.code.length == 0) {
            revert InvalidModel();
        }
        bool joint = proposal.jointVerifier != address(0);
        if (joint ? proposal.jointWindows < 2 : proposal.jointWindows != 0) revert InvalidModel();
        if (joint && proposal.jointVerifier.code.length == 0) revert InvalidModel();
        if (feedIds.length == 0) revert InvalidModel();
        for (uint256 i = 1; i < feedIds.length; ++i) {
            for (uint256 j = 0; j < i; ++j) {
                if (feedIds[i] == feedIds[j]) revert InvalidModel();
            }
        }
    }
}
