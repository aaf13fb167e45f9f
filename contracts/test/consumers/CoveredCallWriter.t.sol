// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {CoveredCallWriter} from "../../src/consumers/CoveredCallWriter.sol";
import {FreshPrice} from "../../src/consumers/FreshPrice.sol";
import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {IVolatilityOracle} from "../../src/interfaces/IVolatilityOracle.sol";
import {ConsumerTest} from "./ConsumerTest.sol";

contract CoveredCallWriterTest is ConsumerTest {
    address internal constant WRITER = address(0x3817E5);
    uint256 internal constant SLACK = 0.005e18;

    CoveredCallWriter internal calls;

    function setUp() public override {
        super.setUp();
        calls = new CoveredCallWriter(theOracle(), FEED, MAX_AGE, prices, PRICE_MAX_AGE, SLACK, weth, usdc, WRITER);
        weth.mint(address(calls), 10 * WETH);
        usdc.mint(ALICE, 100_000 * USDC);
        vm.prank(ALICE);
        usdc.approve(address(calls), NEVER);
    }

    function test_constructor_revertsWhenTokensAreTheSame() public {
        vm.expectRevert(CoveredCallWriter.IdenticalTokens.selector);
        new CoveredCallWriter(theOracle(), FEED, MAX_AGE, prices, PRICE_MAX_AGE, SLACK, usdc, usdc, WRITER);
    }

    function test_premiumRate_isTheFormulaWithItsLoading() public view {
        // 1.1 · 0.36 · sqrt(4.5 h / 365 d) / sqrt(2 pi), by a calculator with 30 digits
        vm.assertApproxEqAbs(calls.premiumRate(0.36e18), 3580630078375469, 3);
    }

    /// @dev The exact values are erf(s / sqrt 8), s = volatility · sqrt(4.5 h / 365 d), computed with 40 digits.
    function test_premiumRate_isAtMostItsBoundAboveBlackScholes() public view {
        liesAbove(0.1e18, 904_199321205462, 5_136986301371);
        liesAbove(0.36e18, 3_255109223482299, 66_575342465754);
        liesAbove(1.5e18, 13_562339565918615, 1_155_821917808220);
        liesAbove(10e18, 90_226787871444759, 51_369_863013698631);
        liesAbove(44e18, 381_958704047472196, 994_520_547945205480);
    }

    function test_premiumRate_isNeverAboveOne() public view {
        vm.assertEq(calls.premiumRate(2_981e18), 1e18);
    }

    function testFuzz_premiumRate_neverFallsWithVolatility(uint256 lower, uint256 higher) public view {
        higher = _bound(higher, 0, 3_000e18);
        lower = _bound(lower, 0, higher);
        vm.assertLe(calls.premiumRate(lower), calls.premiumRate(higher));
    }

    function test_quote_isForTheUnderlyingsWorth() public view {
        (uint256 premium, uint256 payment) = calls.quote(5 * WETH);
        vm.assertEq(premium, (10_000 * USDC * calls.premiumRate(0.36e18) + 1e18 - 1) / 1e18);
        vm.assertEq(payment, 10_050 * USDC);
    }

    function test_quote_isNeverFree() public view {
        (uint256 premium, uint256 payment) = calls.quote(1);
        vm.assertEq(premium, 1);
        vm.assertEq(payment, 2);
    }

    function test_quote_revertsWhenForecastIsStale() public {
        vm.expectRevert(letForecastGrowStale());
        calls.quote(WETH);
    }

    function test_buy_locksTheUnderlyingAndTakesThePremium() public {
        (uint256 premium, uint256 payment) = calls.quote(5 * WETH);
        vm.assertEq(buy(5 * WETH), 1);
        vm.assertEq(calls.locked(), 5 * WETH);
        vm.assertEq(calls.free(), 5 * WETH);
        vm.assertEq(usdc.balanceOf(address(calls)), premium);
        (address holder, uint64 exercisableFrom, uint256 amount, uint256 owed) = calls.options(1);
        vm.assertEq(holder, ALICE);
        vm.assertEq(exercisableFrom, block.timestamp + 4 hours);
        vm.assertEq(amount, 5 * WETH);
        vm.assertEq(owed, payment);
    }

    function test_buy_revertsWhenForecastIsStale() public {
        vm.expectRevert(letForecastGrowStale());
        buy(WETH);
    }

    function test_buy_revertsWhenModelIsFrozen() public {
        oracle.freeze();
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, oracle.MODEL()));
        buy(WETH);
    }

    function test_buy_revertsWhenPriceIsStale() public {
        uint256 updatedAt = block.timestamp;
        vm.warp(updatedAt + PRICE_MAX_AGE + 1);
        forecast(IVolatilityOracle.Regime.Low, 0.36e18);
        vm.expectRevert(abi.encodeWithSelector(FreshPrice.StalePrice.selector, updatedAt, PRICE_MAX_AGE));
        buy(WETH);
    }

    function test_buy_takesAllThatIsFree() public {
        buy(10 * WETH);
        vm.assertEq(calls.free(), 0);
    }

    function test_buy_revertsBeyondWhatIsFree() public {
        buy(6 * WETH);
        vm.expectRevert(abi.encodeWithSelector(CoveredCallWriter.NotCovered.selector, 4 * WETH + 1, 4 * WETH));
        buy(4 * WETH + 1);
    }

    function test_buy_revertsAboveEitherLimit() public {
        (uint256 premium, uint256 payment) = calls.quote(WETH);
        vm.startPrank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(CoveredCallWriter.TooExpensive.selector, premium, payment));
        calls.buy(WETH, premium - 1, payment, block.timestamp);
        vm.expectRevert(abi.encodeWithSelector(CoveredCallWriter.TooExpensive.selector, premium, payment));
        calls.buy(WETH, premium, payment - 1, block.timestamp);
        vm.stopPrank();
    }

    function test_buy_revertsAfterTheDeadline() public {
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(CoveredCallWriter.DeadlinePassed.selector, block.timestamp - 1));
        calls.buy(WETH, NEVER, NEVER, block.timestamp - 1);
    }

    function test_exercise_worksWhenForecastAndPriceAreStale() public {
        uint256 id = buy(5 * WETH);
        uint256 before = usdc.balanceOf(ALICE);
        vm.warp(block.timestamp + 4 hours);
        vm.prank(ALICE);
        calls.exercise(id);
        vm.assertEq(weth.balanceOf(ALICE), 5 * WETH);
        vm.assertEq(before - usdc.balanceOf(ALICE), 10_050 * USDC);
        vm.assertEq(calls.locked(), 0);
    }

    function test_exercise_worksToTheEndOfTheWindow() public {
        uint256 id = buy(WETH);
        vm.warp(block.timestamp + 4.5 hours);
        vm.prank(ALICE);
        calls.exercise(id);
        vm.assertEq(weth.balanceOf(ALICE), WETH);
    }

    function test_exercise_revertsOutsideTheWindow() public {
        uint256 id = buy(WETH);
        uint256 from = block.timestamp + 4 hours;
        bytes memory reason = abi.encodeWithSelector(CoveredCallWriter.NotExercisable.selector, from, from + 30 minutes);
        vm.startPrank(ALICE);
        vm.warp(from - 1);
        vm.expectRevert(reason);
        calls.exercise(id);
        vm.warp(from + 30 minutes + 1);
        vm.expectRevert(reason);
        calls.exercise(id);
        vm.stopPrank();
    }

    function test_exercise_revertsForOthers() public {
        uint256 id = buy(WETH);
        vm.warp(block.timestamp + 4 hours);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(CoveredCallWriter.OnlyHolder.selector, id));
        calls.exercise(id);
    }

    function test_exercise_revertsTheSecondTime() public {
        uint256 id = buy(WETH);
        vm.warp(block.timestamp + 4 hours);
        vm.startPrank(ALICE);
        calls.exercise(id);
        vm.expectRevert(abi.encodeWithSelector(CoveredCallWriter.OnlyHolder.selector, id));
        calls.exercise(id);
        vm.stopPrank();
    }

    function test_calls_cannotBeReentered() public {
        uint256 id = buy(WETH);
        vm.warp(block.timestamp + 4 hours);
        bytes[] memory entries = new bytes[](3);
        entries[0] = abi.encodeCall(calls.exercise, (id));
        entries[1] = abi.encodeCall(calls.buy, (0, NEVER, NEVER, NEVER));
        entries[2] = abi.encodeCall(calls.withdraw, (usdc, 0));
        for (uint256 i = 0; i < entries.length; ++i) {
            usdc.arm(address(calls), entries[i]);
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            vm.prank(ALICE);
            calls.exercise(id);
        }
    }

    function test_lapse_setsTheUnderlyingFree() public {
        uint256 id = buy(5 * WETH);
        vm.warp(block.timestamp + 4.5 hours + 1);
        vm.prank(BOB);
        calls.lapse(id);
        vm.assertEq(calls.free(), 10 * WETH);
    }

    function test_lapse_revertsToTheEndOfTheWindow() public {
        uint256 id = buy(WETH);
        vm.warp(block.timestamp + 4.5 hours);
        vm.expectRevert(abi.encodeWithSelector(CoveredCallWriter.StillOpen.selector, id));
        calls.lapse(id);
    }

    function test_lapse_revertsForNoOption() public {
        vm.expectRevert(abi.encodeWithSelector(CoveredCallWriter.OnlyHolder.selector, 1));
        calls.lapse(1);
    }

    function test_withdraw_givesTheWriterPremiumsAndWhatIsFree() public {
        buy(4 * WETH);
        uint256 premium = usdc.balanceOf(address(calls));
        vm.startPrank(WRITER);
        calls.withdraw(weth, 6 * WETH);
        calls.withdraw(usdc, premium);
        vm.stopPrank();
        vm.assertEq(weth.balanceOf(WRITER), 6 * WETH);
        vm.assertEq(usdc.balanceOf(WRITER), premium);
    }

    function test_withdraw_revertsForWhatIsLocked() public {
        buy(4 * WETH);
        vm.prank(WRITER);
        vm.expectRevert(abi.encodeWithSelector(CoveredCallWriter.NotCovered.selector, 6 * WETH + 1, 6 * WETH));
        calls.withdraw(weth, 6 * WETH + 1);
    }

    function test_withdraw_revertsForOthers() public {
        vm.prank(ALICE);
        vm.expectRevert(CoveredCallWriter.OnlyWriter.selector);
        calls.withdraw(usdc, 0);
    }

    function liesAbove(uint256 volatility, uint256 exact, uint256 square) internal view {
        uint256 formula = calls.premiumRate(volatility) * 1e18 / (1e18 + calls.LOADING());
        vm.assertGe(formula + 3, exact); // three roundings down
        vm.assertLe(formula - formula * square / 24e18, exact + 1);
    }

    function buy(uint256 amount) internal returns (uint256) {
        vm.prank(ALICE);
        return calls.buy(amount, NEVER, NEVER, block.timestamp);
    }
}
