// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IVolatilityOracle} from "../src/interfaces/IVolatilityOracle.sol";
import {Outputs} from "../src/libraries/Outputs.sol";
import {OutputsCaller} from "./Doubles.sol";
import {Test} from "./Test.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @notice exp to 30 digits, by a series and squaring: slow, and nothing of it is shared with what it judges.
library PreciseExp {
    uint256 internal constant UNIT = 1e36;
    uint256 private constant HALVINGS = 12;
    uint256 private constant TERMS = 14;

    /// @return exp(value / 2**scale) with 36 decimals; value <= 90 * 2**scale.
    function exp(int256 value, uint8 scale) internal pure returns (uint256) {
        if (value < -90 * (int256(1) << scale)) return 0; // its first digit is the fortieth
        uint256 size = Math.mulDiv(value < 0 ? uint256(-value) : uint256(value), UNIT, 2 ** (scale + HALVINGS));
        uint256 term = UNIT;
        uint256 sum = UNIT;
        for (uint256 n = 1; n <= TERMS; ++n) {
            term = Math.mulDiv(term, size, UNIT * n);
            sum += term;
        }
        // A small power is taken as the reciprocal of a large one, so that squaring costs it no digits.
        for (uint256 n = 0; n < HALVINGS; ++n) {
            sum = Math.mulDiv(sum, sum, UNIT);
        }
        return value < 0 ? Math.mulDiv(UNIT, UNIT, sum) : sum;
    }
}

contract OutputsTest is Test {
    uint256 internal constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    uint8 internal constant SCALE = 27;
    int256 internal constant ONE = 2 ** 27;

    OutputsCaller internal caller = new OutputsCaller();

    function test_decode_regimeHighWhenItsLogitIsLarger() public view {
        Outputs.Decoded memory decoded = caller.decode(outputsOf(0, 1, 0), 0, SCALE);
        vm.assertTrue(decoded.regime == IVolatilityOracle.Regime.High);
        vm.assertGt(decoded.probabilityHigh, 0.5e18);
    }

    function test_decode_tieIsLow() public view {
        Outputs.Decoded memory decoded = caller.decode(outputsOf(-7, -7, 0), 0, SCALE);
        vm.assertTrue(decoded.regime == IVolatilityOracle.Regime.Low);
        vm.assertEq(decoded.probabilityHigh, 0.5e18);
        vm.assertEq(decoded.volatility, 1e18);
    }

    function test_decode_knownValues() public view {
        Outputs.Decoded memory decoded = caller.decode(outputsOf(ONE, -ONE, -ONE), 0, SCALE);
        vm.assertApproxEqAbs(decoded.probabilityHigh, 119202922022117556, 3); // 1 / (1 + e^2)
        vm.assertApproxEqAbs(decoded.volatility, 367879441171442321, 2); // 1 / e
    }

    function test_decode_limitsAreIncluded() public view {
        Outputs.Decoded memory decoded = caller.decode(outputsOf(64 * ONE, -64 * ONE, -16 * ONE), 0, SCALE);
        vm.assertEq(decoded.probabilityHigh, 0);
        vm.assertApproxEqAbs(decoded.volatility, 112535174719, 2);
        decoded = caller.decode(outputsOf(-64 * ONE, 64 * ONE, 8 * ONE), 0, SCALE);
        vm.assertEq(decoded.probabilityHigh, 1e18);
        vm.assertApproxEqAbs(decoded.volatility, 2980957987041728274740, 3000);
    }

    function test_decode_readsItsPlace() public view {
        uint256[] memory outputs = new uint256[](6);
        (outputs[0], outputs[1], outputs[2]) = (R / 2, R / 2, R / 2);
        (outputs[3], outputs[4], outputs[5]) = (0, 0, element(-ONE));
        vm.assertApproxEqAbs(caller.decode(outputs, 1, SCALE).volatility, 367879441171442321, 2);
    }

    function test_decode_revertsWhenOutOfRange() public {
        revertsOutOfRange(outputsOf(64 * ONE + 1, 0, 0), 0, 64 * ONE + 1);
        revertsOutOfRange(outputsOf(-64 * ONE - 1, 0, 0), 0, -64 * ONE - 1);
        revertsOutOfRange(outputsOf(0, 64 * ONE + 1, 0), 1, 64 * ONE + 1);
        revertsOutOfRange(outputsOf(0, -64 * ONE - 1, 0), 1, -64 * ONE - 1);
        revertsOutOfRange(outputsOf(0, 0, 8 * ONE + 1), 2, 8 * ONE + 1);
        revertsOutOfRange(outputsOf(0, 0, -16 * ONE - 1), 2, -16 * ONE - 1);
    }

    function test_decode_revertsInTheMiddleOfTheField() public {
        uint256[] memory outputs = new uint256[](3);
        outputs[1] = R / 2;
        revertsOutOfRange(outputs, 1, int256(R / 2));
        outputs[1] = R / 2 + 1;
        revertsOutOfRange(outputs, 1, -int256(R / 2));
    }

    function test_requireCanonical_acceptsUpToTheOrder() public view {
        uint256[] memory outputs = new uint256[](2);
        outputs[1] = R - 1;
        caller.requireCanonical(outputs);
    }

    function test_requireCanonical_revertsFromTheOrderOn() public {
        uint256[] memory outputs = new uint256[](3);
        outputs[2] = R;
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.NonCanonicalOutput.selector, 2, R));
        caller.requireCanonical(outputs);
    }

    function testFuzz_requireCanonical_revertsForASecondRepresentative(uint256 value, uint256 index) public {
        uint256[] memory outputs = new uint256[](30);
        index = _bound(index, 0, 29);
        outputs[index] = _bound(value, R, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.NonCanonicalOutput.selector, index, outputs[index]));
        caller.requireCanonical(outputs);
    }

    function testFuzz_signed_isTheNearestRepresentative(uint256 value) public pure {
        value = _bound(value, 0, R - 1);
        int256 found = Outputs.signed(value);
        vm.assertEq(found < 0 ? R - uint256(-found) : uint256(found), value);
        vm.assertLe(found < 0 ? uint256(-found) : uint256(found), R / 2);
    }

    function testFuzz_decode_regimeFollowsTheLogits(int256 low, int256 high) public view {
        low = _boundInt(low, -64 * ONE, 64 * ONE);
        high = _boundInt(high, -64 * ONE, 64 * ONE);
        Outputs.Decoded memory decoded = caller.decode(outputsOf(low, high, 0), 0, SCALE);
        vm.assertEq(decoded.regime == IVolatilityOracle.Regime.High, high > low);
        if (high > low) vm.assertGe(decoded.probabilityHigh, 0.5e18);
        else vm.assertLe(decoded.probabilityHigh, 0.5e18);
    }

    function testFuzz_decode_revertsOutOfRange(int256 value, uint256 index, bool below) public {
        index = _bound(index, 0, 2);
        int256 least = index < 2 ? -64 * ONE : -16 * ONE;
        int256 most = index < 2 ? 64 * ONE : 8 * ONE;
        value = below ? _boundInt(value, -int256(R / 2), least - 1) : _boundInt(value, most + 1, int256(R / 2));
        uint256[] memory outputs = new uint256[](3);
        outputs[index] = element(value);
        revertsOutOfRange(outputs, index, value);
    }

    /// @notice The bound that `Outputs.probability` states.
    function testFuzz_probability_isWithinItsBound(int256 margin, uint8 scale, bool small) public pure {
        scale = uint8(_bound(scale, 0, 27));
        int256 one = int256(1) << scale;
        margin = small ? _boundInt(margin, -2 * one, 2 * one) : _boundInt(margin, -128 * one, 128 * one);
        // The lesser side: the other follows from it, and 36 decimals of it are all significant.
        uint256 e = PreciseExp.exp(margin < 0 ? margin : -margin, scale);
        uint256 lesser = Math.mulDiv(e, 1e36, 1e36 + e);
        uint256 expected = margin < 0 ? lesser : 1e36 - lesser;
        vm.assertApproxEqAbs(Outputs.probability(margin, scale) * 1e18, expected, 3e18);
    }

    function testFuzz_probability_ofBothSidesIsOne(int256 margin) public pure {
        margin = _boundInt(margin, -128 * ONE, 128 * ONE);
        vm.assertEq(Outputs.probability(margin, SCALE) + Outputs.probability(-margin, SCALE), 1e18);
    }

    /// @notice The bound that `Outputs.exponential` states.
    function testFuzz_exponential_isWithinItsBound(int256 value, uint8 scale) public pure {
        scale = uint8(_bound(scale, 0, 27));
        value = _boundInt(value, -16 * (int256(1) << scale), 8 * (int256(1) << scale));
        uint256 expected = PreciseExp.exp(value, scale);
        vm.assertApproxEqAbs(Outputs.exponential(value, scale) * 1e18, expected, 1e18 + expected * 6 / 1e19);
    }

    /// @notice A thousand random outputs against exact decimals from Python.
    function test_decode_agreesWithPython() public view {
        string memory cases = vm.readFile("test/fixture/decoded.json");
        int256[] memory low = vm.parseJsonIntArray(cases, ".logitLow");
        int256[] memory high = vm.parseJsonIntArray(cases, ".logitHigh");
        int256[] memory ln = vm.parseJsonIntArray(cases, ".lnVolatility");
        uint256[] memory probability = vm.parseJsonUintArray(cases, ".probabilityHigh");
        uint256[] memory volatility = vm.parseJsonUintArray(cases, ".volatility");
        vm.assertEq(low.length, 1000);
        for (uint256 i = 0; i < low.length; ++i) {
            Outputs.Decoded memory decoded = caller.decode(outputsOf(low[i], high[i], ln[i]), 0, SCALE);
            vm.assertApproxEqAbs(decoded.probabilityHigh, probability[i], 3);
            vm.assertApproxEqAbs(decoded.volatility, volatility[i], 2 + volatility[i] * 6 / 1e19);
        }
    }

    function revertsOutOfRange(uint256[] memory outputs, uint256 index, int256 value) private {
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.OutputOutOfRange.selector, index, value));
        caller.decode(outputs, 0, SCALE);
    }

    function outputsOf(int256 low, int256 high, int256 ln) private pure returns (uint256[] memory outputs) {
        outputs = new uint256[](3);
        (outputs[0], outputs[1], outputs[2]) = (element(low), element(high), element(ln));
    }

    function element(int256 value) private pure returns (uint256) {
        return value < 0 ? R - uint256(-value) : uint256(value);
    }
}
