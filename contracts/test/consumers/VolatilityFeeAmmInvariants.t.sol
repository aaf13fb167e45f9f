// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {VolatilityFeeAmm} from "../../src/consumers/VolatilityFeeAmm.sol";
import {IVolatilityOracle} from "../../src/interfaces/IVolatilityOracle.sol";
import {ConsumerTest} from "./ConsumerTest.sol";

/// @notice Three accounts add, remove and swap in any order and at any fee.
contract VolatilityFeeAmmInvariants is ConsumerTest {
    VolatilityFeeAmm internal pool;
    address[3] internal accounts = [ALICE, BOB, address(0xCA401)];
    uint256 internal last0;
    uint256 internal last1;
    uint256 internal lastSupply;
    bool internal kPerShareFell;
    bool internal aShareLostSome;

    function setUp() public override {
        super.setUp();
        pool = new VolatilityFeeAmm(theOracle(), FEED, MAX_AGE, weth, usdc);
        for (uint256 i = 0; i < accounts.length; ++i) {
            weth.mint(accounts[i], 1_000 * WETH);
            usdc.mint(accounts[i], 2_000_000 * USDC);
            vm.startPrank(accounts[i]);
            weth.approve(address(pool), NEVER);
            usdc.approve(address(pool), NEVER);
            vm.stopPrank();
        }
        vm.prank(ALICE);
        pool.addLiquidity(WETH, 2_000 * USDC, 0, NEVER);
        compareProduct();

        bytes4[] memory actions = new bytes4[](5);
        actions[0] = this.add.selector;
        actions[1] = this.remove.selector;
        actions[2] = this.swap.selector;
        actions[3] = this.move.selector;
        actions[4] = this.give.selector;
        _target(address(this), actions);
    }

    function add(uint256 who, uint256 max0, uint256 max1) external {
        address account = accounts[who % 3];
        max0 = _bound(max0, 0, weth.balanceOf(account));
        max1 = _bound(max1, 0, usdc.balanceOf(account));
        vm.prank(account);
        pool.addLiquidity(max0, max1, 0, NEVER);
        compareEach();
    }

    function remove(uint256 who, uint256 shares) external {
        address account = accounts[who % 3];
        shares = _bound(shares, 0, pool.balanceOf(account));
        vm.prank(account);
        pool.removeLiquidity(shares, 0, 0, NEVER);
        compareEach();
    }

    function swap(uint256 who, bool zeroIn, uint256 amount) external {
        address account = accounts[who % 3];
        amount = _bound(amount, 0, (zeroIn ? weth : usdc).balanceOf(account));
        vm.prank(account);
        pool.swap(zeroIn ? weth : usdc, amount, 0, NEVER);
        compareProduct();
    }

    function move(uint256 volatility) external {
        forecast(IVolatilityOracle.Regime.High, _bound(volatility, 0, 2e18));
    }

    function give(uint256 who, uint256 amount) external {
        address account = accounts[who % 3];
        amount = _bound(amount, 0, weth.balanceOf(account) / 100);
        vm.prank(account);
        weth.transfer(address(pool), amount);
    }

    function invariant_kNeverFallsPerShare() public view {
        vm.assertFalse(kPerShareFell);
    }

    function invariant_comingAndGoingTakesNothingFromAShare() public view {
        vm.assertFalse(aShareLostSome);
    }

    function invariant_reservesAreThere() public view {
        vm.assertLe(pool.reserve0(), weth.balanceOf(address(pool)));
        vm.assertEq(pool.reserve1(), usdc.balanceOf(address(pool)));
    }

    function invariant_neverEmpty() public view {
        vm.assertGe(pool.totalSupply(), pool.MINIMUM_LIQUIDITY());
        vm.assertGt(pool.reserve0(), 0);
        vm.assertGt(pool.reserve1(), 0);
    }

    /// @dev Exact: no number is above 2^233.
    function compareProduct() private {
        (uint256 now0, uint256 now1, uint256 supply) = (pool.reserve0(), pool.reserve1(), pool.totalSupply());
        if (now0 * now1 * lastSupply * lastSupply < last0 * last1 * supply * supply) kPerShareFell = true;
        (last0, last1, lastSupply) = (now0, now1, supply);
    }

    /// @dev Whoever comes or goes leaves no less of either token for a share.
    function compareEach() private {
        (uint256 now0, uint256 now1, uint256 supply) = (pool.reserve0(), pool.reserve1(), pool.totalSupply());
        if (now0 * lastSupply < last0 * supply || now1 * lastSupply < last1 * supply) aShareLostSome = true;
        compareProduct();
    }
}
