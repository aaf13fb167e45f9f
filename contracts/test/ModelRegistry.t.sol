// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {KeptOwnable} from "../src/libraries/KeptOwnable.sol";
import {OracleTest} from "./OracleTest.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

contract ModelRegistryTest is OracleTest {
    bytes32 internal constant A = keccak256("model A");
    bytes32 internal constant B = keccak256("model B");
    uint8 internal constant PLACES = 10;

    address internal verifier;
    address internal jointVerifier;

    function setUp() public override {
        super.setUp();
        (verifier, jointVerifier) = (address(registry), address(attesters)); // any contracts will do here
    }

    function test_propose_keepsWhatIsPinned() public {
        IModelRegistry.Model memory model = modelWith(verifier, jointVerifier, PLACES);
        model.jointVkHash = keccak256("joint vk");
        vm.expectEmit();
        emit IModelRegistry.ModelProposed(A, model, both(FEED, OTHER_FEED), block.timestamp);
        registry.propose(A, model, both(FEED, OTHER_FEED));
        vm.assertEq(abi.encode(registry.model(A)), abi.encode(model));
        vm.assertEq(registry.feedsOf(A), both(FEED, OTHER_FEED));
        stateIs(A, IModelRegistry.State.Proposed);
        vm.assertEq(registry.modelAt(1), A);
        vm.assertEq(registry.modelOf(FEED), bytes32(0));
    }

    function test_propose_firstModelOfAFeedNeedsNoDelay() public {
        registry.propose(A, single(), only(FEED));
        vm.assertEq(registry.activeFrom(A), block.timestamp);
        vm.expectEmit();
        emit IModelRegistry.ModelActivated(A, FEED, bytes32(0));
        registry.activate(A);
        vm.assertEq(registry.modelOf(FEED), A);
        stateIs(A, IModelRegistry.State.Active);
    }

    function test_propose_secondModelOfAFeedWaits() public {
        activate(A, single(), only(FEED));
        registry.propose(B, single(), only(FEED));
        uint256 from = block.timestamp + DELAY;
        vm.assertEq(registry.activeFrom(B), from);
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.TooEarly.selector, from));
        registry.activate(B);
        vm.warp(from);
        vm.expectEmit();
        emit IModelRegistry.ModelActivated(B, FEED, A);
        registry.activate(B);
        vm.assertEq(registry.modelOf(FEED), B);
    }

    function test_propose_waitsWhenAnyFeedHadAModel() public {
        activate(A, single(), only(FEED));
        registry.propose(B, single(), both(OTHER_FEED, FEED));
        vm.assertEq(registry.activeFrom(B), block.timestamp + DELAY);
    }

    function test_propose_waitsWhenTheModelBeforeWasFrozen() public {
        activate(A, single(), only(FEED));
        registry.freeze(A);
        registry.propose(B, single(), only(FEED));
        vm.assertEq(registry.activeFrom(B), block.timestamp + DELAY);
    }

    /// @notice Two proposals for a new feed: whichever comes second has readers to warn.
    function test_activate_waitsWhenTheFeedGotAModelSinceTheProposal() public {
        registry.propose(A, single(), only(FEED));
        registry.propose(B, single(), only(FEED));
        registry.activate(A);
        uint256 from = block.timestamp + DELAY;
        vm.assertEq(registry.activeFrom(B), from);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.TooEarly.selector, from));
        registry.activate(B);
    }

    function test_propose_revertsWhenInvalid() public {
        proposalReverts(modelWith(address(0), address(0), 0), only(FEED));
        proposalReverts(modelWith(STRANGER, address(0), 0), only(FEED));
        proposalReverts(modelWith(verifier, STRANGER, PLACES), only(FEED));
        proposalReverts(modelWith(verifier, jointVerifier, 1), only(FEED));
        proposalReverts(modelWith(verifier, jointVerifier, 0), only(FEED));
        proposalReverts(modelWith(verifier, address(0), PLACES), only(FEED));
        proposalReverts(single(), new bytes32[](0));
        proposalReverts(single(), both(FEED, FEED));
        IModelRegistry.Model memory model = single();
        model.outputScale = 28;
        proposalReverts(model, only(FEED));
    }

    function test_propose_revertsForIdZero() public {
        vm.expectRevert(IModelRegistry.InvalidModel.selector);
        registry.propose(0, single(), only(FEED));
    }

    function test_propose_revertsWhenKnown() public {
        bytes memory reason = abi.encodeWithSelector(IModelRegistry.ModelAlreadyKnown.selector, A);
        registry.propose(A, single(), only(FEED));
        vm.expectRevert(reason);
        registry.propose(A, single(), only(FEED));
        registry.activate(A);
        vm.expectRevert(reason);
        registry.propose(A, single(), only(FEED));
        registry.freeze(A);
        vm.expectRevert(reason);
        registry.propose(A, single(), only(FEED));
    }

    function test_cancel_freesTheId() public {
        registry.propose(A, single(), only(FEED));
        vm.expectEmit();
        emit IModelRegistry.ModelCancelled(A);
        registry.cancel(A);
        stateIs(A, IModelRegistry.State.Unknown);
        vm.assertEq(registry.modelAt(1), bytes32(0));
        vm.assertEq(registry.feedsOf(A).length, 0);
        activate(A, single(), only(OTHER_FEED));
        vm.assertEq(registry.modelAt(2), A);
        vm.assertEq(registry.modelOf(FEED), bytes32(0));
    }

    function test_cancelAndActivate_revertWhenNotProposed() public {
        bytes memory reason = abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, A);
        cancelAndActivateRevert(reason);
        activate(A, single(), only(FEED));
        cancelAndActivateRevert(abi.encodeWithSelector(IModelRegistry.ModelAlreadyActive.selector, A));
        registry.freeze(A);
        cancelAndActivateRevert(abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, A));
    }

    function test_freeze_isForGood() public {
        activate(A, single(), only(FEED));
        vm.expectEmit();
        emit IModelRegistry.ModelFrozen(A);
        registry.freeze(A);
        stateIs(A, IModelRegistry.State.Frozen);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, A));
        registry.freeze(A);
    }

    function test_freeze_ofAProposedModelKeepsItFromActivation() public {
        registry.propose(A, single(), only(FEED));
        registry.freeze(A);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, A));
        registry.activate(A);
    }

    function test_freeze_revertsWhenUnknown() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, A));
        registry.freeze(A);
    }

    function test_freezeChanges_allowsNoFurtherModel() public {
        activate(A, single(), only(FEED));
        registry.propose(B, single(), only(OTHER_FEED));
        vm.expectEmit();
        emit IModelRegistry.ChangesFrozen();
        registry.freezeChanges();
        vm.assertTrue(registry.changesFrozen());
        vm.expectRevert(IModelRegistry.ChangesAreFrozen.selector);
        registry.activate(B);
        vm.expectRevert(IModelRegistry.ChangesAreFrozen.selector);
        registry.propose(keccak256("model C"), single(), only(FEED));
        vm.expectRevert(IModelRegistry.ChangesAreFrozen.selector);
        registry.freezeChanges();
    }

    function test_freezeChanges_leavesFreezingAndCancelling() public {
        activate(A, single(), only(FEED));
        registry.propose(B, single(), only(OTHER_FEED));
        registry.freezeChanges();
        registry.cancel(B);
        registry.freeze(A);
        stateIs(A, IModelRegistry.State.Frozen);
    }

    function test_serving_ofOneWindow() public {
        activate(A, modelWith(verifier, jointVerifier, PLACES), only(FEED));
        IModelRegistry.Serving memory found = registry.serving(A, only(FEED), false);
        vm.assertEq(abi.encode(found), abi.encode(IModelRegistry.Serving(verifier, 27, 1, 1)));
    }

    function test_serving_ofSeveralWindows() public {
        activate(A, modelWith(verifier, jointVerifier, PLACES), both(FEED, OTHER_FEED));
        IModelRegistry.Serving memory found = registry.serving(A, both(OTHER_FEED, FEED), true);
        vm.assertEq(abi.encode(found), abi.encode(IModelRegistry.Serving(jointVerifier, 27, 1, PLACES)));
    }

    function test_serving_revertsWhenUnknown() public {
        servingReverts(only(FEED), false, abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, A));
    }

    function test_serving_revertsWhenNotActive() public {
        activate(B, single(), only(FEED));
        registry.propose(A, single(), only(FEED));
        bytes memory reason = abi.encodeWithSelector(IModelRegistry.ModelNotActive.selector, A, block.timestamp + DELAY);
        servingReverts(only(FEED), false, reason);
        vm.warp(block.timestamp + 2 * DELAY); // the delay alone does not activate
        servingReverts(only(FEED), false, reason);
    }

    function test_serving_revertsWhenFrozen() public {
        activate(A, single(), only(FEED));
        registry.freeze(A);
        servingReverts(only(FEED), false, abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, A));
    }

    function test_serving_revertsWithoutJointVerifier() public {
        activate(A, single(), both(FEED, OTHER_FEED));
        bytes memory reason = abi.encodeWithSelector(IModelRegistry.NoJointVerifier.selector, A);
        servingReverts(both(FEED, OTHER_FEED), true, reason);
    }

    function test_serving_revertsForAFeedOfNoModel() public {
        activate(A, single(), only(FEED));
        bytes memory reason = abi.encodeWithSelector(IModelRegistry.ModelNotOfFeed.selector, A, OTHER_FEED);
        servingReverts(both(FEED, OTHER_FEED), false, reason);
    }

    function test_serving_revertsWhenSuperseded() public {
        activate(A, single(), both(FEED, OTHER_FEED));
        activate(B, single(), only(FEED));
        servingReverts(only(FEED), false, abi.encodeWithSelector(IModelRegistry.ModelNotOfFeed.selector, A, FEED));
        registry.serving(A, only(OTHER_FEED), false);
        registry.serving(B, only(FEED), false);
    }

    function test_modelAndActiveFrom_revertWhenUnknown() public {
        bytes memory reason = abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, A);
        vm.expectRevert(reason);
        registry.model(A);
        vm.expectRevert(reason);
        registry.activeFrom(A);
    }

    function test_owner_alone() public {
        IModelRegistry.Model memory model = single();
        bytes memory reason = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, STRANGER);
        vm.startPrank(STRANGER);
        vm.expectRevert(reason);
        registry.propose(A, model, only(FEED));
        vm.expectRevert(reason);
        registry.cancel(A);
        vm.expectRevert(reason);
        registry.activate(A);
        vm.expectRevert(reason);
        registry.freeze(A);
        vm.expectRevert(reason);
        registry.freezeChanges();
        vm.expectRevert(reason);
        registry.renounceOwnership();
        vm.stopPrank();
    }

    function test_renounceOwnership_reverts() public {
        vm.expectRevert(KeptOwnable.OwnershipIsKept.selector);
        registry.renounceOwnership();
    }

    function testFuzz_activate_neverBeforeTheDelay(uint256 waited, bool hadOne) public {
        if (hadOne) activate(B, single(), only(FEED));
        registry.propose(A, single(), only(FEED));
        uint256 from = hadOne ? block.timestamp + DELAY : block.timestamp;
        vm.warp(block.timestamp + _bound(waited, 0, 2 * DELAY));
        if (block.timestamp < from) vm.expectRevert(abi.encodeWithSelector(IModelRegistry.TooEarly.selector, from));
        registry.activate(A);
        vm.assertEq(registry.modelOf(FEED) == A, block.timestamp >= from);
    }

    function single() private view returns (IModelRegistry.Model memory) {
        return modelWith(verifier, address(0), 0);
    }

    function stateIs(bytes32 modelId, IModelRegistry.State expected) private view {
        vm.assertEq(uint256(registry.stateOf(modelId)), uint256(expected));
    }

    function proposalReverts(IModelRegistry.Model memory model, bytes32[] memory feedIds) private {
        vm.expectRevert(IModelRegistry.InvalidModel.selector);
        registry.propose(A, model, feedIds);
    }

    function cancelAndActivateRevert(bytes memory reason) private {
        vm.expectRevert(reason);
        registry.cancel(A);
        vm.expectRevert(reason);
        registry.activate(A);
    }

    function servingReverts(bytes32[] memory feedIds, bool joint, bytes memory reason) private {
        vm.expectRevert(reason);
        registry.serving(A, feedIds, joint);
    }
}
