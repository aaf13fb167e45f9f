// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {AggregatorV3Interface} from "../interfaces/AggregatorV3Interface.sol";
import {IVolatilityOracle} from "../interfaces/IVolatilityOracle.sol";
import {FreshPrice} from "./FreshPrice.sol";

/// @title Four-hour calls on a token, priced from the forecast volatility and covered by the token itself
/// @notice A buyer pays a premium now and may, from four hours later and for half an hour, take `amount` of the
/// underlying for a payment fixed now. For every option the underlying lies locked, so the writer cannot fail to
/// deliver. Selling needs a fresh forecast and a fresh price; exercise needs neither.
/// @dev At the money and without interest, Black and Scholes give S · erf(s / √8), s = σ · √T. The premium takes the first
/// term, S · s / √(2π): never less, and more by at most s² / 24 of itself (4 % at s = 1; at 36 % a year s is 0.008). T is
/// 4.5 h, for the holder chooses when in the window, and a call without dividends is worth most at the end. `LOADING`
/// pays for risk and a wrong forecast. The strike lies `slack` above the price feed, which should be the deviation that
/// the feed lets pass before it updates: else who sees a better price buys calls already in the money.
/// Simplified: one writer, one strike and one length, the forecast's horizon starts at its window's end and not at the
/// sale, options cannot be transferred. Production pools writers, sells several strikes from the full formula and limits
/// what is sold at once. Underlyings that rebase must not be used.
contract CoveredCallWriter is ReentrancyGuardTransient {
    using SafeERC20 for IERC20Metadata;
    using FreshPrice for AggregatorV3Interface;
    using Math for uint256;

    struct Option {
        address holder;
        uint64 exercisableFrom;
        uint256 amount;
        uint256 payment;
    }

    uint256 private constant ONE = 1e18;
    uint256 private constant ONE_BY_ROOT_TWO_PI = 0.398942280401432678e18;
    /// @notice From the sale to the window of exercise, and its length.
    uint256 public constant LIFE = 4 hours;
    uint256 public constant WINDOW = 30 minutes;
    /// @notice What the premium is above the formula.
    uint256 public constant LOADING = 0.1e18;

    IVolatilityOracle public immutable oracle;
    bytes32 public immutable feedId;
    uint256 public immutable maxAge;
    /// @notice Price of one whole underlying token in whole quote tokens.
    AggregatorV3Interface public immutable priceFeed;
    uint256 public immutable priceMaxAge;
    /// @notice By how much of the price the strike lies above it.
    uint256 public immutable slack;
    IERC20Metadata public immutable underlying;
    IERC20Metadata public immutable quoteToken;
    address public immutable writer;
    /// @dev worth = amount · price · _quoteUnit / _priceUnit
    uint256 private immutable _quoteUnit;
    uint256 private immutable _priceUnit;

    /// @notice Options that are open; a zero holder is none.
    mapping(uint256 id => Option) public options;
    /// @notice How many were ever sold; the newest has this id.
    uint256 public sold;
    /// @notice Underlying that covers open options.
    uint256 public locked;

    event Sold(uint256 indexed id, address indexed holder, uint256 amount, uint256 premium, uint256 payment);
    event Exercised(uint256 indexed id);
    event Lapsed(uint256 indexed id);
    event Withdrawn(IERC20Metadata indexed token, uint256 amount);

    error IdenticalTokens();
    error OnlyWriter();
    error OnlyHolder(uint256 id);
    error NotExercisable(uint256 from, uint256 until);
    error StillOpen(uint256 id);
    error DeadlinePassed(uint256 deadline);
    error TooExpensive(uint256 premium, uint256 payment);
    error NotCovered(uint256 amount, uint256 free);

    constructor(
        IVolatilityOracle oracle_,
        bytes32 feedId_,
        uint256 maxAge_,
        AggregatorV3Interface priceFeed_,
        uint256 priceMaxAge_,
        uint256 slack_,
        IERC20Metadata underlying_,
        IERC20Metadata quoteToken_,
        address writer_
    ) {
        if (address(underlying_) == address(quoteToken_)) revert IdenticalTokens();
        (oracle, feedId, maxAge) = (oracle_, feedId_, maxAge_);
        (priceFeed, priceMaxAge, slack) = (priceFeed_, priceMaxAge_, slack_);
        (underlying, quoteToken, writer) = (underlying_, quoteToken_, writer_);
        _quoteUnit = 10 ** quoteToken_.decimals();
        _priceUnit = 10 ** (uint256(priceFeed_.decimals()) + underlying_.decimals());
    }

    /// @notice Buy a call on `amount`, for no more than these two prices in quote tokens.
    function buy(uint256 amount, uint256 maxPremium, uint256 maxPayment, uint256 deadline)
        external
        nonReentrant
        returns (uint256 id)
    {
        if (block.timestamp > deadline) revert DeadlinePassed(deadline);
        if (amount > free()) revert NotCovered(amount, free());
        (uint256 premium, uint256 payment) = quote(amount);
        if (premium > maxPremium || payment > maxPayment) revert TooExpensive(premium, payment);
        id = ++sold;
        locked += amount;
        options[id] = Option(msg.sender, uint64(block.timestamp + LIFE), amount, payment);
        emit Sold(id, msg.sender, amount, premium, payment);
        quoteToken.safeTransferFrom(msg.sender, address(this), premium);
    }

    /// @notice Pay and take the underlying, within the window. Needs neither forecast nor price.
    function exercise(uint256 id) external nonReentrant {
        Option memory option = options[id];
        if (msg.sender != option.holder) revert OnlyHolder(id);
        uint256 until = option.exercisableFrom + WINDOW;
        if (block.timestamp < option.exercisableFrom || block.timestamp > until) {
            revert NotExercisable(option.exercisableFrom, until);
        }
        _close(id, option.amount);
        emit Exercised(id);
        quoteToken.safeTransferFrom(msg.sender, address(this), option.payment);
        underlying.safeTransfer(msg.sender, option.amount);
    }

    /// @notice Set free what covers an option whose window is over. Anyone may.
    function lapse(uint256 id) external {
        Option memory option = options[id];
        if (option.holder == address(0)) revert OnlyHolder(id);
        if (block.timestamp <= option.exercisableFrom + WINDOW) revert StillOpen(id);
        _close(id, option.amount);
        emit Lapsed(id);
    }

    /// @notice Take out what covers no option: the underlying that is free, and whatever came in. Writer only.
    function withdraw(IERC20Metadata token, uint256 amount) external nonReentrant {
        if (msg.sender != writer) revert OnlyWriter();
        if (address(token) == address(underlying) && amount > free()) revert NotCovered(amount, free());
        emit Withdrawn(token, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Underlying that covers no option. The writer adds to it by sending tokens here.
    function free() public view returns (uint256) {
        return underlying.balanceOf(address(this)) - locked;
    }

    /// @notice Premium and later payment of a call on `amount` now, in quote tokens, rounded up. Reverts without a fresh
    /// forecast or price.
    function quote(uint256 amount) public view returns (uint256 premium, uint256 payment) {
        uint256 price = priceFeed.read(priceMaxAge);
        uint256 worth = amount.mulDiv(price * _quoteUnit, _priceUnit, Math.Rounding.Ceil);
        uint256 rate = premiumRate(oracle.forecastNoOlderThan(feedId, maxAge).volatility);
        premium = worth.mulDiv(rate, ONE, Math.Rounding.Ceil);
        payment = worth.mulDiv(ONE + slack, ONE, Math.Rounding.Ceil);
    }

    /// @notice Premium as a part of the underlying's worth; never above one, for no call is worth more than what it is on.
    function premiumRate(uint256 volatility) public pure returns (uint256) {
        uint256 rootOfYears = FixedPointMathLib.sqrt((LIFE + WINDOW) * ONE * ONE / 365 days);
        uint256 deviation = volatility.mulDiv(rootOfYears, ONE);
        return deviation.mulDiv(ONE_BY_ROOT_TWO_PI, ONE).mulDiv(ONE + LOADING, ONE).min(ONE);
    }

    function _close(uint256 id, uint256 amount) private {
        delete options[id];
        locked -= amount;
    }
}
