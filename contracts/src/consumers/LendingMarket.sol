// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {AggregatorV3Interface} from "../interfaces/AggregatorV3Interface.sol";
import {IVolatilityOracle} from "../interfaces/IVolatilityOracle.sol";
import {FreshPrice} from "./FreshPrice.sol";

/// @title Lending against collateral, less of it while a volatile market is forecast
/// @notice What may be borrowed falls from 80 % to 65 % of the collateral's worth while the forecast regime is high. The
/// threshold of liquidation is fixed above both, so a change of regime lets nobody be liquidated who was not before.
/// Without a fresh forecast nobody borrows and nobody with a debt withdraws; deposits and repayments need no forecast
/// and no price, liquidations a price only.
/// @dev Simplified: one lender, no interest, no minimum debt, bad debt stays with the lender, and a liquidation may take
/// the whole debt. Production adds interest and shares for many lenders, a close factor, supply and borrow caps, and a
/// lower LTV instead of none when forecasts stop. Tokens that take fees on transfer or rebase must not be used.
contract LendingMarket is ReentrancyGuardTransient {
    using SafeERC20 for IERC20Metadata;
    using FreshPrice for AggregatorV3Interface;
    using Math for uint256;

    struct Position {
        uint256 collateral;
        uint256 debt;
    }

    uint256 private constant ONE = 1e18;
    /// @notice Part of the collateral's worth that may be borrowed in the low regime, and in the high one.
    uint256 public constant LTV_LOW = 0.8e18;
    uint256 public constant LTV_HIGH = 0.65e18;
    /// @notice Debt above this part of the collateral's worth may be liquidated, in either regime.
    uint256 public constant LIQUIDATION_THRESHOLD = 0.85e18;
    /// @notice What a liquidator gets on top: the threshold times (1 + bonus) is below one, so that paying back a part
    /// of a debt just above the threshold makes the rest safer.
    uint256 public constant LIQUIDATION_BONUS = 0.05e18;

    IVolatilityOracle public immutable oracle;
    bytes32 public immutable feedId;
    uint256 public immutable maxAge;
    /// @notice Price of one whole collateral token in whole debt tokens.
    AggregatorV3Interface public immutable priceFeed;
    uint256 public immutable priceMaxAge;
    IERC20Metadata public immutable collateralToken;
    IERC20Metadata public immutable debtToken;
    address public immutable lender;
    /// @dev worth = collateral · answer · _debtUnit / _priceUnit
    uint256 private immutable _debtUnit;
    uint256 private immutable _priceUnit;

    mapping(address account => Position) public positions;

    event Lent(uint256 amount);
    event Reclaimed(uint256 amount);
    event Deposited(address indexed account, uint256 amount);
    event Withdrawn(address indexed account, uint256 amount);
    event Borrowed(address indexed account, uint256 amount);
    event Repaid(address indexed account, address indexed payer, uint256 amount);
    event Liquidated(address indexed account, address indexed liquidator, uint256 repaid, uint256 seized);

    error IdenticalTokens();
    error OnlyLender();
    error BeyondLtv(uint256 debt, uint256 limit);
    error NotEnoughCollateral(uint256 wanted, uint256 collateral);
    error Healthy(uint256 debt, uint256 threshold);

    constructor(
        IVolatilityOracle oracle_,
        bytes32 feedId_,
        uint256 maxAge_,
        AggregatorV3Interface priceFeed_,
        uint256 priceMaxAge_,
        IERC20Metadata collateralToken_,
        IERC20Metadata debtToken_,
        address lender_
    ) {
        if (address(collateralToken_) == address(debtToken_)) revert IdenticalTokens();
        (oracle, feedId, maxAge) = (oracle_, feedId_, maxAge_);
        (priceFeed, priceMaxAge) = (priceFeed_, priceMaxAge_);
        (collateralToken, debtToken, lender) = (collateralToken_, debtToken_, lender_);
        _debtUnit = 10 ** debtToken_.decimals();
        _priceUnit = 10 ** (uint256(priceFeed_.decimals()) + collateralToken_.decimals());
    }

    /// @notice Make debt tokens available to borrowers. Lender only.
    function lend(uint256 amount) external nonReentrant {
        if (msg.sender != lender) revert OnlyLender();
        emit Lent(amount);
        debtToken.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Take back debt tokens that nobody borrows. Lender only.
    function reclaim(uint256 amount) external nonReentrant {
        if (msg.sender != lender) revert OnlyLender();
        emit Reclaimed(amount);
        debtToken.safeTransfer(msg.sender, amount);
    }

    /// @notice Add collateral. Needs neither forecast nor price.
    function deposit(uint256 amount) external nonReentrant {
        positions[msg.sender].collateral += amount;
        emit Deposited(msg.sender, amount);
        collateralToken.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Take collateral out; with a debt, no more than the limit of the moment leaves free.
    function withdraw(uint256 amount) external nonReentrant {
        Position storage position = positions[msg.sender];
        if (amount > position.collateral) revert NotEnoughCollateral(amount, position.collateral);
        position.collateral -= amount;
        if (position.debt > 0) _requireWithinLtv(msg.sender);
        emit Withdrawn(msg.sender, amount);
        collateralToken.safeTransfer(msg.sender, amount);
    }

    /// @notice Borrow, up to the limit of the moment.
    function borrow(uint256 amount) external nonReentrant {
        positions[msg.sender].debt += amount;
        _requireWithinLtv(msg.sender);
        emit Borrowed(msg.sender, amount);
        debtToken.safeTransfer(msg.sender, amount);
    }

    /// @notice Pay back anybody's debt: `amount` of it, or all if that is less. Needs neither forecast nor price.
    function repay(address account, uint256 amount) external nonReentrant returns (uint256 repaid) {
        Position storage position = positions[account];
        repaid = amount.min(position.debt);
        position.debt -= repaid;
        emit Repaid(account, msg.sender, repaid);
        debtToken.safeTransferFrom(msg.sender, address(this), repaid);
    }

    /// @notice Pay back a debt above the threshold and take collateral of that worth and the bonus. Reverts if there is
    /// less of it: pay back less then.
    function liquidate(address account, uint256 amount) external nonReentrant returns (uint256 repaid, uint256 seized) {
        Position storage position = positions[account];
        uint256 threshold = worthOf(account).mulDiv(LIQUIDATION_THRESHOLD, ONE);
        if (position.debt <= threshold) revert Healthy(position.debt, threshold);
        repaid = amount.min(position.debt);
        seized = repaid.mulDiv(ONE + LIQUIDATION_BONUS, ONE).mulDiv(_priceUnit, _price());
        if (seized > position.collateral) revert NotEnoughCollateral(seized, position.collateral);
        position.debt -= repaid;
        position.collateral -= seized;
        emit Liquidated(account, msg.sender, repaid, seized);
        debtToken.safeTransferFrom(msg.sender, address(this), repaid);
        collateralToken.safeTransfer(msg.sender, seized);
    }

    /// @notice How much debt the account may have after borrowing or withdrawing now. Reverts without a fresh forecast
    /// or price.
    function debtLimit(address account) public view returns (uint256) {
        IVolatilityOracle.Forecast memory forecast = oracle.forecastNoOlderThan(feedId, maxAge);
        uint256 ltv = forecast.regime == IVolatilityOracle.Regime.High ? LTV_HIGH : LTV_LOW;
        return worthOf(account).mulDiv(ltv, ONE);
    }

    /// @notice Worth of the account's collateral in debt tokens, rounded down. Reverts without a fresh price.
    function worthOf(address account) public view returns (uint256) {
        return positions[account].collateral.mulDiv(_price(), _priceUnit);
    }

    function _requireWithinLtv(address account) private view {
        uint256 limit = debtLimit(account);
        uint256 debt = positions[account].debt;
        if (debt > limit) revert BeyondLtv(debt, limit);
    }

    /// @dev Of one whole collateral token, in the smallest unit of the debt token times 10 to the feed's decimals.
    function _price() private view returns (uint256) {
        return priceFeed.read(priceMaxAge) * _debtUnit;
    }
}
