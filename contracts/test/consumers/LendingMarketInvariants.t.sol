// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {LendingMarket} from "../../src/consumers/LendingMarket.sol";
import {IVolatilityOracle} from "../../src/interfaces/IVolatilityOracle.sol";
import {ConsumerTest} from "./ConsumerTest.sol";

/// @notice Three accounts do what they like in any order, while price, regime and time move.
contract LendingMarketInvariants is ConsumerTest {
    uint256 internal constant LENT = 10_000_000 * USDC;

    LendingMarket internal market;
    address[3] internal accounts = [ALICE, BOB, address(0xCA401)];
    IVolatilityOracle.Regime internal regime;
    uint256 internal dollars;
    /// @dev What the LTV allowed when the account last borrowed or withdrew.
    mapping(address account => uint256) internal allowed;

    function setUp() public override {
        super.setUp();
        market = new LendingMarket(theOracle(), FEED, MAX_AGE, prices, PRICE_MAX_AGE, weth, usdc, address(this));
        usdc.mint(address(this), LENT);
        usdc.approve(address(market), LENT);
        market.lend(LENT);
        for (uint256 i = 0; i < accounts.length; ++i) {
            weth.mint(accounts[i], 1_000 * WETH);
            usdc.mint(accounts[i], LENT);
            vm.startPrank(accounts[i]);
            weth.approve(address(market), NEVER);
            usdc.approve(address(market), NEVER);
            vm.stopPrank();
        }
        move(2_000, false);

        bytes4[] memory actions = new bytes4[](7);
        actions[0] = this.deposit.selector;
        actions[1] = this.withdraw.selector;
        actions[2] = this.borrow.selector;
        actions[3] = this.repay.selector;
        actions[4] = this.liquidate.selector;
        actions[5] = this.move.selector;
        actions[6] = this.wait.selector;
        _target(address(this), actions);
    }

    function deposit(uint256 who, uint256 amount) external {
        vm.prank(accounts[who % 3]);
        market.deposit(_bound(amount, 0, 100 * WETH));
    }

    function withdraw(uint256 who, uint256 amount) external {
        address account = accounts[who % 3];
        (uint256 collateral,) = market.positions(account);
        vm.prank(account);
        market.withdraw(_bound(amount, 0, collateral));
        noteWhatIsAllowed(account);
    }

    function borrow(uint256 who, uint256 amount) external {
        address account = accounts[who % 3];
        (uint256 collateral,) = market.positions(account);
        vm.prank(account);
        market.borrow(_bound(amount, 0, collateral * dollars * USDC / WETH));
        noteWhatIsAllowed(account);
    }

    function repay(uint256 who, uint256 whose, uint256 amount) external {
        vm.prank(accounts[who % 3]);
        market.repay(accounts[whose % 3], _bound(amount, 0, 100_000 * USDC));
    }

    /// @dev After the price fell so far that the account is a little above the threshold.
    function liquidate(uint256 who, uint256 whose, uint256 amount) external {
        address account = accounts[whose % 3];
        (uint256 collateral, uint256 debt) = market.positions(account);
        dollars = debt * WETH * 100 / (collateral * USDC * 87);
        setPrice(dollars);
        vm.prank(accounts[who % 3]);
        market.liquidate(account, _bound(amount, 0, debt));
    }

    /// @dev A new price and a new forecast.
    function move(uint256 price, bool high) public {
        dollars = _bound(price, 1_500, 3_000);
        regime = high ? IVolatilityOracle.Regime.High : IVolatilityOracle.Regime.Low;
        setPrice(dollars);
        forecast(regime, 0.5e18);
    }

    function wait(uint256 duration) external {
        vm.warp(block.timestamp + _bound(duration, 0, 20 minutes));
    }

    function invariant_debtIsNeverMoreThanWhatWasAllowedWhenBorrowed() public view {
        for (uint256 i = 0; i < accounts.length; ++i) {
            (, uint256 debt) = market.positions(accounts[i]);
            vm.assertLe(debt, allowed[accounts[i]]);
        }
    }

    function invariant_collateralIsAllThere() public view {
        uint256 sum;
        for (uint256 i = 0; i < accounts.length; ++i) {
            (uint256 collateral,) = market.positions(accounts[i]);
            sum += collateral;
        }
        vm.assertEq(weth.balanceOf(address(market)), sum);
    }

    function invariant_whatWasLentIsThereOrOwed() public view {
        uint256 sum = usdc.balanceOf(address(market));
        for (uint256 i = 0; i < accounts.length; ++i) {
            (, uint256 debt) = market.positions(accounts[i]);
            sum += debt;
        }
        vm.assertEq(sum, LENT);
    }

    /// @dev Reckoned here, not asked of the market. With no debt, nothing needs to be allowed.
    function noteWhatIsAllowed(address account) private {
        (uint256 collateral,) = market.positions(account);
        uint256 percent = regime == IVolatilityOracle.Regime.High ? 65 : 80;
        allowed[account] = collateral * dollars * USDC * percent / (WETH * 100);
    }
}
