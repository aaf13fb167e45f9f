// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IVolatilityOracle} from "../interfaces/IVolatilityOracle.sol";
import {Outputs} from "./Outputs.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @notice A round in one word: windowEnd 40 bits, publishedAt 40, volatility 80, probabilityHigh 64, model 24, regime 8,
/// from the lowest. Solidity would write a struct of them to storage field by field.
library Rounds {
    /// @notice Stands in the place of a round that was paid for ahead; as a round it would end in 1970.
    uint256 internal constant RESERVED = 1;

    uint256 private constant PUBLISHED_AT = 40;
    uint256 private constant VOLATILITY = 80;
    uint256 private constant PROBABILITY_HIGH = 160;
    uint256 private constant MODEL = 224;
    uint256 private constant REGIME = 248;

    function pack(uint256 windowEnd, uint256 publishedAt, uint24 model, Outputs.Decoded memory decoded)
        internal
        pure
        returns (uint256)
    {
        return uint256(SafeCast.toUint40(windowEnd)) | uint256(SafeCast.toUint40(publishedAt)) << PUBLISHED_AT
            | uint256(SafeCast.toUint80(decoded.volatility)) << VOLATILITY
            | uint256(SafeCast.toUint64(decoded.probabilityHigh)) << PROBABILITY_HIGH | uint256(model) << MODEL
            | uint256(decoded.regime) << REGIME;
    }

    /// @notice All of a forecast but its number and its model's id.
    function unpack(uint256 word) internal pure returns (IVolatilityOracle.Forecast memory forecast, uint24 model) {
        forecast.windowEnd = uint40(word);
        forecast.publishedAt = uint40(word >> PUBLISHED_AT);
        forecast.volatility = uint80(word >> VOLATILITY);
        forecast.probabilityHigh = uint64(word >> PROBABILITY_HIGH);
        forecast.regime = IVolatilityOracle.Regime(word >> REGIME);
        model = uint24(word >> MODEL);
    }
}
