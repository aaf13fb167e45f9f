// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @notice Which model speaks for a feed, and what verifies its proofs.
/// @dev A model is proposed, waits for the delay and is then activated for its feeds. Its entry never changes: another
/// verifier means another model. A feed that never had a model takes its first without delay, for nobody can rely on
/// it yet.
interface IModelRegistry {
    enum State {
        Unknown,
        Proposed,
        Active,
        Frozen
    }

    /// @notice What is pinned of a model.
    /// @param verifier Of proofs of one window.
    /// @param jointVerifier Of proofs of several windows; zero if there is none.
    /// @param jointWindows How many windows such a proof has room for.
    /// @param outputScale Outputs are integers at 2**outputScale.
    /// @param srsHash SHA-256 of the structured reference string behind `vkHash`. The joint circuit is larger and has a file
    /// of its own, which `jointVkHash` depends on.
    /// @param vkHash SHA-256 of the verifying key behind `verifier`.
    /// @param jointVkHash SHA-256 of the verifying key behind `jointVerifier`.
    /// @param trainingRecord SHA-256 of the record of how the model was trained and how good it was.
    struct Model {
        address verifier;
        address jointVerifier;
        uint8 jointWindows;
        uint8 outputScale;
        bytes32 srsHash;
        bytes32 vkHash;
        bytes32 jointVkHash;
        bytes32 trainingRecord;
    }

    /// @notice What an update needs to know of its model.
    struct Serving {
        address verifier;
        uint8 outputScale;
        uint24 number;
        uint8 windows;
    }

    /// @notice A model waits to be activated for these feeds.
    event ModelProposed(bytes32 indexed modelId, Model model, bytes32[] feedIds, uint256 activeFrom);
    /// @notice A proposed model was dropped.
    event ModelCancelled(bytes32 indexed modelId);
    /// @notice From now on only this model speaks for the feed.
    event ModelActivated(bytes32 indexed modelId, bytes32 indexed feedId, bytes32 replaced);
    /// @notice The model is out of use for good.
    event ModelFrozen(bytes32 indexed modelId);
    /// @notice No model can be proposed or activated any more.
    event ChangesFrozen();

    /// @notice There is no such model.
    error ModelUnknown(bytes32 modelId);
    /// @notice The model was proposed, but is not active yet.
    error ModelNotActive(bytes32 modelId, uint256 activeFrom);
    /// @notice The model was frozen.
    error ModelIsFrozen(bytes32 modelId);
    /// @notice Another model speaks for the feed, or none.
    error ModelNotOfFeed(bytes32 modelId, bytes32 feedId);
    /// @notice The model has no verifier for several windows.
    error NoJointVerifier(bytes32 modelId);
    /// @notice A model id is proposed once.
    error ModelAlreadyKnown(bytes32 modelId);
    /// @notice The model is active already.
    error ModelAlreadyActive(bytes32 modelId);
    /// @notice An id is not zero, a verifier must be a contract, a joint one has room for 2 windows or more (0 without
    /// one), the scale is at most 27, and there is at least one feed and none twice.
    error InvalidModel();
    /// @notice The delay is not over.
    error TooEarly(uint256 activeFrom);
    /// @notice Changes were frozen.
    error ChangesAreFrozen();

    /// @notice Propose a model for feeds. Owner only.
    function propose(bytes32 modelId, Model calldata model, bytes32[] calldata feedIds) external;

    /// @notice Drop a proposed model; its id may be proposed again. Owner only.
    function cancel(bytes32 modelId) external;

    /// @notice Let a proposed model speak for its feeds once its delay is over. Owner only.
    function activate(bytes32 modelId) external;

    /// @notice Take a model out of use for good and at once: no update is accepted from it, and what it said last is
    /// no longer read as fresh. Owner only, irreversible.
    function freeze(bytes32 modelId) external;

    /// @notice Allow no further model. Freezing stays possible. Owner only, irreversible.
    function freezeChanges() external;

    /// @notice What verifies an update of this model for all these feeds; reverts saying why when it may not speak.
    function serving(bytes32 modelId, bytes32[] calldata feedIds, bool joint) external view returns (Serving memory);

    /// @notice The model that speaks for a feed; zero if there is none.
    function modelOf(bytes32 feedId) external view returns (bytes32);

    /// @notice What is pinned of a model; reverts when it is unknown.
    function model(bytes32 modelId) external view returns (Model memory);

    /// @notice The feeds that a model was proposed for.
    function feedsOf(bytes32 modelId) external view returns (bytes32[] memory);

    /// @notice Where a model stands.
    function stateOf(bytes32 modelId) external view returns (State);

    /// @notice The model with this number; numbers count from one, by proposal.
    function modelAt(uint24 number) external view returns (bytes32);

    /// @notice When a proposed model may be activated.
    function activeFrom(bytes32 modelId) external view returns (uint256);

    /// @notice Whether changes were frozen.
    function changesFrozen() external view returns (bool);

    /// @notice Seconds between a proposal and its activation.
    function delay() external view returns (uint256);
}
