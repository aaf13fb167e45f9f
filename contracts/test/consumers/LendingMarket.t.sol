// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {LendingMarket} from "../../src/consumers/LendingMarket.sol";
import {FreshPrice} from "../../src/consumers/FreshPrice.sol";
import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {IVolatilityOracle} from "../../src/interfaces/IVolatilityOracle.sol";
import {ConsumerTest} from "./ConsumerTest.sol";

contract LendingMarketTest is ConsumerTest {
    LendingMarket internal market;
    address internal constant LENDER = address(0x1E4DE5);

    function setUp() public override {
        super.setUp();
        market = new LendingMarket(theOracle(), FEED, MAX_AGE, prices, PRICE_MAX_AGE, weth, usdc, LENDER);
        weth.mint(ALICE, 10 * WETH);
        usdc.mint(LENDER, 1_000_000 * USDC);
        usdc.mint(BOB, 1_000_000 * USDC);
        approve(LENDER);
        approve(ALICE);
        approve(BOB);
        vm.prank(LENDER);
        market.lend(1_000_000 * USDC);
        vm.prank(ALICE);
        market.deposit(10 * WETH); // worth 20,000
    }

    function test_constructor_revertsWhenTokensAreTheSame() public {
        vm.expectRevert(LendingMarket.IdenticalTokens.selector);
        new LendingMarket(theOracle(), FEED, MAX_AGE, prices, PRICE_MAX_AGE, usdc, usdc, LENDER);
    }

    function test_lend_revertsForOthers() public {
        vm.prank(BOB);
        vm.expectRevert(LendingMarket.OnlyLender.selector);
        market.lend(1);
    }

    function test_reclaim_returnsWhatNobodyBorrows() public {
        borrow(16_000 * USDC);
        vm.prank(LENDER);
        market.reclaim(984_000 * USDC);
        vm.assertEq(usdc.balanceOf(LENDER), 984_000 * USDC);
    }

    function test_reclaim_revertsForOthers() public {
        vm.prank(BOB);
        vm.expectRevert(LendingMarket.OnlyLender.selector);
        market.reclaim(1);
    }

    function test_borrow_givesFourFifthsInTheLowRegime() public {
        borrow(16_000 * USDC);
        vm.assertEq(usdc.balanceOf(ALICE), 16_000 * USDC);
        vm.assertEq(debtOf(ALICE), 16_000 * USDC);
    }

    function test_borrow_revertsBeyondTheLtvOfTheLowRegime() public {
        vm.expectRevert(abi.encodeWithSelector(LendingMarket.BeyondLtv.selector, 16_000 * USDC + 1, 16_000 * USDC));
        borrow(16_000 * USDC + 1);
    }

    function test_borrow_revertsBeyondTheLtvOfTheHighRegime() public {
        forecast(IVolatilityOracle.Regime.High, 0.9e18);
        vm.expectRevert(abi.encodeWithSelector(LendingMarket.BeyondLtv.selector, 13_000 * USDC + 1, 13_000 * USDC));
        borrow(13_000 * USDC + 1);
    }

    function test_borrow_revertsWhenForecastIsStale() public {
        vm.expectRevert(letForecastGrowStale());
        borrow(1);
    }

    function test_borrow_revertsWhenModelIsFrozen() public {
        oracle.freeze();
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, oracle.MODEL()));
        borrow(1);
    }

    function test_borrow_revertsWhenPriceIsStale() public {
        uint256 updatedAt = block.timestamp;
        vm.warp(updatedAt + PRICE_MAX_AGE + 1);
        forecast(IVolatilityOracle.Regime.Low, 0.36e18);
        vm.expectRevert(abi.encodeWithSelector(FreshPrice.StalePrice.selector, updatedAt, PRICE_MAX_AGE));
        borrow(1);
    }

    function test_borrow_takesAPriceUntilItsMaxAge() public {
        vm.warp(block.timestamp + PRICE_MAX_AGE);
        forecast(IVolatilityOracle.Regime.Low, 0.36e18);
        borrow(16_000 * USDC);
    }

    function test_borrow_revertsWhenPriceIsNotPositive() public {
        setPrice(0);
        vm.expectRevert(abi.encodeWithSelector(FreshPrice.PriceNotPositive.selector, int256(0)));
        borrow(1);
    }

    function test_borrow_takesAPriceAheadOfTheClock() public {
        prices.set(2_000e8, block.timestamp + 5);
        borrow(16_000 * USDC);
    }

    function test_repay_worksWhenForecastAndPriceAreStale() public {
        borrow(16_000 * USDC);
        vm.warp(block.timestamp + 365 days);
        vm.prank(ALICE);
        market.repay(ALICE, 1_000 * USDC);
        vm.assertEq(debtOf(ALICE), 15_000 * USDC);
    }

    function test_repay_takesNoMoreThanTheDebt() public {
        borrow(16_000 * USDC);
        vm.prank(BOB);
        vm.assertEq(market.repay(ALICE, NEVER), 16_000 * USDC);
        vm.assertEq(usdc.balanceOf(BOB), 984_000 * USDC);
        vm.assertEq(debtOf(ALICE), 0);
    }

    function test_deposit_worksWhenForecastAndPriceAreStale() public {
        vm.warp(block.timestamp + 365 days);
        weth.mint(ALICE, WETH);
        vm.prank(ALICE);
        market.deposit(WETH);
        vm.assertEq(collateralOf(ALICE), 11 * WETH);
    }

    function test_withdraw_worksWithoutDebtWhenForecastAndPriceAreStale() public {
        vm.warp(block.timestamp + 365 days);
        vm.prank(ALICE);
        market.withdraw(10 * WETH);
        vm.assertEq(weth.balanceOf(ALICE), 10 * WETH);
    }

    function test_withdraw_revertsWithDebtWhenForecastIsStale() public {
        borrow(1);
        vm.expectRevert(letForecastGrowStale());
        vm.prank(ALICE);
        market.withdraw(1);
    }

    function test_withdraw_leavesWhatTheDebtNeeds() public {
        borrow(8_000 * USDC);
        vm.startPrank(ALICE);
        market.withdraw(5 * WETH);
        vm.expectRevert(abi.encodeWithSelector(LendingMarket.BeyondLtv.selector, 8_000 * USDC, 8_000 * USDC - 1));
        market.withdraw(1);
        vm.stopPrank();
    }

    function test_withdraw_revertsBeyondTheCollateral() public {
        vm.expectRevert(abi.encodeWithSelector(LendingMarket.NotEnoughCollateral.selector, 10 * WETH + 1, 10 * WETH));
        vm.prank(ALICE);
        market.withdraw(10 * WETH + 1);
    }

    function test_liquidate_revertsAfterAChangeOfRegimeAlone() public {
        borrow(16_000 * USDC);
        forecast(IVolatilityOracle.Regime.High, 3e18);
        vm.expectRevert(abi.encodeWithSelector(LendingMarket.Healthy.selector, 16_000 * USDC, 17_000 * USDC));
        vm.prank(BOB);
        market.liquidate(ALICE, 1);
    }

    function test_liquidate_paysTheBonusWhenForecastIsStale() public {
        borrow(16_000 * USDC);
        letForecastGrowStale();
        setPrice(1_800); // threshold: 15,300
        vm.prank(BOB);
        (uint256 repaid, uint256 seized) = market.liquidate(ALICE, 9_000 * USDC);
        vm.assertEq(repaid, 9_000 * USDC);
        vm.assertEq(seized, 5.25e18); // 9,450 / 1,800
        vm.assertEq(weth.balanceOf(BOB), 5.25e18);
        vm.assertEq(debtOf(ALICE), 7_000 * USDC);
        vm.assertEq(collateralOf(ALICE), 4.75e18);
    }

    function test_liquidate_revertsWhenPriceIsStale() public {
        uint256 updatedAt = block.timestamp;
        borrow(16_000 * USDC);
        vm.warp(updatedAt + PRICE_MAX_AGE + 1);
        vm.expectRevert(abi.encodeWithSelector(FreshPrice.StalePrice.selector, updatedAt, PRICE_MAX_AGE));
        vm.prank(BOB);
        market.liquidate(ALICE, 1);
    }

    function test_liquidate_takesAllOfTheCollateralIfItIsJustEnough() public {
        borrow(16_000 * USDC);
        setPrice(1_680);
        vm.prank(BOB);
        market.liquidate(ALICE, NEVER);
        vm.assertEq(weth.balanceOf(BOB), 10 * WETH);
        vm.assertEq(debtOf(ALICE), 0);
    }

    function test_liquidate_revertsWhenTheCollateralIsWorthLess() public {
        borrow(16_000 * USDC);
        setPrice(1_500);
        vm.expectRevert(abi.encodeWithSelector(LendingMarket.NotEnoughCollateral.selector, 11.2e18, 10 * WETH));
        vm.prank(BOB);
        market.liquidate(ALICE, NEVER);
    }

    function test_market_cannotBeReentered() public {
        bytes[] memory entries = new bytes[](7);
        entries[0] = abi.encodeCall(market.lend, (0));
        entries[1] = abi.encodeCall(market.reclaim, (0));
        entries[2] = abi.encodeCall(market.deposit, (0));
        entries[3] = abi.encodeCall(market.withdraw, (0));
        entries[4] = abi.encodeCall(market.borrow, (0));
        entries[5] = abi.encodeCall(market.repay, (ALICE, 0));
        entries[6] = abi.encodeCall(market.liquidate, (ALICE, 0));
        for (uint256 i = 0; i < entries.length; ++i) {
            weth.arm(address(market), entries[i]);
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            vm.prank(ALICE);
            market.withdraw(1);
        }
    }

    /// @dev Debt between 85 % and 95.2 % of the worth, which is that of ten whole tokens in the debt token's units.
    function testFuzz_liquidate_makesADebtJustAboveTheThresholdSafer(uint256 worth, uint256 amount) public {
        borrow(16_000 * USDC);
        worth = _bound(worth, 16_801 * USDC, 18_823 * USDC);
        prices.set(int256(worth * 10), block.timestamp);
        amount = _bound(amount, USDC, 16_000 * USDC);
        vm.prank(BOB);
        market.liquidate(ALICE, amount);
        uint256 worthAfter = collateralOf(ALICE) * worth / (10 * WETH) + 1; // rounded up
        vm.assertLe(debtOf(ALICE) * worth, 16_000 * USDC * worthAfter);
    }

    function testFuzz_liquidate_neverAfterBorrowingWithinTheLimit(uint256 collateral, uint256 price, bool high) public {
        collateral = _bound(collateral, 1e12, 1e27);
        prices.set(int256(_bound(price, 1e4, 1e14)), block.timestamp);
        forecast(high ? IVolatilityOracle.Regime.High : IVolatilityOracle.Regime.Low, 0.5e18);
        weth.mint(BOB, collateral);
        vm.startPrank(BOB);
        market.deposit(collateral);
        uint256 limit = market.debtLimit(BOB);
        usdc.mint(address(market), limit);
        market.borrow(limit);
        forecast(IVolatilityOracle.Regime.High, 5e18);
        uint256 threshold = market.worthOf(BOB) * 0.85e18 / 1e18;
        vm.expectRevert(abi.encodeWithSelector(LendingMarket.Healthy.selector, limit, threshold));
        market.liquidate(BOB, limit);
    }

    function approve(address account) internal {
        vm.startPrank(account);
        weth.approve(address(market), NEVER);
        usdc.approve(address(market), NEVER);
        vm.stopPrank();
    }

    function borrow(uint256 amount) internal {
        vm.prank(ALICE);
        market.borrow(amount);
    }

    function debtOf(address account) internal view returns (uint256 debt) {
        (, debt) = market.positions(account);
    }

    function collateralOf(address account) internal view returns (uint256 collateral) {
        (collateral,) = market.positions(account);
    }
}
