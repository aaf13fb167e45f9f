// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AggregatorV3Interface} from "../interfaces/AggregatorV3Interface.sol";

/// @notice A price that is positive and recent, or a revert: how the examples read their price feeds.
/// @dev Simplified: on a rollup, ask the sequencer's uptime feed as well; and mind that Chainlink's feeds stop at a
/// smallest and a largest answer.
library FreshPrice {
    /// @notice The price was set longer ago than the reader accepts.
    error StalePrice(uint256 updatedAt, uint256 maxAge);
    /// @notice No price is zero or less.
    error PriceNotPositive(int256 answer);

    /// @return The answer, in the feed's own decimals. A time ahead of the chain's clock counts as now.
    function read(AggregatorV3Interface feed, uint256 maxAge) internal view returns (uint256) {
        // Round ids say nothing that updatedAt does not.
        // slither-disable-next-line unused-return
        (, int256 answer,, uint256 updatedAt,) = feed.latestRoundData();
        if (block.timestamp > updatedAt && block.timestamp - updatedAt > maxAge) revert StalePrice(updatedAt, maxAge);
        if (answer <= 0) revert PriceNotPositive(answer);
        return uint256(answer);
    }
}
