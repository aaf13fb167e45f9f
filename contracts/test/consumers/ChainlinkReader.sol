// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AggregatorV3Interface} from "../../src/interfaces/AggregatorV3Interface.sol";

/// @notice What code that reads a Chainlink feed does, checks included: it knows that interface and nothing of this
/// project.
contract ChainlinkReader {
    AggregatorV3Interface public immutable feed;
    /// @notice Seconds after `updatedAt` in which an answer is used.
    uint256 public immutable heartbeat;

    error BadAnswer(int256 answer);
    error OldAnswer(uint256 updatedAt);

    constructor(AggregatorV3Interface feed_, uint256 heartbeat_) {
        (feed, heartbeat) = (feed_, heartbeat_);
    }

    /// @notice The newest answer with 18 decimals.
    function latest() external view returns (uint256) {
        (uint80 roundId, int256 answer,, uint256 updatedAt, uint80 answeredInRound) = feed.latestRoundData();
        if (answer <= 0 || answeredInRound < roundId) revert BadAnswer(answer);
        if (updatedAt == 0 || block.timestamp - updatedAt > heartbeat) revert OldAnswer(updatedAt);
        return _to18(answer);
    }

    /// @notice Mean of the newest `rounds` answers with 18 decimals, found by counting round ids down.
    function mean(uint80 rounds) external view returns (uint256 sum) {
        (uint80 newest,,,,) = feed.latestRoundData();
        for (uint80 i = 0; i < rounds; ++i) {
            (, int256 answer,,,) = feed.getRoundData(newest - i);
            sum += _to18(answer);
        }
        return sum / rounds;
    }

    function _to18(int256 answer) private view returns (uint256) {
        return uint256(answer) * 10 ** (18 - feed.decimals());
    }
}
