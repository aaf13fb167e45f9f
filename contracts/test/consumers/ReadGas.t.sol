// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {VolatilityFeed} from "../../src/VolatilityFeed.sol";
import {AnyProofTest} from "../OracleTest.sol";

interface VmContext {
    enum ForgeContext {
        TestGroup,
        Test,
        Coverage
    }

    function isContext(ForgeContext context) external view returns (bool);
}

/// @notice What the first read in a transaction costs the reader, the call included: setUp is another transaction, so
/// every address and slot is cold. docs/consumers.md states these bounds.
contract ReadGasTest is AnyProofTest {
    VolatilityFeed internal feed;

    /// @dev Coverage is measured on code that is not optimised.
    function setUp() public override {
        vm.skip(VmContext(address(vm)).isContext(VmContext.ForgeContext.Coverage));
        super.setUp();
        feed = new VolatilityFeed(oracle, FEED, "BTC/USDT volatility, 4 h", MAX_AGE);
        oracle.submit(updateFor(FEED, uint64(block.timestamp)));
    }

    function test_gas_ofForecastNoOlderThan() public {
        costsAtMost(18_000, address(oracle), abi.encodeCall(oracle.forecastNoOlderThan, (FEED, MAX_AGE)));
    }

    function test_gas_ofLatestForecast() public {
        costsAtMost(18_000, address(oracle), abi.encodeCall(oracle.latestForecast, (FEED)));
    }

    function test_gas_ofForecastUnsafe() public {
        costsAtMost(15_000, address(oracle), abi.encodeCall(oracle.forecastUnsafe, (FEED)));
    }

    function test_gas_ofGetRound() public {
        costsAtMost(15_000, address(oracle), abi.encodeCall(oracle.getRound, (FEED, 1)));
    }

    function test_gas_ofLatestRoundData() public {
        costsAtMost(22_000, address(feed), abi.encodeCall(feed.latestRoundData, ()));
    }

    function test_gas_ofGetRoundData() public {
        costsAtMost(19_000, address(feed), abi.encodeCall(feed.getRoundData, (1)));
    }

    function costsAtMost(uint256 bound, address target, bytes memory read) internal {
        uint256 before = gasleft();
        (bool success,) = target.call(read);
        uint256 used = before - gasleft();
        vm.assertTrue(success);
        vm.assertLe(used, bound);
    }
}
