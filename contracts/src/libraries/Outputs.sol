// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IVolatilityOracle} from "../interfaces/IVolatilityOracle.sol";
import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";

/// @notice From a proof's public outputs, elements of the BN254 scalar field, to what they say of a window.
library Outputs {
    /// @notice What the outputs of one window say, with 18 decimals.
    struct Decoded {
        IVolatilityOracle.Regime regime;
        uint256 probabilityHigh;
        uint256 volatility;
    }

    /// @notice Logit of low, logit of high, ln of the annualised volatility.
    uint256 internal constant PER_WINDOW = 3;

    uint256 internal constant FIELD_ORDER =
        21888242871839275222246405745257275088548364400416034343698204186575808495617;

    /// @notice With these limits every value below fits its type, and the exponentials keep their accuracy.
    int256 internal constant MAX_LOGIT = 64;
    int256 internal constant MIN_LN_VOLATILITY = -16;
    int256 internal constant MAX_LN_VOLATILITY = 8;

    int256 private constant WAD = 1e18;

    /// @notice A second representative of the same field element would prove as well and mean something else here.
    function requireCanonical(uint256[] calldata outputs) internal pure {
        for (uint256 i = 0; i < outputs.length; ++i) {
            if (outputs[i] >= FIELD_ORDER) revert IVolatilityOracle.NonCanonicalOutput(i, outputs[i]);
        }
    }

    /// @notice What the outputs of the window at `place` say; they must be canonical. Reverts when one is out of range.
    /// @param scale The outputs are integers at 2**scale; at most 27.
    function decode(uint256[] calldata outputs, uint256 place, uint8 scale)
        internal
        pure
        returns (Decoded memory decoded)
    {
        uint256 first = PER_WINDOW * place;
        int256 low = _within(outputs, first, -MAX_LOGIT << scale, MAX_LOGIT << scale);
        int256 high = _within(outputs, first + 1, -MAX_LOGIT << scale, MAX_LOGIT << scale);
        int256 ln = _within(outputs, first + 2, MIN_LN_VOLATILITY << scale, MAX_LN_VOLATILITY << scale);
        decoded.regime = high > low ? IVolatilityOracle.Regime.High : IVolatilityOracle.Regime.Low;
        decoded.probabilityHigh = probability(high - low, scale);
        decoded.volatility = exponential(ln, scale);
    }

    /// @notice 1 / (1 + exp(-margin / 2**scale)) with 18 decimals.
    /// @dev The side below one half is computed and the other taken from it, so nothing overflows. Within 3e-18 of the
    /// exact value: the exponent is rounded by at most 0.5e-18, its exponential, at most one, by at most 1e-18 more,
    /// e / (1 + e) passes on no more than all of that, and its division cuts off less than 1e-18.
    function probability(int256 margin, uint8 scale) internal pure returns (uint256) {
        uint256 wad = uint256(WAD);
        uint256 e = exponential(margin < 0 ? margin : -margin, scale);
        unchecked {
            uint256 smaller = e * wad / (wad + e); // e is at most one
            return margin > 0 ? wad - smaller : smaller;
        }
    }

    /// @notice exp(value / 2**scale) with 18 decimals.
    /// @dev For values up to `MAX_LN_VOLATILITY` within 0.6e-18 of the exact value, relative, and one unit of the last
    /// decimal: the exponent is rounded to the nearest of 18 decimals, which is a relative 0.5e-18, and solady's
    /// exponential is exact to 2e-20, relative, before it rounds down.
    function exponential(int256 value, uint8 scale) internal pure returns (uint256) {
        unchecked {
            int256 half = (int256(1) << scale) >> 1; // and |value| is below 2**36
            return uint256(FixedPointMathLib.expWad((value * WAD + half) >> scale));
        }
    }

    /// @notice A field element as a signed integer: the upper half of the field is negative.
    function signed(uint256 element) internal pure returns (int256) {
        unchecked {
            return element > FIELD_ORDER / 2 ? int256(element) - int256(FIELD_ORDER) : int256(element);
        }
    }

    function _within(uint256[] calldata outputs, uint256 index, int256 lowest, int256 highest)
        private
        pure
        returns (int256 value)
    {
        value = signed(outputs[index]);
        if (value < lowest || value > highest) revert IVolatilityOracle.OutputOutOfRange(index, value);
    }
}
