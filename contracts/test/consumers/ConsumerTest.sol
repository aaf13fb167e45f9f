// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IVolatilityOracle} from "../../src/interfaces/IVolatilityOracle.sol";
import {Test} from "../Test.sol";
import {OracleDouble} from "./OracleDouble.sol";
import {PriceFeedDouble} from "./PriceFeedDouble.sol";
import {TokenDouble} from "./TokenDouble.sol";

/// @notice A market to test consumers in: WETH at 2,000 USDC, and a calm forecast that is a minute old.
abstract contract ConsumerTest is Test {
    bytes32 internal constant FEED = keccak256("eth-usdt-4h");
    uint256 internal constant MAX_AGE = 15 minutes;
    uint256 internal constant PRICE_MAX_AGE = 1 hours;
    uint256 internal constant WETH = 1e18;
    uint256 internal constant USDC = 1e6;
    uint256 internal constant NEVER = type(uint256).max;

    address internal constant ALICE = address(0xA11CE);
    address internal constant BOB = address(0xB0B);

    OracleDouble internal oracle;
    PriceFeedDouble internal prices;
    TokenDouble internal weth;
    TokenDouble internal usdc;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        oracle = new OracleDouble();
        prices = new PriceFeedDouble(8);
        weth = new TokenDouble("WETH", 18);
        usdc = new TokenDouble("USDC", 6);
        setPrice(2_000);
        forecast(IVolatilityOracle.Regime.Low, 0.36e18);
    }

    function theOracle() internal view returns (IVolatilityOracle) {
        return IVolatilityOracle(address(oracle));
    }

    function setPrice(uint256 dollars) internal {
        prices.set(int256(dollars * 1e8), block.timestamp);
    }

    function forecast(IVolatilityOracle.Regime regime, uint256 volatility) internal {
        oracle.publish(FEED, uint64(block.timestamp - 1 minutes), regime, volatility);
    }

    /// @dev Time goes on until the forecast is too old by a second; the price is not.
    function letForecastGrowStale() internal returns (bytes memory reason) {
        uint64 windowEnd = uint64(block.timestamp - 1 minutes);
        vm.warp(windowEnd + MAX_AGE + 1);
        return abi.encodeWithSelector(IVolatilityOracle.StaleForecast.selector, FEED, windowEnd, MAX_AGE);
    }
}
