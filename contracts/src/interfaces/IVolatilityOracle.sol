// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IAttesterSet} from "./IAttesterSet.sol";
import {IModelRegistry} from "./IModelRegistry.sol";

/// @notice Forecasts of volatility, each behind a verified proof and signed inputs.
/// @dev Anyone may relay an update: trust is in signatures and proof, not in the sender. Times are Unix seconds,
/// probabilities and volatilities have 18 decimals.
interface IVolatilityOracle {
    enum Regime {
        Low,
        High
    }

    /// @notice An accepted update.
    /// @param round Counts from one, per feed.
    /// @param windowEnd End of the window that the model looked at; the forecast is for the hours after it.
    /// @param publishedAt Time of the block that recorded it.
    /// @param regime High if the logit of high is the larger one; a tie is low.
    /// @param probabilityHigh Of the high regime.
    /// @param volatility Annualised: 0.36e18 is 36 % a year.
    struct Forecast {
        uint64 round;
        uint64 windowEnd;
        uint64 publishedAt;
        Regime regime;
        uint256 probabilityHigh;
        uint256 volatility;
        bytes32 modelId;
    }

    /// @notice One forecast with its proof.
    /// @param inputCommitment keccak256 of the first 64 bytes of the proof, which commit to its inputs.
    /// @param outputs The proof's public outputs: (logit low, logit high, ln volatility), field elements.
    /// @param signatures Of attesters over `Attestation(feedId,windowEnd,modelId,inputCommitment)`, EIP-712.
    struct Update {
        bytes32 feedId;
        uint64 windowEnd;
        bytes32 modelId;
        bytes32 inputCommitment;
        bytes proof;
        uint256[] outputs;
        IAttesterSet.AttesterSignature[] signatures;
    }

    struct FeedWindow {
        bytes32 feedId;
        uint64 windowEnd;
    }

    /// @notice Forecasts of several feeds with one proof.
    /// @param windows In the order of the proof; places after the last one are empty.
    /// @param outputs Three for every place of the proof, empty ones included.
    /// @param signatures Over `JointAttestation(bytes32[] feedIds,uint64[] windowEnds,bytes32 modelId,bytes32
    /// inputCommitment)`, EIP-712: one signature binds every window to its place.
    struct JointUpdate {
        FeedWindow[] windows;
        bytes32 modelId;
        bytes32 inputCommitment;
        bytes proof;
        uint256[] outputs;
        IAttesterSet.AttesterSignature[] signatures;
    }

    /// @notice A forecast was accepted.
    event ForecastPublished(
        bytes32 indexed feedId,
        uint64 indexed windowEnd,
        bytes32 indexed modelId,
        uint64 round,
        Regime regime,
        uint256 probabilityHigh,
        uint256 volatility
    );
    /// @notice Storage of the rounds up to this one was paid for ahead.
    event RoundsReserved(bytes32 indexed feedId, uint64 upTo);

    /// @notice The window is already published.
    error WindowAlreadyPublished(bytes32 feedId, uint64 windowEnd);
    /// @notice A later window is already published.
    error WindowNotIncreasing(bytes32 feedId, uint64 windowEnd, uint64 latest);
    /// @notice The window ends later than the chain's clock and the allowed skew.
    error WindowInFuture(uint64 windowEnd, uint256 latestAllowed);
    /// @notice The window ended longer ago than the submission limit.
    error WindowTooOld(uint64 windowEnd, uint256 earliestAllowed);
    /// @notice A feed stands twice in a joint update.
    error DuplicateFeed(bytes32 feedId);
    /// @notice A joint update holds 1 window to as many as its proof has places.
    error WrongWindowCount(uint256 given, uint256 places);
    /// @notice The proof begins with another commitment than the one stated: it is another window's proof.
    error CommitmentMismatch(bytes32 stated, bytes32 ofProof);
    /// @notice A proof is at least as long as its commitment.
    error ProofTooShort(uint256 length);
    /// @notice The update has another number of outputs than the proof.
    error WrongOutputCount(uint256 given, uint256 expected);
    /// @notice An output is not below the order of the field.
    error NonCanonicalOutput(uint256 index, uint256 value);
    /// @notice An output is beyond what a forecast can be.
    error OutputOutOfRange(uint256 index, int256 value);
    /// @notice The model's verifier does not accept the proof with these outputs.
    error ProofRejected(bytes32 modelId);

    /// @notice Nothing was ever published for the feed.
    error NoForecast(bytes32 feedId);
    /// @notice The newest forecast is older than the reader accepts.
    error StaleForecast(bytes32 feedId, uint64 windowEnd, uint256 maxAge);
    /// @notice The round does not exist yet, or is no longer kept.
    error RoundNotKept(bytes32 feedId, uint64 round);

    /// @notice Publish one forecast. Anyone may.
    function submit(Update calldata update) external;

    /// @notice Publish forecasts of several feeds with one proof: all or none. Anyone may.
    function submitJoint(JointUpdate calldata update) external;

    /// @notice Pay ahead for the storage of the next `rounds` rounds of a feed, so that updates cost less. Anyone may.
    function reserve(bytes32 feedId, uint64 rounds) external;

    /// @notice The newest forecast; reverts when it is older than `defaultMaxAge` or its model was frozen.
    function latestForecast(bytes32 feedId) external view returns (Forecast memory);

    /// @notice The newest forecast; reverts when its window ended more than `maxAge` seconds ago or its model was
    /// frozen.
    function forecastNoOlderThan(bytes32 feedId, uint256 maxAge) external view returns (Forecast memory);

    /// @notice The newest forecast, however old, even of a frozen model: check `windowEnd` and `modelId` yourself.
    function forecastUnsafe(bytes32 feedId) external view returns (Forecast memory);

    /// @notice A past round; the last `HISTORY` of them are kept.
    function getRound(bytes32 feedId, uint64 round) external view returns (Forecast memory);

    /// @notice What an attester signs for one window.
    function attestationDigest(bytes32 feedId, uint64 windowEnd, bytes32 modelId, bytes32 inputCommitment)
        external
        view
        returns (bytes32);

    /// @notice What an attester signs for several windows in one proof.
    function jointAttestationDigest(FeedWindow[] calldata windows, bytes32 modelId, bytes32 inputCommitment)
        external
        view
        returns (bytes32);

    /// @notice Newest round of a feed, the end of its window, and up to which round storage is paid for.
    function feedState(bytes32 feedId) external view returns (uint64 round, uint64 windowEnd, uint64 reservedUpTo);

    function registry() external view returns (IModelRegistry);

    function attesters() external view returns (IAttesterSet);

    /// @notice Seconds after its end in which a window can be published.
    function submissionLimit() external view returns (uint256);

    /// @notice Seconds by which a window may end later than the chain's clock.
    function maxSkew() external view returns (uint256);

    /// @notice Seconds after which `latestForecast` reverts.
    function defaultMaxAge() external view returns (uint256);
}
