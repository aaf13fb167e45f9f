// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {IVolatilityOracle} from "../interfaces/IVolatilityOracle.sol";

/// @title A pair of tokens whose swap fee rises with the forecast volatility
/// @notice x · y = k with a fee on what goes in: 0.05 % up to 20 % volatility a year, 1 % from 120 % on, and linear in
/// between, for what arbitrage takes from liquidity grows with volatility. Swaps need a fresh forecast; liquidity can
/// be added and removed without one.
/// @dev Every amount is rounded in favour of the pool. Reserves are counted, not read from balances: tokens sent to the
/// contract without a call are nobody's, and cannot move the price of a share. The first deposit locks
/// `MINIMUM_LIQUIDITY` shares for good. Simplified: the fee steps when an update lands, so who sees it coming can swap
/// before; production would let it decay, keep a price accumulator and take a recipient. Tokens that take fees on
/// transfer or rebase must not be used.
contract VolatilityFeeAmm is ERC20, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using Math for uint256;

    uint256 private constant ONE = 1e18;
    address private constant NOBODY = 0x000000000000000000000000000000000000dEaD;
    /// @notice Shares that the first deposit leaves in the pool.
    uint256 public constant MINIMUM_LIQUIDITY = 1000;
    /// @notice The fee up to `CALM`, and from `WILD` on, as parts of what goes in.
    uint256 public constant FEE_FLOOR = 0.0005e18;
    uint256 public constant FEE_CAP = 0.01e18;
    /// @notice Annualised volatilities between which the fee rises.
    uint256 public constant CALM = 0.2e18;
    uint256 public constant WILD = 1.2e18;

    IVolatilityOracle public immutable oracle;
    bytes32 public immutable feedId;
    uint256 public immutable maxAge;
    IERC20 public immutable token0;
    IERC20 public immutable token1;

    uint256 public reserve0;
    uint256 public reserve1;

    event LiquidityAdded(address indexed provider, uint256 amount0, uint256 amount1, uint256 shares);
    event LiquidityRemoved(address indexed provider, uint256 amount0, uint256 amount1, uint256 shares);
    event Swapped(address indexed trader, IERC20 indexed tokenIn, uint256 amountIn, uint256 amountOut);

    error IdenticalTokens();
    error UnknownToken(IERC20 token);
    error DeadlinePassed(uint256 deadline);
    error NoLiquidity();
    error TooFewShares(uint256 shares, uint256 atLeast);
    error TooLittleOut(uint256 amount, uint256 atLeast);

    modifier before(uint256 deadline) {
        if (block.timestamp > deadline) revert DeadlinePassed(deadline);
        _;
    }

    constructor(IVolatilityOracle oracle_, bytes32 feedId_, uint256 maxAge_, IERC20 token0_, IERC20 token1_)
        ERC20("Volatility fee pair", "VFP")
    {
        if (address(token0_) == address(token1_)) revert IdenticalTokens();
        (oracle, feedId, maxAge) = (oracle_, feedId_, maxAge_);
        (token0, token1) = (token0_, token1_);
    }

    /// @notice Add both tokens in the pool's proportion, at most these amounts, for at least `minShares` shares. The
    /// first deposit sets the price.
    function addLiquidity(uint256 max0, uint256 max1, uint256 minShares, uint256 deadline)
        external
        nonReentrant
        before(deadline)
        returns (uint256 amount0, uint256 amount1, uint256 shares)
    {
        uint256 supply = totalSupply();
        if (supply == 0) {
            (amount0, amount1) = (max0, max1);
            shares = FixedPointMathLib.sqrt(max0 * max1).saturatingSub(MINIMUM_LIQUIDITY);
            _mint(NOBODY, MINIMUM_LIQUIDITY);
        } else {
            shares = max0.mulDiv(supply, reserve0).min(max1.mulDiv(supply, reserve1));
            amount0 = shares.mulDiv(reserve0, supply, Math.Rounding.Ceil);
            amount1 = shares.mulDiv(reserve1, supply, Math.Rounding.Ceil);
        }
        if (shares == 0 || shares < minShares) revert TooFewShares(shares, minShares);
        (reserve0, reserve1) = (reserve0 + amount0, reserve1 + amount1);
        _mint(msg.sender, shares);
        emit LiquidityAdded(msg.sender, amount0, amount1, shares);
        token0.safeTransferFrom(msg.sender, address(this), amount0);
        token1.safeTransferFrom(msg.sender, address(this), amount1);
    }

    /// @notice Give shares back for both tokens. Needs no forecast.
    function removeLiquidity(uint256 shares, uint256 min0, uint256 min1, uint256 deadline)
        external
        nonReentrant
        before(deadline)
        returns (uint256 amount0, uint256 amount1)
    {
        uint256 supply = totalSupply();
        _burn(msg.sender, shares);
        (amount0, amount1) = (shares.mulDiv(reserve0, supply), shares.mulDiv(reserve1, supply));
        if (amount0 < min0) revert TooLittleOut(amount0, min0);
        if (amount1 < min1) revert TooLittleOut(amount1, min1);
        (reserve0, reserve1) = (reserve0 - amount0, reserve1 - amount1);
        emit LiquidityRemoved(msg.sender, amount0, amount1, shares);
        token0.safeTransfer(msg.sender, amount0);
        token1.safeTransfer(msg.sender, amount1);
    }

    /// @notice Swap `amountIn` of one token for at least `minOut` of the other. Reverts without a fresh forecast.
    function swap(IERC20 tokenIn, uint256 amountIn, uint256 minOut, uint256 deadline)
        external
        nonReentrant
        before(deadline)
        returns (uint256 amountOut)
    {
        amountOut = quote(tokenIn, amountIn);
        if (amountOut < minOut) revert TooLittleOut(amountOut, minOut);
        bool zeroIn = _isZero(tokenIn);
        if (zeroIn) (reserve0, reserve1) = (reserve0 + amountIn, reserve1 - amountOut);
        else (reserve0, reserve1) = (reserve0 - amountOut, reserve1 + amountIn);
        emit Swapped(msg.sender, tokenIn, amountIn, amountOut);
        tokenIn.safeTransferFrom(msg.sender, address(this), amountIn);
        (zeroIn ? token1 : token0).safeTransfer(msg.sender, amountOut);
    }

    /// @notice What a swap gives now. Reverts without a fresh forecast.
    function quote(IERC20 tokenIn, uint256 amountIn) public view returns (uint256) {
        if (totalSupply() == 0) revert NoLiquidity();
        (uint256 reserveIn, uint256 reserveOut) = _isZero(tokenIn) ? (reserve0, reserve1) : (reserve1, reserve0);
        uint256 afterFee = amountIn - amountIn.mulDiv(fee(), ONE, Math.Rounding.Ceil);
        return reserveOut.mulDiv(afterFee, reserveIn + afterFee);
    }

    /// @notice The fee of a swap now, 1e18 for all of it. Reverts without a fresh forecast.
    function fee() public view returns (uint256) {
        return feeAt(oracle.forecastNoOlderThan(feedId, maxAge).volatility);
    }

    /// @notice The fee at a volatility.
    function feeAt(uint256 volatility) public pure returns (uint256) {
        return FixedPointMathLib.lerp(FEE_FLOOR, FEE_CAP, volatility, CALM, WILD);
    }

    /// @dev Whether the token is `token0`; reverts when it is neither.
    function _isZero(IERC20 token) private view returns (bool) {
        if (address(token) == address(token0)) return true;
        if (address(token) != address(token1)) revert UnknownToken(token);
        return false;
    }
}
