// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {VolatilityFeeAmm} from "../../src/consumers/VolatilityFeeAmm.sol";
import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {IVolatilityOracle} from "../../src/interfaces/IVolatilityOracle.sol";
import {ConsumerTest} from "./ConsumerTest.sol";

contract VolatilityFeeAmmTest is ConsumerTest {
    VolatilityFeeAmm internal pool;

    function setUp() public override {
        super.setUp();
        pool = new VolatilityFeeAmm(theOracle(), FEED, MAX_AGE, weth, usdc);
        endow(ALICE);
        endow(BOB);
    }

    function test_constructor_revertsWhenTokensAreTheSame() public {
        vm.expectRevert(VolatilityFeeAmm.IdenticalTokens.selector);
        new VolatilityFeeAmm(theOracle(), FEED, MAX_AGE, weth, weth);
    }

    function test_fee_isTheFloorUpToCalm() public view {
        vm.assertEq(pool.feeAt(0), 0.0005e18);
        vm.assertEq(pool.feeAt(0.2e18), 0.0005e18);
    }

    function test_fee_isTheCapFromWildOn() public view {
        vm.assertEq(pool.feeAt(1.2e18), 0.01e18);
        vm.assertEq(pool.feeAt(NEVER), 0.01e18);
    }

    function test_fee_isLinearInBetween() public {
        forecast(IVolatilityOracle.Regime.High, 0.7e18);
        vm.assertEq(pool.fee(), 0.00525e18);
    }

    function test_fee_revertsWhenForecastIsStale() public {
        vm.expectRevert(letForecastGrowStale());
        pool.fee();
    }

    function testFuzz_fee_neverFallsWithVolatility(uint256 lower, uint256 higher) public view {
        higher = _bound(higher, 0, 3_000e18);
        lower = _bound(lower, 0, higher);
        vm.assertLe(pool.feeAt(lower), pool.feeAt(higher));
    }

    function test_addLiquidity_locksTheMinimumOfTheFirst() public {
        uint256 shares = addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        vm.assertEq(shares, 4_472_135_954_999_579 - 1000); // root of 1e20 · 2e11
        vm.assertEq(pool.balanceOf(address(0xdEaD)), 1000);
    }

    function test_addLiquidity_takesThePoolsProportion() public {
        addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        addLiquidity(BOB, 10 * WETH, 200_000 * USDC);
        vm.assertApproxEqAbs(weth.balanceOf(BOB), 990 * WETH, 22_361); // a share's worth
        vm.assertEq(usdc.balanceOf(BOB), 1_980_000 * USDC);
    }

    function test_addLiquidity_revertsBelowTheSharesAskedFor() public {
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(VolatilityFeeAmm.TooFewShares.selector, 9_000, 9_001));
        pool.addLiquidity(10_000, 10_000, 9_001, block.timestamp);
    }

    function test_addLiquidity_revertsWithoutAShare() public {
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(VolatilityFeeAmm.TooFewShares.selector, 0, 0));
        pool.addLiquidity(1_000, 1_000, 0, block.timestamp);
    }

    function test_addLiquidity_revertsAfterTheDeadline() public {
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(VolatilityFeeAmm.DeadlinePassed.selector, block.timestamp - 1));
        pool.addLiquidity(WETH, USDC, 0, block.timestamp - 1);
    }

    function test_addLiquidity_worksWhenForecastIsStale() public {
        letForecastGrowStale();
        addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
    }

    function test_addLiquidity_isNotInflatedByTokensSentBefore() public {
        addLiquidity(ALICE, 2_000, 2_000);
        vm.startPrank(ALICE);
        weth.transfer(address(pool), 900 * WETH);
        usdc.transfer(address(pool), 1_900_000 * USDC);
        vm.stopPrank();
        uint256 shares = addLiquidity(BOB, 1e9, 1e9);
        vm.prank(BOB);
        (uint256 amount0, uint256 amount1) = pool.removeLiquidity(shares, 0, 0, block.timestamp);
        vm.assertEq(amount0, 1e9);
        vm.assertEq(amount1, 1e9);
    }

    function test_removeLiquidity_worksWhenForecastIsStaleAndModelFrozen() public {
        uint256 shares = addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        letForecastGrowStale();
        oracle.freeze();
        vm.prank(ALICE);
        (uint256 amount0, uint256 amount1) = pool.removeLiquidity(shares, 0, 0, block.timestamp);
        vm.assertApproxEqAbs(amount0, 100 * WETH, 1e8);
        vm.assertApproxEqAbs(amount1, 200_000 * USDC, 1);
        vm.assertEq(pool.totalSupply(), 1000);
    }

    function test_removeLiquidity_revertsBelowTheAmountsAskedFor() public {
        uint256 shares = addLiquidity(ALICE, 11_000, 11_000);
        vm.startPrank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(VolatilityFeeAmm.TooLittleOut.selector, 10_000, 10_001));
        pool.removeLiquidity(shares, 10_001, 0, block.timestamp);
        vm.expectRevert(abi.encodeWithSelector(VolatilityFeeAmm.TooLittleOut.selector, 10_000, 10_001));
        pool.removeLiquidity(shares, 0, 10_001, block.timestamp);
        vm.stopPrank();
    }

    function test_swap_takesTheFeeOfTheForecast() public {
        addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        forecast(IVolatilityOracle.Regime.High, 2e18);
        vm.assertEq(swap(weth, WETH), 200_000e6 * uint256(0.99e18) / 100.99e18);
        vm.assertEq(pool.reserve0(), 101 * WETH);
        vm.assertEq(pool.reserve1(), usdc.balanceOf(address(pool)));
    }

    function test_swap_goesBothWays() public {
        addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        forecast(IVolatilityOracle.Regime.Low, 0.1e18);
        vm.assertEq(swap(usdc, 2_000 * USDC), 100e18 * uint256(1_999e6) / 201_999e6);
        vm.assertEq(pool.reserve0(), weth.balanceOf(address(pool)));
        vm.assertEq(pool.reserve1(), 202_000 * USDC);
    }

    function test_swap_revertsWhenForecastIsStale() public {
        addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        vm.expectRevert(letForecastGrowStale());
        swap(weth, WETH);
    }

    function test_swap_revertsWhenModelIsFrozen() public {
        addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        oracle.freeze();
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, oracle.MODEL()));
        swap(weth, WETH);
    }

    function test_swap_revertsBelowTheAmountAskedFor() public {
        addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        uint256 amount = pool.quote(weth, WETH);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(VolatilityFeeAmm.TooLittleOut.selector, amount, amount + 1));
        pool.swap(weth, WETH, amount + 1, block.timestamp);
    }

    function test_swap_revertsAfterTheDeadline() public {
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(VolatilityFeeAmm.DeadlinePassed.selector, block.timestamp - 1));
        pool.swap(weth, WETH, 0, block.timestamp - 1);
    }

    function test_swap_revertsForAnotherToken() public {
        addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        IERC20 other = IERC20(address(pool));
        vm.expectRevert(abi.encodeWithSelector(VolatilityFeeAmm.UnknownToken.selector, other));
        swap(other, 1);
    }

    function test_swap_revertsWithoutLiquidity() public {
        vm.expectRevert(VolatilityFeeAmm.NoLiquidity.selector);
        swap(weth, WETH);
    }

    function test_swap_roundsTheFeeUp() public {
        addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        vm.assertEq(pool.quote(usdc, 1), 0);
        vm.assertGt(pool.quote(usdc, 2), 0);
    }

    function test_pool_cannotBeReentered() public {
        addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        bytes[] memory entries = new bytes[](3);
        entries[0] = abi.encodeCall(pool.addLiquidity, (0, 0, 0, block.timestamp));
        entries[1] = abi.encodeCall(pool.removeLiquidity, (0, 0, 0, block.timestamp));
        entries[2] = abi.encodeCall(pool.swap, (weth, 0, 0, block.timestamp));
        for (uint256 i = 0; i < entries.length; ++i) {
            weth.arm(address(pool), entries[i]);
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            swap(weth, WETH);
        }
    }

    function testFuzz_swap_thereAndBackGainsNothing(uint256 amountIn, uint256 volatility) public {
        addLiquidity(ALICE, 100 * WETH, 200_000 * USDC);
        forecast(IVolatilityOracle.Regime.High, _bound(volatility, 0, 3_000e18));
        amountIn = _bound(amountIn, 0, 1_000 * WETH);
        vm.assertLe(swap(usdc, swap(weth, amountIn)), amountIn);
    }

    function endow(address account) internal {
        weth.mint(account, 1_000 * WETH);
        usdc.mint(account, 2_000_000 * USDC);
        vm.startPrank(account);
        weth.approve(address(pool), NEVER);
        usdc.approve(address(pool), NEVER);
        vm.stopPrank();
    }

    function addLiquidity(address account, uint256 max0, uint256 max1) internal returns (uint256 shares) {
        vm.prank(account);
        (,, shares) = pool.addLiquidity(max0, max1, 0, block.timestamp);
    }

    function swap(IERC20 tokenIn, uint256 amountIn) internal returns (uint256) {
        vm.prank(BOB);
        return pool.swap(tokenIn, amountIn, 0, block.timestamp);
    }
}
