// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {CoveredCallWriter} from "../../src/consumers/CoveredCallWriter.sol";
import {IVolatilityOracle} from "../../src/interfaces/IVolatilityOracle.sol";
import {ConsumerTest} from "./ConsumerTest.sol";

/// @notice Two buyers and the writer do what they like in any order, while time goes on.
contract CoveredCallWriterInvariants is ConsumerTest {
    CoveredCallWriter internal calls;
    address[2] internal buyers = [ALICE, BOB];

    function setUp() public override {
        super.setUp();
        calls = new CoveredCallWriter(theOracle(), FEED, MAX_AGE, prices, PRICE_MAX_AGE, 0, weth, usdc, address(this));
        weth.mint(address(this), 1_000 * WETH);
        weth.transfer(address(calls), 100 * WETH);
        for (uint256 i = 0; i < buyers.length; ++i) {
            usdc.mint(buyers[i], 10_000_000 * USDC);
            vm.prank(buyers[i]);
            usdc.approve(address(calls), NEVER);
        }

        bytes4[] memory actions = new bytes4[](6);
        actions[0] = this.buy.selector;
        actions[1] = this.exercise.selector;
        actions[2] = this.lapse.selector;
        actions[3] = this.withdraw.selector;
        actions[4] = this.add.selector;
        actions[5] = this.move.selector;
        _target(address(this), actions);
    }

    function buy(uint256 who, uint256 amount) external {
        vm.prank(buyers[who % 2]);
        calls.buy(_bound(amount, 0, 20 * WETH), NEVER, NEVER, NEVER);
    }

    /// @dev By its holder, in its window: what fails otherwise is tested elsewhere.
    function exercise(uint256 id) external {
        id = _bound(id, 1, calls.sold());
        (address holder, uint64 from,,) = calls.options(id);
        if (block.timestamp < from) vm.warp(from);
        vm.prank(holder);
        calls.exercise(id);
    }

    function lapse(uint256 id) external {
        calls.lapse(_bound(id, 1, calls.sold()));
    }

    function withdraw(uint256 amount) external {
        calls.withdraw(weth, _bound(amount, 0, weth.balanceOf(address(calls))));
    }

    function add(uint256 amount) external {
        weth.transfer(address(calls), _bound(amount, 0, weth.balanceOf(address(this)) / 10));
    }

    /// @dev Time goes on, and there is a new price and a new forecast.
    function move(uint256 duration, uint256 price, uint256 volatility) external {
        vm.warp(block.timestamp + _bound(duration, 0, 1 hours));
        setPrice(_bound(price, 1_500, 3_000));
        forecast(IVolatilityOracle.Regime.Low, _bound(volatility, 0, 3e18));
    }

    function invariant_everyOptionIsCovered() public view {
        vm.assertGe(weth.balanceOf(address(calls)), openAmount());
    }

    function invariant_lockedIsWhatIsOpen() public view {
        vm.assertEq(calls.locked(), openAmount());
    }

    function openAmount() private view returns (uint256 sum) {
        for (uint256 id = 1; id <= calls.sold(); ++id) {
            (,, uint256 amount,) = calls.options(id);
            sum += amount;
        }
    }
}
