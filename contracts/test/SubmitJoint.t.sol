// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IAttesterSet} from "../src/interfaces/IAttesterSet.sol";
import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {IProofVerifier} from "../src/interfaces/IProofVerifier.sol";
import {IVolatilityOracle} from "../src/interfaces/IVolatilityOracle.sol";
import {RealProofTest} from "./OracleTest.sol";

/// @notice Several windows and their one real proof.
contract SubmitJointTest is RealProofTest {
    uint256 internal constant FIELD_ORDER =
        21888242871839275222246405745257275088548364400416034343698204186575808495617;

    function setUp() public override {
        super.setUp();
        goTo("two");
    }

    function test_submitJoint_publishesEveryWindow() public {
        bytes32[] memory feedIds = feedIdsOf("two");
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        vm.prank(STRANGER);
        oracle.submitJoint(update);
        for (uint256 i = 0; i < feedIds.length; ++i) {
            assertEq(oracle.latestForecast(feedIds[i]), expectedOf("two", i, 1));
        }
    }

    function test_submitJoint_fillsEveryPlace() public {
        goTo("ten");
        bytes32[] memory feedIds = feedIdsOf("ten");
        oracle.submitJoint(jointUpdateOf("ten", 3));
        uint256[] memory probability = vm.parseJsonUintArray(fixture, ".ten.probabilityHigh");
        uint256[] memory volatility = vm.parseJsonUintArray(fixture, ".ten.volatility");
        bool[] memory high = vm.parseJsonBoolArray(fixture, ".ten.regimeHigh");
        vm.assertEq(feedIds.length, 10);
        for (uint256 i = 0; i < feedIds.length; ++i) {
            IVolatilityOracle.Forecast memory found = oracle.latestForecast(feedIds[i]);
            vm.assertApproxEqAbs(found.probabilityHigh, probability[i], 200);
            vm.assertApproxEqAbs(found.volatility, volatility[i], 200);
            vm.assertEq(found.regime == IVolatilityOracle.Regime.High, high[i]);
        }
    }

    function test_submitJoint_followsASingleUpdate() public {
        goTo("first");
        oracle.submit(updateOf("first", 1));
        goTo("two");
        oracle.submitJoint(jointUpdateOf("two", 1));
        vm.assertEq(oracle.latestForecast(FEED).round, 2);
        vm.assertEq(oracle.latestForecast(OTHER_FEED).round, 1);
    }

    function test_submitJoint_revertsWhenReplayed() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        oracle.submitJoint(update);
        rejects(
            update,
            abi.encodeWithSelector(IVolatilityOracle.WindowAlreadyPublished.selector, FEED, update.windows[0].windowEnd)
        );
    }

    function test_submitJoint_revertsWhenOneWindowIsInTheFuture() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        uint64 tooLate = uint64(block.timestamp + MAX_SKEW + 1);
        update.windows[1].windowEnd = tooLate;
        sign(update, 1);
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.WindowInFuture.selector, tooLate, tooLate - 1));
    }

    function test_submitJoint_revertsWhenOneWindowIsTooOld() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        uint64 tooEarly = uint64(block.timestamp - SUBMISSION_LIMIT - 1);
        update.windows[1].windowEnd = tooEarly;
        sign(update, 1);
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.WindowTooOld.selector, tooEarly, tooEarly + 1));
    }

    function test_submitJoint_revertsWhenAFeedStandsTwice() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        update.windows[1] = IVolatilityOracle.FeedWindow(FEED, update.windows[0].windowEnd + 1);
        sign(update, 1);
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.DuplicateFeed.selector, FEED));
    }

    function test_submitJoint_revertsWhenThereIsNoWindow() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        update.windows = new IVolatilityOracle.FeedWindow[](0);
        sign(update, 1);
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.WrongWindowCount.selector, 0, 10));
    }

    function test_submitJoint_revertsWhenThereAreMoreWindowsThanPlaces() public {
        bytes32 small = keccak256("a model with two places");
        bytes32[] memory feedIds = new bytes32[](3);
        (feedIds[0], feedIds[1], feedIds[2]) = (bytes32("a"), bytes32("b"), bytes32("c"));
        activate(small, modelWith(single, joint, 2), feedIds);
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        update.modelId = small;
        update.windows = new IVolatilityOracle.FeedWindow[](3);
        for (uint256 i = 0; i < 3; ++i) {
            update.windows[i] = IVolatilityOracle.FeedWindow(feedIds[i], uint64(block.timestamp));
        }
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.WrongWindowCount.selector, 3, 2));
    }

    function test_submitJoint_revertsWithoutAJointVerifier() public {
        bytes32 alone = keccak256("a model for single windows");
        activate(alone, modelWith(single, address(0), 0), only(keccak256("doge")));
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        update.modelId = alone;
        rejects(update, abi.encodeWithSelector(IModelRegistry.NoJointVerifier.selector, alone));
    }

    function test_submitJoint_revertsWhenOneFeedIsAnotherModels() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        update.windows[1].feedId = keccak256("doge");
        rejects(update, abi.encodeWithSelector(IModelRegistry.ModelNotOfFeed.selector, modelId, keccak256("doge")));
    }

    function test_submitJoint_revertsWhenTheModelIsFrozen() public {
        registry.freeze(modelId);
        rejects(jointUpdateOf("two", 1), abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, modelId));
    }

    function test_submitJoint_revertsForTheOutputsOfItsWindowsAlone() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        uint256[] memory fewer = new uint256[](6);
        for (uint256 i = 0; i < 6; ++i) {
            fewer[i] = update.outputs[i];
        }
        update.outputs = fewer;
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.WrongOutputCount.selector, 6, 30));
    }

    function test_submitJoint_revertsWhenAnOutputOfAnEmptyPlaceIsNotCanonical() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        update.outputs[29] += FIELD_ORDER;
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.NonCanonicalOutput.selector, 29, update.outputs[29]));
    }

    function test_submitJoint_readsNoMeaningIntoEmptyPlaces() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        update.outputs[29] = 9 * 2 ** 27; // no volatility can be e^9, but nobody's it is
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.ProofRejected.selector, modelId));
    }

    function test_submitJoint_revertsWhenAnOutputIsOutOfRange() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        update.outputs[3] = 64 * 2 ** 27 + 1;
        rejects(
            update, abi.encodeWithSelector(IVolatilityOracle.OutputOutOfRange.selector, 3, int256(64 * 2 ** 27 + 1))
        );
    }

    function test_submitJoint_revertsWhenOutputsChangePlaces() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        for (uint256 i = 0; i < 3; ++i) {
            (update.outputs[i], update.outputs[3 + i]) = (update.outputs[3 + i], update.outputs[i]);
        }
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.ProofRejected.selector, modelId));
    }

    /// @notice Which feed a window is of is not in the proof: the signatures bind it to its place.
    function test_submitJoint_revertsWhenFeedsChangePlaces() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        (update.windows[0], update.windows[1]) = (update.windows[1], update.windows[0]);
        rejects(update, abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, vm.addr(keys[0])));
    }

    function test_submitJoint_revertsWhenAWindowIsLeftOutOrAdded() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        IVolatilityOracle.FeedWindow[] memory signed = update.windows;
        bytes memory reason = abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, vm.addr(keys[0]));
        update.windows = new IVolatilityOracle.FeedWindow[](1);
        update.windows[0] = signed[0];
        rejects(update, reason);
        update.windows = new IVolatilityOracle.FeedWindow[](3);
        (update.windows[0], update.windows[1]) = (signed[0], signed[1]);
        update.windows[2] = IVolatilityOracle.FeedWindow(feedIdsOf("ten")[2], signed[0].windowEnd);
        rejects(update, reason);
    }

    function test_submitJoint_revertsForASignatureOfAnotherWindowEndModelOrCommitment() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        bytes memory reason = abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, vm.addr(keys[0]));
        update.windows[1].windowEnd -= 1;
        rejects(update, reason);
        update.windows[1].windowEnd += 1;
        update.signatures = signatures(oracle.jointAttestationDigest(update.windows, 0, update.inputCommitment), 1);
        rejects(update, reason);
        update.signatures = signatures(oracle.jointAttestationDigest(update.windows, modelId, 0), 1);
        rejects(update, reason);
    }

    function test_submitJoint_revertsWhenTooFewSigned() public {
        rejects(jointUpdateOf("two", 0), abi.encodeWithSelector(IAttesterSet.TooFewSignatures.selector, 0, 1));
    }

    function test_submitJoint_revertsForAnotherProof() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        IVolatilityOracle.JointUpdate memory ten = jointUpdateOf("ten", 1);
        update.proof = ten.proof;
        rejects(
            update,
            abi.encodeWithSelector(
                IVolatilityOracle.CommitmentMismatch.selector, update.inputCommitment, ten.inputCommitment
            )
        );
    }

    function test_submitJoint_revertsWhenTheProofIsTooShort() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        update.proof = "";
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.ProofTooShort.selector, 0));
    }

    function test_submitJoint_revertsWhenAProofByteIsFlipped() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 1);
        for (uint256 i = 64; i < update.proof.length; i += 149) {
            update.proof[i] ^= 0x80;
            rejects(update, abi.encodeWithSelector(IVolatilityOracle.ProofRejected.selector, modelId));
            update.proof[i] ^= 0x80;
        }
    }

    function test_jointVerifier_revertsForOtherLengths() public {
        IVolatilityOracle.JointUpdate memory update = jointUpdateOf("two", 0);
        vm.assertTrue(IProofVerifier(joint).verifyProof(update.proof, update.outputs));
        vm.expectRevert();
        IProofVerifier(joint).verifyProof(bytes.concat(update.proof, hex"00"), update.outputs);
        uint256[] memory more = new uint256[](31);
        for (uint256 i = 0; i < 30; ++i) {
            more[i] = update.outputs[i];
        }
        vm.expectRevert();
        IProofVerifier(joint).verifyProof(update.proof, more);
    }

    function test_jointAttestationDigest_isOfEip712() public view {
        IVolatilityOracle.FeedWindow[] memory windows = new IVolatilityOracle.FeedWindow[](2);
        windows[0] = IVolatilityOracle.FeedWindow(FEED, 7);
        windows[1] = IVolatilityOracle.FeedWindow(OTHER_FEED, type(uint64).max);
        bytes32 content = keccak256(
            abi.encode(
                keccak256(
                    "JointAttestation(bytes32[] feedIds,uint64[] windowEnds,bytes32 modelId,bytes32 inputCommitment)"
                ),
                keccak256(abi.encode(FEED, OTHER_FEED)),
                keccak256(abi.encode(uint256(7), uint256(type(uint64).max))),
                modelId,
                bytes32("commitment")
            )
        );
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("VeriRegime"),
                keccak256("1"),
                block.chainid,
                address(oracle)
            )
        );
        vm.assertEq(
            oracle.jointAttestationDigest(windows, modelId, "commitment"),
            keccak256(abi.encodePacked(hex"1901", domain, content))
        );
    }

    /// @dev All or none: no feed has a new round afterwards.
    function rejects(IVolatilityOracle.JointUpdate memory update, bytes memory reason) private {
        (uint64 first,,) = oracle.feedState(FEED);
        (uint64 second,,) = oracle.feedState(OTHER_FEED);
        vm.expectRevert(reason);
        oracle.submitJoint(update);
        (uint64 firstNow,,) = oracle.feedState(FEED);
        (uint64 secondNow,,) = oracle.feedState(OTHER_FEED);
        vm.assertEq(uint256(first) + second, uint256(firstNow) + secondNow);
    }
}
