// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AggregatorV3Interface} from "./interfaces/AggregatorV3Interface.sol";
import {IVolatilityOracle} from "./interfaces/IVolatilityOracle.sol";

/// @title One feed of the oracle, as readers of Chainlink's price feeds know it
/// @notice `answer` is the annualised volatility with 8 decimals: 36_000_000 is 36 % a year, a fraction of one and not a
/// percentage. It is positive for whatever the oracle accepts, from 11 (e^-16) to about 298_095_798_704 (e^8).
/// `roundId` and `answeredInRound` are the oracle's round, counted from one without gaps and without Chainlink's phases.
/// `startedAt` and `updatedAt` are the end of the window that the model looked at, not the later time of publication.
/// Where the chain's clock was behind when it was published, they are the time of publication: readers that compute
/// `block.timestamp - updatedAt` never meet a time that is still to come.
/// @dev The regime and its probability are not in this interface: read
/// the oracle for them. There is no owner and no state, so what a feed answers depends on the oracle alone.
contract VolatilityFeed is AggregatorV3Interface {
    /// @dev From the oracle's 18 decimals to 8.
    uint256 private constant SCALE = 1e10;

    /// @notice Where forecasts are published.
    IVolatilityOracle public immutable oracle;
    /// @notice Which of the oracle's feeds this is.
    bytes32 public immutable feedId;
    /// @notice Seconds after the end of its window in which a forecast is read as the latest one.
    uint256 public immutable maxAge;
    /// @inheritdoc AggregatorV3Interface
    uint8 public constant override decimals = 8;
    /// @inheritdoc AggregatorV3Interface
    uint256 public constant override version = 1;
    /// @inheritdoc AggregatorV3Interface
    string public override description;

    constructor(IVolatilityOracle oracle_, bytes32 feedId_, string memory description_, uint256 maxAge_) {
        oracle = oracle_;
        feedId = feedId_;
        description = description_;
        maxAge = maxAge_;
    }

    /// @notice The newest round. Unlike a Chainlink feed it never answers with an old one: it reverts `StaleForecast`
    /// when the window ended more than `maxAge` seconds ago, `NoForecast` when nothing was published yet, and
    /// `ModelIsFrozen` when the model behind the round was frozen since.
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return _asRoundData(oracle.forecastNoOlderThan(feedId, maxAge));
    }

    /// @notice A past round, however old, even of a frozen model. Reverts `RoundNotKept` when there is no such round
    /// yet or the oracle keeps it no longer, as for any `_roundId` beyond 64 bits.
    function getRoundData(uint80 _roundId) external view returns (uint80, int256, uint256, uint256, uint80) {
        if (_roundId > type(uint64).max) revert IVolatilityOracle.RoundNotKept(feedId, type(uint64).max);
        // forge-lint: disable-next-line(unsafe-typecast) checked the line above
        return _asRoundData(oracle.getRound(feedId, uint64(_roundId)));
    }

    /// @dev Rounded to nearest; a half goes up.
    function _asRoundData(IVolatilityOracle.Forecast memory forecast)
        private
        pure
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        // forge-lint: disable-next-line(unsafe-typecast) ten decimals less than a uint256
        answer = int256((forecast.volatility + SCALE / 2) / SCALE);
        updatedAt = forecast.windowEnd < forecast.publishedAt ? forecast.windowEnd : forecast.publishedAt;
        return (forecast.round, answer, updatedAt, updatedAt, forecast.round);
    }
}
