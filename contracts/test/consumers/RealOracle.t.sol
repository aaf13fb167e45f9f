// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {VolatilityFeed} from "../../src/VolatilityFeed.sol";
import {CoveredCallWriter} from "../../src/consumers/CoveredCallWriter.sol";
import {LendingMarket} from "../../src/consumers/LendingMarket.sol";
import {VolatilityFeeAmm} from "../../src/consumers/VolatilityFeeAmm.sol";
import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {IVolatilityOracle} from "../../src/interfaces/IVolatilityOracle.sol";
import {AnyProofTest} from "../OracleTest.sol";
import {ChainlinkReader} from "./ChainlinkReader.sol";
import {PriceFeedDouble} from "./PriceFeedDouble.sol";
import {TokenDouble} from "./TokenDouble.sol";

/// @notice The adapter and the examples on the oracle itself, with updates that were signed and submitted.
contract RealOracleTest is AnyProofTest {
    uint256 internal constant E_TO_MINUS_1 = 0.367879441171442322e18;

    PriceFeedDouble internal prices = new PriceFeedDouble(8);
    TokenDouble internal weth = new TokenDouble("WETH", 18);
    TokenDouble internal usdc = new TokenDouble("USDC", 6);
    VolatilityFeed internal feed;
    ChainlinkReader internal reader;
    LendingMarket internal market;
    VolatilityFeeAmm internal pool;
    CoveredCallWriter internal calls;

    function setUp() public override {
        super.setUp();
        feed = new VolatilityFeed(oracle, FEED, "BTC/USDT volatility, 4 h", MAX_AGE);
        reader = new ChainlinkReader(feed, 1 hours);
        market = new LendingMarket(oracle, FEED, MAX_AGE, prices, 1 days, weth, usdc, address(this));
        pool = new VolatilityFeeAmm(oracle, FEED, MAX_AGE, weth, usdc);
        calls = new CoveredCallWriter(oracle, FEED, MAX_AGE, prices, 1 days, 0, weth, usdc, address(this));
        prices.set(2_000e8, block.timestamp);
        weth.mint(address(this), 1_000e18);
        usdc.mint(address(this), 1_000_000e6);
        weth.transfer(address(calls), 10e18);
        approve(address(market));
        approve(address(pool));
        approve(address(calls));
        market.lend(100_000e6);
        market.deposit(10e18);
        pool.addLiquidity(100e18, 200_000e6, 0, block.timestamp);
    }

    function test_consumers_readASubmittedForecast() public {
        publish(ONE);
        vm.assertEq(market.debtLimit(address(this)), 13_000e6);
        vm.assertApproxEqAbs(pool.fee(), pool.feeAt(E_TO_MINUS_1), 2);
        (uint256 premium,) = calls.quote(1e18);
        vm.assertEq(premium, (2_000e6 * calls.premiumRate(E_TO_MINUS_1) + 1e18 - 1) / 1e18);
        vm.assertEq(reader.latest(), 0.36787944e18);
    }

    function test_consumers_followTheNextForecast() public {
        publish(ONE);
        vm.warp(block.timestamp + 5 minutes);
        publish(-ONE);
        vm.assertEq(market.debtLimit(address(this)), 16_000e6);
        (uint80 roundId, int256 answer,, uint256 updatedAt,) = feed.latestRoundData();
        vm.assertEq(roundId, 2);
        vm.assertEq(answer, 36_787_944);
        vm.assertEq(updatedAt, block.timestamp);
        vm.assertEq(reader.mean(2), 0.36787944e18);
    }

    function test_consumers_refuseAStaleForecast() public {
        publish(ONE);
        bytes memory reason =
            abi.encodeWithSelector(IVolatilityOracle.StaleForecast.selector, FEED, block.timestamp, MAX_AGE);
        vm.warp(block.timestamp + MAX_AGE + 1);
        refuse(reason);
    }

    function test_consumers_refuseAFrozenModel() public {
        publish(ONE);
        registry.freeze(MODEL);
        refuse(abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, MODEL));
    }

    function test_consumers_readAgainOnceAnotherModelPublished() public {
        publish(ONE);
        registry.freeze(MODEL);
        activate("another model", modelWith(verifier, address(0), 0), only(FEED));
        prices.set(2_000e8, block.timestamp);
        IVolatilityOracle.Update memory update = updateFor(FEED, uint64(block.timestamp));
        update.modelId = "another model";
        sign(update, 1);
        oracle.submit(update);
        market.borrow(1);
        vm.assertEq(oracle.getRound(FEED, 1).modelId, MODEL);
    }

    function test_consumers_refuseAnEmptyFeed() public {
        refuse(abi.encodeWithSelector(IVolatilityOracle.NoForecast.selector, FEED));
    }

    function test_consumers_letEverybodyLeaveWithoutForecasts() public {
        publish(-ONE);
        market.borrow(16_000e6);
        uint256 id = calls.buy(1e18, type(uint256).max, type(uint256).max, block.timestamp);
        registry.freeze(MODEL);
        vm.warp(block.timestamp + 4 hours);
        calls.exercise(id);
        market.repay(address(this), 16_000e6);
        market.withdraw(10e18);
        pool.removeLiquidity(pool.balanceOf(address(this)), 0, 0, block.timestamp);
        calls.withdraw(weth, 9e18);
    }

    function test_getRoundData_reachesAsFarAsTheOracleKeeps() public {
        uint256 rounds = oracle.HISTORY() + 1;
        for (uint256 i = 0; i < rounds; ++i) {
            vm.warp(block.timestamp + 1);
            publish(ONE);
        }
        (uint80 roundId,,,,) = feed.getRoundData(2);
        vm.assertEq(roundId, 2);
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.RoundNotKept.selector, FEED, 1));
        feed.getRoundData(1);
    }

    /// @dev What docs/consumers.md says of reorgs: a round number is not the name of a window.
    function test_getRound_mayBeAnotherWindowAfterAReorg() public {
        uint256 first = block.timestamp;
        uint256 before = vm.snapshotState();
        publish(ONE);
        vm.assertEq(oracle.getRound(FEED, 1).windowEnd, first);
        vm.revertToState(before);
        vm.warp(first + 60);
        publish(ONE);
        vm.assertEq(oracle.getRound(FEED, 1).windowEnd, first + 60);
    }

    function test_latestRoundData_answersWhileTheWindowEndsAheadOfTheClock() public {
        uint64 windowEnd = uint64(block.timestamp + MAX_SKEW);
        oracle.submit(updateFor(FEED, windowEnd));
        (,,, uint256 updatedAt,) = feed.latestRoundData();
        vm.assertEq(updatedAt, block.timestamp);
        reader.latest();
    }

    function test_latestRoundData_revertsWhenForecastIsStale() public {
        publish(ONE);
        uint256 windowEnd = block.timestamp;
        vm.warp(windowEnd + MAX_AGE);
        feed.latestRoundData();
        vm.warp(windowEnd + MAX_AGE + 1);
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.StaleForecast.selector, FEED, windowEnd, MAX_AGE));
        feed.latestRoundData();
    }

    /// @dev A window that ends now, with e^-1 as volatility; high if the logits' difference is positive.
    function publish(int256 difference) internal {
        IVolatilityOracle.Update memory update = updateFor(FEED, uint64(block.timestamp));
        update.outputs = outputsOf(0, difference, -ONE, 1);
        oracle.submit(update);
    }

    function refuse(bytes memory reason) internal {
        vm.expectRevert(reason);
        market.borrow(1);
        vm.expectRevert(reason);
        pool.swap(weth, 1e18, 0, block.timestamp);
        vm.expectRevert(reason);
        calls.buy(1e18, type(uint256).max, type(uint256).max, block.timestamp);
        vm.expectRevert(reason);
        reader.latest();
    }

    function approve(address spender) internal {
        weth.approve(spender, type(uint256).max);
        usdc.approve(spender, type(uint256).max);
    }
}
