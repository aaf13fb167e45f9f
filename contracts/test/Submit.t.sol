// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {VolatilityOracle} from "../src/VolatilityOracle.sol";
import {IAttesterSet} from "../src/interfaces/IAttesterSet.sol";
import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {IProofVerifier} from "../src/interfaces/IProofVerifier.sol";
import {IVolatilityOracle} from "../src/interfaces/IVolatilityOracle.sol";
import {RealProofTest} from "./OracleTest.sol";

/// @notice One window and its real proof, two of three attesters.
contract SubmitTest is RealProofTest {
    uint256 internal constant FIELD_ORDER =
        21888242871839275222246405745257275088548364400416034343698204186575808495617;

    function threshold() internal pure override returns (uint256) {
        return 2;
    }

    function test_submit_publishesWhatTheProofShows() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        IVolatilityOracle.Forecast memory expected = expectedOf("first", 0, 1);
        vm.expectEmit(address(oracle));
        emit IVolatilityOracle.ForecastPublished(
            FEED, update.windowEnd, modelId, 1, expected.regime, expected.probabilityHigh, expected.volatility
        );
        vm.prank(STRANGER);
        oracle.submit(update);
        assertEq(oracle.latestForecast(FEED), expected);
        assertEq(oracle.getRound(FEED, 1), expected);
    }

    function test_submit_agreesWithPython() public {
        oracle.submit(updateOf("first", 2));
        IVolatilityOracle.Forecast memory found = oracle.latestForecast(FEED);
        // Python computes with floats: 53 bits.
        vm.assertApproxEqAbs(found.probabilityHigh, vm.parseJsonUintArray(fixture, ".first.probabilityHigh")[0], 200);
        vm.assertApproxEqAbs(found.volatility, vm.parseJsonUintArray(fixture, ".first.volatility")[0], 200);
        bool high = vm.parseJsonBoolArray(fixture, ".first.regimeHigh")[0];
        vm.assertEq(found.regime == IVolatilityOracle.Regime.High, high);
    }

    function test_submit_takesALaterWindowNext() public {
        oracle.submit(updateOf("first", 2));
        goTo("second");
        oracle.submit(updateOf("second", 3));
        vm.assertEq(oracle.latestForecast(FEED).round, 2);
        vm.assertEq(oracle.getRound(FEED, 1).windowEnd, updateOf("first", 0).windowEnd);
    }

    function test_submit_takesAWindowAtTheLimitsOfTime() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        vm.warp(update.windowEnd - MAX_SKEW);
        uint256 before = vm.snapshotState();
        oracle.submit(update);
        vm.revertToState(before);
        vm.warp(update.windowEnd + SUBMISSION_LIMIT);
        oracle.submit(update);
    }

    function test_submit_revertsWhenAProofByteIsFlipped() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        for (uint256 i = 64; i < update.proof.length; i += 149) {
            update.proof[i] ^= 0x01;
            rejects(update, abi.encodeWithSelector(IVolatilityOracle.ProofRejected.selector, modelId));
            update.proof[i] ^= 0x01;
        }
        oracle.submit(update);
    }

    function test_submit_revertsWhenAByteOfTheCommitmentIsFlipped() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        bytes32 stated = update.inputCommitment;
        update.proof[63] ^= 0x01;
        bytes32 found = commitmentOf(update.proof);
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.CommitmentMismatch.selector, stated, found));
    }

    function test_submit_revertsForAnotherWindowsProof() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        IVolatilityOracle.Update memory later = updateOf("second", 2);
        (update.proof, update.outputs) = (later.proof, later.outputs);
        rejects(
            update,
            abi.encodeWithSelector(
                IVolatilityOracle.CommitmentMismatch.selector, update.inputCommitment, later.inputCommitment
            )
        );
        update.inputCommitment = later.inputCommitment;
        rejects(update, abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, vm.addr(keys[0])));
    }

    /// @notice The other model saw the same inputs under the same reference string: even the commitment is the same.
    function test_submit_revertsForAnotherModelsProof() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        IVolatilityOracle.Update memory ofAnother = updateOf("ofAnother", 2);
        vm.assertEq(update.inputCommitment, ofAnother.inputCommitment);
        (update.proof, update.outputs) = (ofAnother.proof, ofAnother.outputs);
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.ProofRejected.selector, modelId));
    }

    function test_submit_revertsForAModelThatIsUnknown() public {
        IVolatilityOracle.Update memory update = updateOf("ofAnother", 2);
        rejects(update, abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, update.modelId));
    }

    function test_submit_revertsUntilTheModelIsActive() public {
        IVolatilityOracle.Update memory update = updateOf("ofAnother", 2);
        registry.propose(update.modelId, modelWith(another, address(0), 0), only(FEED));
        uint256 from = block.timestamp + DELAY;
        rejects(update, abi.encodeWithSelector(IModelRegistry.ModelNotActive.selector, update.modelId, from));
    }

    function test_submit_takesAnotherModelOnceItIsActive() public {
        IVolatilityOracle.Update memory update = updateOf("ofAnother", 2);
        uint256 end = block.timestamp;
        vm.warp(end - DELAY);
        registry.propose(update.modelId, modelWith(another, address(0), 0), only(FEED));
        vm.warp(end);
        registry.activate(update.modelId);
        oracle.submit(update);
        vm.assertEq(oracle.latestForecast(FEED).modelId, update.modelId);
        IVolatilityOracle.Update memory superseded = updateOf("second", 2);
        goTo("second");
        rejects(superseded, abi.encodeWithSelector(IModelRegistry.ModelNotOfFeed.selector, modelId, FEED));
    }

    function test_submit_revertsWhenTheModelIsFrozen() public {
        registry.freeze(modelId);
        rejects(updateOf("first", 2), abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, modelId));
    }

    function test_submit_revertsForAFeedOfAnotherModel() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        update.feedId = keccak256("doge-usdt-4h");
        sign(update, 2);
        rejects(update, abi.encodeWithSelector(IModelRegistry.ModelNotOfFeed.selector, modelId, update.feedId));
    }

    function test_submit_revertsWhenOutputsAreChanged() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        for (uint256 i = 0; i < 3; ++i) {
            uint256 honest = update.outputs[i];
            update.outputs[i] = honest == FIELD_ORDER - 1 ? honest - 1 : honest + 1;
            rejects(update, abi.encodeWithSelector(IVolatilityOracle.ProofRejected.selector, modelId));
            update.outputs[i] = honest;
        }
    }

    function test_submit_revertsWhenAnOutputIsNotCanonical() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        update.outputs[2] += FIELD_ORDER;
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.NonCanonicalOutput.selector, 2, update.outputs[2]));
    }

    function test_submit_revertsWhenAnOutputIsOutOfRange() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        update.outputs[2] = 8 * 2 ** 27 + 1;
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.OutputOutOfRange.selector, 2, int256(8 * 2 ** 27 + 1)));
    }

    function test_submit_revertsForAnotherNumberOfOutputs() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        uint256[] memory honest = update.outputs;
        update.outputs = new uint256[](2);
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.WrongOutputCount.selector, 2, 3));
        update.outputs = new uint256[](4);
        for (uint256 i = 0; i < 3; ++i) {
            update.outputs[i] = honest[i];
        }
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.WrongOutputCount.selector, 4, 3));
    }

    function test_submit_revertsWhenTheProofIsTooShort() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        update.proof = new bytes(63);
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.ProofTooShort.selector, 63));
    }

    function test_submit_revertsWhenBytesFollowTheProof() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        update.proof = bytes.concat(update.proof, new bytes(32));
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.ProofRejected.selector, modelId));
    }

    function test_submit_revertsWhenTheSignerIsUnknown() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        update.signatures[1] = signature(uint256(keccak256("stranger")), digestOf(update));
        rejects(update, abi.encodeWithSelector(IAttesterSet.UnknownSigner.selector, update.signatures[1].signer));
    }

    function test_submit_revertsWhenASignerIsGivenTwice() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        update.signatures[1] = update.signatures[0];
        rejects(update, abi.encodeWithSelector(IAttesterSet.DuplicateSigner.selector, vm.addr(keys[0])));
    }

    function test_submit_revertsWhenTooFewSigned() public {
        rejects(updateOf("first", 1), abi.encodeWithSelector(IAttesterSet.TooFewSignatures.selector, 1, 2));
    }

    function test_submit_revertsWhenASignerWasRemoved() public {
        attesters.remove(vm.addr(keys[0]));
        rejects(updateOf("first", 2), abi.encodeWithSelector(IAttesterSet.UnknownSigner.selector, vm.addr(keys[0])));
    }

    function test_submit_revertsForASignatureOfAnotherChain() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        vm.chainId(block.chainid + 1);
        rejects(update, abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, vm.addr(keys[0])));
        sign(update, 2);
        oracle.submit(update);
    }

    function test_submit_revertsForASignatureForAnotherContract() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        oracle = new VolatilityOracle(registry, attesters, SUBMISSION_LIMIT, MAX_SKEW, MAX_AGE);
        rejects(update, abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, vm.addr(keys[0])));
    }

    function test_submit_revertsForASignatureOfAnotherFeedWindowModelOrCommitment() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        bytes32 zero = bytes32(0);
        signedInsteadReverts(update, zero, update.windowEnd, modelId, update.inputCommitment);
        signedInsteadReverts(update, FEED, update.windowEnd + 1, modelId, update.inputCommitment);
        signedInsteadReverts(update, FEED, update.windowEnd, zero, update.inputCommitment);
        signedInsteadReverts(update, FEED, update.windowEnd, modelId, zero);
    }

    function test_submit_revertsForAJointAttestationOfTheSameWindow() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        IVolatilityOracle.FeedWindow[] memory windows = new IVolatilityOracle.FeedWindow[](1);
        windows[0] = IVolatilityOracle.FeedWindow(FEED, update.windowEnd);
        update.signatures = signatures(oracle.jointAttestationDigest(windows, modelId, update.inputCommitment), 2);
        rejects(update, abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, vm.addr(keys[0])));
    }

    function test_submit_revertsWhenReplayed() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        oracle.submit(update);
        rejects(
            update, abi.encodeWithSelector(IVolatilityOracle.WindowAlreadyPublished.selector, FEED, update.windowEnd)
        );
    }

    function test_submit_revertsWhenTheWindowDoesNotIncrease() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        IVolatilityOracle.Update memory later = updateOf("second", 2);
        vm.warp(update.windowEnd + SUBMISSION_LIMIT);
        oracle.submit(later);
        rejects(
            update,
            abi.encodeWithSelector(
                IVolatilityOracle.WindowNotIncreasing.selector, FEED, update.windowEnd, later.windowEnd
            )
        );
    }

    function test_submit_revertsWhenTheWindowIsInTheFuture() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        vm.warp(update.windowEnd - MAX_SKEW - 1);
        rejects(
            update,
            abi.encodeWithSelector(IVolatilityOracle.WindowInFuture.selector, update.windowEnd, update.windowEnd - 1)
        );
    }

    function test_submit_revertsWhenTheWindowIsTooOld() public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        vm.warp(update.windowEnd + SUBMISSION_LIMIT + 1);
        rejects(
            update,
            abi.encodeWithSelector(IVolatilityOracle.WindowTooOld.selector, update.windowEnd, update.windowEnd + 1)
        );
    }

    function test_submit_takesAnythingPastWithoutASubmissionLimit() public {
        oracle = new VolatilityOracle(registry, attesters, type(uint256).max, MAX_SKEW, MAX_AGE);
        vm.warp(block.timestamp + 365 days);
        oracle.submit(updateOf("first", 2));
        vm.assertEq(oracle.forecastUnsafe(FEED).round, 1);
    }

    function test_submit_revertsWhenTheVerifierIsGone() public {
        vm.etch(single, "");
        rejects(updateOf("first", 2), abi.encodeWithSelector(IVolatilityOracle.ProofRejected.selector, modelId));
    }

    /// @notice The generated contract itself: its lengths are part of what it checks.
    function test_verifier_revertsForOtherLengths() public {
        IVolatilityOracle.Update memory update = updateOf("first", 0);
        vm.assertTrue(IProofVerifier(single).verifyProof(update.proof, update.outputs));
        verifierReverts(bytes.concat(update.proof, hex"00"), update.outputs);
        verifierReverts(bytes.concat(update.proof, new bytes(32)), update.outputs);
        verifierReverts(update.proof, new uint256[](0));
        uint256[] memory more = new uint256[](4);
        (more[0], more[1], more[2]) = (update.outputs[0], update.outputs[1], update.outputs[2]);
        verifierReverts(update.proof, more);
        uint256[] memory fewer = new uint256[](2);
        (fewer[0], fewer[1]) = (update.outputs[0], update.outputs[1]);
        verifierReverts(update.proof, fewer);
    }

    function test_attestationDigest_isOfEip712() public view {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("VeriRegime"),
                keccak256("1"),
                block.chainid,
                address(oracle)
            )
        );
        bytes32 content = keccak256(
            abi.encode(
                keccak256("Attestation(bytes32 feedId,uint64 windowEnd,bytes32 modelId,bytes32 inputCommitment)"),
                FEED,
                uint256(7),
                modelId,
                bytes32("commitment")
            )
        );
        vm.assertEq(
            oracle.attestationDigest(FEED, 7, modelId, "commitment"),
            keccak256(abi.encodePacked(hex"1901", domain, content))
        );
    }

    function test_attesters_canBeReplacedWhileTheOracleStays() public {
        uint256 end = block.timestamp;
        uint256[] memory others = new uint256[](1);
        others[0] = uint256(keccak256("another attester"));
        vm.warp(end - DELAY);
        attesters.propose(accounts(others), 1);
        vm.warp(end);
        attesters.activate();
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        rejects(update, abi.encodeWithSelector(IAttesterSet.UnknownSigner.selector, vm.addr(keys[0])));
        update.signatures = new IAttesterSet.AttesterSignature[](1);
        update.signatures[0] = signature(others[0], digestOf(update));
        oracle.submit(update);
    }

    /// @notice No changed byte of a real proof is accepted.
    function testFuzz_submit_revertsWhenAnyProofBitIsFlipped(uint256 place, uint256 bit) public {
        IVolatilityOracle.Update memory update = updateOf("first", 2);
        place = _bound(place, 64, update.proof.length - 1);
        update.proof[place] ^= bytes1(uint8(1 << _bound(bit, 0, 7)));
        rejects(update, abi.encodeWithSelector(IVolatilityOracle.ProofRejected.selector, modelId));
    }

    function rejects(IVolatilityOracle.Update memory update, bytes memory reason) private {
        (uint64 round,,) = oracle.feedState(update.feedId);
        vm.expectRevert(reason);
        oracle.submit(update);
        (uint64 newest,,) = oracle.feedState(update.feedId);
        vm.assertEq(uint256(newest), uint256(round));
    }

    function signedInsteadReverts(
        IVolatilityOracle.Update memory update,
        bytes32 feedId,
        uint64 windowEnd,
        bytes32 ofModel,
        bytes32 commitment
    ) private {
        update.signatures = signatures(oracle.attestationDigest(feedId, windowEnd, ofModel, commitment), 2);
        rejects(update, abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, vm.addr(keys[0])));
    }

    function verifierReverts(bytes memory proof, uint256[] memory outputs) private {
        vm.expectRevert();
        IProofVerifier(single).verifyProof(proof, outputs);
    }

    function digestOf(IVolatilityOracle.Update memory update) private view returns (bytes32) {
        return oracle.attestationDigest(update.feedId, update.windowEnd, update.modelId, update.inputCommitment);
    }

    function commitmentOf(bytes memory proof) private pure returns (bytes32) {
        bytes memory point = new bytes(64);
        for (uint256 i = 0; i < 64; ++i) {
            point[i] = proof[i];
        }
        return keccak256(point);
    }
}
