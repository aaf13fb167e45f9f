// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {VolatilityFeed} from "../src/VolatilityFeed.sol";
import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {IVolatilityOracle} from "../src/interfaces/IVolatilityOracle.sol";
import {ChainlinkReader} from "./consumers/ChainlinkReader.sol";
import {ConsumerTest} from "./consumers/ConsumerTest.sol";

contract VolatilityFeedTest is ConsumerTest {
    VolatilityFeed internal feed;

    function setUp() public override {
        super.setUp();
        feed = new VolatilityFeed(theOracle(), FEED, "ETH/USDT volatility, 4 h", MAX_AGE);
    }

    function test_constructor_pinsWhatIsRead() public view {
        vm.assertEq(address(feed.oracle()), address(oracle));
        vm.assertEq(feed.feedId(), FEED);
        vm.assertEq(feed.maxAge(), MAX_AGE);
        vm.assertEq(feed.description(), "ETH/USDT volatility, 4 h");
        vm.assertEq(feed.decimals(), 8);
        vm.assertEq(feed.version(), 1);
    }

    function test_latestRoundData_isTheNewestForecast() public {
        forecast(IVolatilityOracle.Regime.High, 0.72e18);
        (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredIn) =
            feed.latestRoundData();
        vm.assertEq(roundId, 2);
        vm.assertEq(answer, 72_000_000);
        vm.assertEq(startedAt, block.timestamp - 1 minutes);
        vm.assertEq(updatedAt, block.timestamp - 1 minutes);
        vm.assertEq(answeredIn, 2);
    }

    function test_latestRoundData_answersUntilMaxAge() public {
        vm.warp(block.timestamp - 1 minutes + MAX_AGE);
        (, int256 answer,,,) = feed.latestRoundData();
        vm.assertEq(answer, 36_000_000);
    }

    function test_latestRoundData_revertsWhenForecastIsStale() public {
        vm.expectRevert(letForecastGrowStale());
        feed.latestRoundData();
    }

    function test_latestRoundData_revertsWhenModelIsFrozen() public {
        oracle.freeze();
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, oracle.MODEL()));
        feed.latestRoundData();
    }

    function test_latestRoundData_revertsWhenNothingWasPublished() public {
        feed = new VolatilityFeed(theOracle(), "another feed", "", MAX_AGE);
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.NoForecast.selector, bytes32("another feed")));
        feed.latestRoundData();
    }

    function test_getRoundData_answersOldRoundsOfFrozenModels() public {
        letForecastGrowStale();
        oracle.freeze();
        (uint80 roundId, int256 answer,, uint256 updatedAt,) = feed.getRoundData(1);
        vm.assertEq(roundId, 1);
        vm.assertEq(answer, 36_000_000);
        vm.assertEq(updatedAt, 1_800_000_000 - 1 minutes);
    }

    function test_getRoundData_revertsWhenRoundIsNotKept() public {
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.RoundNotKept.selector, FEED, 2));
        feed.getRoundData(2);
    }

    function testFuzz_getRoundData_revertsBeyond64Bits(uint80 roundId) public {
        roundId = uint80(_bound(roundId, uint256(type(uint64).max) + 1, type(uint80).max));
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.RoundNotKept.selector, FEED, type(uint64).max));
        feed.getRoundData(roundId);
    }

    function test_answer_isRoundedToNearest() public {
        vm.assertEq(answerOf(0.360000005e18 - 1), 36_000_000);
        vm.assertEq(answerOf(0.360000005e18), 36_000_001);
    }

    function test_answer_isPositiveAtBothEndsOfTheRange() public {
        vm.assertEq(answerOf(112535174719), 11); // e^-16
        vm.assertEq(answerOf(2_980_957987041728274743), 298_095_798_704); // e^8
    }

    function testFuzz_answer_isWithinHalfAUnit(uint80 volatility) public {
        vm.assertApproxEqAbs(uint256(answerOf(volatility)) * 1e10, volatility, 0.5e10);
    }

    function test_chainlinkReader_readsLatestAndHistory() public {
        ChainlinkReader reader = new ChainlinkReader(feed, 1 hours);
        forecast(IVolatilityOracle.Regime.High, 0.72e18);
        vm.assertEq(reader.latest(), 0.72e18);
        vm.assertEq(reader.mean(2), 0.54e18);
    }

    function test_updatedAt_isNeverAheadOfTheClock() public {
        ChainlinkReader reader = new ChainlinkReader(feed, 1 hours);
        uint256 published = block.timestamp;
        oracle.publish(FEED, uint64(published + 5), IVolatilityOracle.Regime.Low, 0.36e18);
        (,, uint256 startedAt, uint256 updatedAt,) = feed.latestRoundData();
        vm.assertEq(updatedAt, published);
        vm.assertEq(startedAt, published);
        vm.assertEq(reader.latest(), 0.36e18);
    }

    function answerOf(uint256 volatility) private returns (int256 answer) {
        forecast(IVolatilityOracle.Regime.Low, volatility);
        (, answer,,,) = feed.latestRoundData();
    }
}
