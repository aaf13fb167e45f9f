// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IAttesterSet} from "./interfaces/IAttesterSet.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IProofVerifier} from "./interfaces/IProofVerifier.sol";
import {IVolatilityOracle} from "./interfaces/IVolatilityOracle.sol";
import {Outputs} from "./libraries/Outputs.sol";
import {Rounds} from "./libraries/Rounds.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {EfficientHashLib} from "solady/utils/EfficientHashLib.sol";

/// @notice Forecasts of volatility, each behind a verified proof and signed inputs.
/// @dev An update is checked, then verified, then recorded, then emitted. Every call out is a static one, so nothing
/// can call back in between. Nobody owns this contract: models and attesters change in the registry and the set.
contract VolatilityOracle is IVolatilityOracle, EIP712 {
    /// @notice How many rounds of a feed are kept.
    uint256 public constant HISTORY = 256;

    /// @dev One slot and a ring: round r is at r % HISTORY.
    struct Feed {
        uint64 round;
        uint64 windowEnd;
        uint64 reservedUpTo;
        uint256[HISTORY] rounds;
    }

    bytes32 public constant ATTESTATION_TYPEHASH =
        keccak256("Attestation(bytes32 feedId,uint64 windowEnd,bytes32 modelId,bytes32 inputCommitment)");
    bytes32 public constant JOINT_ATTESTATION_TYPEHASH =
        keccak256("JointAttestation(bytes32[] feedIds,uint64[] windowEnds,bytes32 modelId,bytes32 inputCommitment)");

    /// @dev The input commitment is a point (x, y), and a proof begins with it.
    uint256 private constant COMMITMENT_BYTES = 64;

    /// @inheritdoc IVolatilityOracle
    IModelRegistry public immutable registry;
    /// @inheritdoc IVolatilityOracle
    IAttesterSet public immutable attesters;
    /// @inheritdoc IVolatilityOracle
    uint256 public immutable submissionLimit;
    /// @inheritdoc IVolatilityOracle
    uint256 public immutable maxSkew;
    /// @inheritdoc IVolatilityOracle
    uint256 public immutable defaultMaxAge;

    mapping(bytes32 feedId => Feed) private _feeds;

    constructor(
        IModelRegistry registry_,
        IAttesterSet attesters_,
        uint256 submissionLimit_,
        uint256 maxSkew_,
        uint256 defaultMaxAge_
    ) EIP712("VeriRegime", "1") {
        registry = registry_;
        attesters = attesters_;
        submissionLimit = submissionLimit_;
        maxSkew = maxSkew_;
        defaultMaxAge = defaultMaxAge_;
    }

    /// @inheritdoc IVolatilityOracle
    function submit(Update calldata update) external {
        _checkWindow(update.feedId, update.windowEnd);
        bytes32[] memory feedIds = new bytes32[](1);
        feedIds[0] = update.feedId;
        IModelRegistry.Serving memory model = registry.serving(update.modelId, feedIds, false);
        _checkOutputs(update.outputs, model.windows);
        Outputs.Decoded memory decoded = Outputs.decode(update.outputs, 0, model.outputScale);
        _checkCommitment(update.proof, update.inputCommitment);
        attesters.requireSigned(
            attestationDigest(update.feedId, update.windowEnd, update.modelId, update.inputCommitment),
            update.signatures
        );

        _verify(update.modelId, model.verifier, update.proof, update.outputs);

        _record(FeedWindow(update.feedId, update.windowEnd), update.modelId, model.number, decoded);
    }

    /// @inheritdoc IVolatilityOracle
    function submitJoint(JointUpdate calldata update) external {
        bytes32[] memory feedIds = _checkWindows(update.windows);
        IModelRegistry.Serving memory model = registry.serving(update.modelId, feedIds, true);
        _checkPlaces(feedIds, model.windows);
        _checkOutputs(update.outputs, model.windows);
        Outputs.Decoded[] memory decoded = new Outputs.Decoded[](feedIds.length);
        for (uint256 i = 0; i < decoded.length; ++i) {
            decoded[i] = Outputs.decode(update.outputs, i, model.outputScale);
        }
        _checkCommitment(update.proof, update.inputCommitment);
        attesters.requireSigned(
            jointAttestationDigest(update.windows, update.modelId, update.inputCommitment), update.signatures
        );

        _verify(update.modelId, model.verifier, update.proof, update.outputs);

        for (uint256 i = 0; i < decoded.length; ++i) {
            _record(update.windows[i], update.modelId, model.number, decoded[i]);
        }
    }

    /// @inheritdoc IVolatilityOracle
    function reserve(bytes32 feedId, uint64 rounds) external {
        Feed storage feed = _feeds[feedId];
        uint256 done = _paidUpTo(feed);
        if (rounds == 0 || done >= HISTORY) return;
        uint256 upTo = rounds < HISTORY - done ? done + rounds : HISTORY;
        for (uint256 round = done + 1; round <= upTo; ++round) {
            feed.rounds[round % HISTORY] = Rounds.RESERVED;
        }
        feed.reservedUpTo = uint64(upTo);
        emit RoundsReserved(feedId, uint64(upTo));
    }

    /// @inheritdoc IVolatilityOracle
    function latestForecast(bytes32 feedId) external view returns (Forecast memory) {
        return forecastNoOlderThan(feedId, defaultMaxAge);
    }

    /// @inheritdoc IVolatilityOracle
    function forecastNoOlderThan(bytes32 feedId, uint256 maxAge) public view returns (Forecast memory forecast) {
        forecast = forecastUnsafe(feedId);
        if (block.timestamp > forecast.windowEnd && block.timestamp - forecast.windowEnd > maxAge) {
            revert StaleForecast(feedId, forecast.windowEnd, maxAge);
        }
        if (registry.stateOf(forecast.modelId) == IModelRegistry.State.Frozen) {
            revert IModelRegistry.ModelIsFrozen(forecast.modelId);
        }
    }

    /// @inheritdoc IVolatilityOracle
    function forecastUnsafe(bytes32 feedId) public view returns (Forecast memory) {
        Feed storage feed = _feeds[feedId];
        if (feed.round == 0) revert NoForecast(feedId);
        return _forecast(feed, feed.round);
    }

    /// @inheritdoc IVolatilityOracle
    function getRound(bytes32 feedId, uint64 round) external view returns (Forecast memory) {
        Feed storage feed = _feeds[feedId];
        uint256 newest = feed.round;
        if (round == 0 || round > newest || newest - round >= HISTORY) revert RoundNotKept(feedId, round);
        return _forecast(feed, round);
    }

    /// @inheritdoc IVolatilityOracle
    function feedState(bytes32 feedId) external view returns (uint64 round, uint64 windowEnd, uint64 reservedUpTo) {
        Feed storage feed = _feeds[feedId];
        return (feed.round, feed.windowEnd, uint64(_paidUpTo(feed)));
    }

    /// @inheritdoc IVolatilityOracle
    function attestationDigest(bytes32 feedId, uint64 windowEnd, bytes32 modelId, bytes32 inputCommitment)
        public
        view
        returns (bytes32)
    {
        return
            _hashTypedDataV4(keccak256(abi.encode(ATTESTATION_TYPEHASH, feedId, windowEnd, modelId, inputCommitment)));
    }

    /// @inheritdoc IVolatilityOracle
    function jointAttestationDigest(FeedWindow[] calldata windows, bytes32 modelId, bytes32 inputCommitment)
        public
        view
        returns (bytes32)
    {
        bytes32[] memory feedIds = new bytes32[](windows.length);
        bytes32[] memory windowEnds = new bytes32[](windows.length);
        for (uint256 i = 0; i < windows.length; ++i) {
            (feedIds[i], windowEnds[i]) = (windows[i].feedId, bytes32(uint256(windows[i].windowEnd)));
        }
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    JOINT_ATTESTATION_TYPEHASH,
                    EfficientHashLib.hash(feedIds),
                    EfficientHashLib.hash(windowEnds),
                    modelId,
                    inputCommitment
                )
            )
        );
    }

    function _record(FeedWindow memory window, bytes32 modelId, uint24 model, Outputs.Decoded memory decoded) private {
        Feed storage feed = _feeds[window.feedId];
        uint64 round = feed.round + 1;
        (feed.round, feed.windowEnd) = (round, window.windowEnd);
        feed.rounds[round % HISTORY] = Rounds.pack(window.windowEnd, block.timestamp, model, decoded);
        emit ForecastPublished(
            window.feedId, window.windowEnd, modelId, round, decoded.regime, decoded.probabilityHigh, decoded.volatility
        );
    }

    function _checkWindows(FeedWindow[] calldata windows) private view returns (bytes32[] memory feedIds) {
        feedIds = new bytes32[](windows.length);
        for (uint256 i = 0; i < windows.length; ++i) {
            feedIds[i] = windows[i].feedId;
            _checkWindow(feedIds[i], windows[i].windowEnd);
        }
    }

    function _checkWindow(bytes32 feedId, uint64 windowEnd) private view {
        uint256 latestAllowed = block.timestamp + maxSkew;
        if (windowEnd > latestAllowed) revert WindowInFuture(windowEnd, latestAllowed);
        uint256 earliestAllowed = block.timestamp > submissionLimit ? block.timestamp - submissionLimit : 0;
        if (windowEnd < earliestAllowed) revert WindowTooOld(windowEnd, earliestAllowed);
        Feed storage feed = _feeds[feedId];
        if (windowEnd > feed.windowEnd) return;
        if (windowEnd == feed.windowEnd) revert WindowAlreadyPublished(feedId, windowEnd);
        revert WindowNotIncreasing(feedId, windowEnd, feed.windowEnd);
    }

    /// @dev Every call of a verifier is static, and its answer counts only if it is one word that says true: an account
    /// without code answers nothing.
    function _verify(bytes32 modelId, address verifier, bytes calldata proof, uint256[] calldata outputs) private view {
        (bool success, bytes memory answer) =
            verifier.staticcall(abi.encodeCall(IProofVerifier.verifyProof, (proof, outputs)));
        if (!success || answer.length != 32 || bytes32(answer) != bytes32(uint256(1))) revert ProofRejected(modelId);
    }

    function _forecast(Feed storage feed, uint64 round) private view returns (Forecast memory forecast) {
        uint24 model;
        (forecast, model) = Rounds.unpack(feed.rounds[round % HISTORY]);
        forecast.round = round;
        forecast.modelId = registry.modelAt(model);
    }

    /// @dev Up to which round storage was written, by publishing or ahead of it.
    function _paidUpTo(Feed storage feed) private view returns (uint256) {
        return feed.round > feed.reservedUpTo ? feed.round : feed.reservedUpTo;
    }

    function _checkOutputs(uint256[] calldata outputs, uint256 places) private pure {
        uint256 expected = Outputs.PER_WINDOW * places;
        if (outputs.length != expected) revert WrongOutputCount(outputs.length, expected);
        Outputs.requireCanonical(outputs);
    }

    function _checkCommitment(bytes calldata proof, bytes32 stated) private pure {
        if (proof.length < COMMITMENT_BYTES) revert ProofTooShort(proof.length);
        bytes32 ofProof = keccak256(proof[:COMMITMENT_BYTES]);
        if (ofProof != stated) revert CommitmentMismatch(stated, ofProof);
    }

    function _checkPlaces(bytes32[] memory feedIds, uint256 places) private pure {
        if (feedIds.length == 0 || feedIds.length > places) revert WrongWindowCount(feedIds.length, places);
        uint256 seen = 0;
        for (uint256 i = 0; i < feedIds.length; ++i) {
            uint256 mark = 1 << (uint256(feedIds[i]) % 256);
            if (seen & mark != 0) _checkNotBefore(feedIds, i);
            seen |= mark;
        }
    }

    /// @dev Two feeds with the same mark are looked at; without one they differ.
    function _checkNotBefore(bytes32[] memory feedIds, uint256 place) private pure {
        for (uint256 i = 0; i < place; ++i) {
            if (feedIds[i] == feedIds[place]) revert DuplicateFeed(feedIds[place]);
        }
    }
}
