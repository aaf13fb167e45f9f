// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {IVolatilityOracle} from "../../src/interfaces/IVolatilityOracle.sol";

/// @notice The reads that consumers use, with forecasts set by the test and the oracle's own reverts.
contract OracleDouble {
    bytes32 public constant MODEL = "model";

    bool public frozen;
    mapping(bytes32 feedId => IVolatilityOracle.Forecast[]) private _rounds;

    function publish(bytes32 feedId, uint64 windowEnd, IVolatilityOracle.Regime regime, uint256 volatility) external {
        IVolatilityOracle.Forecast memory forecast = IVolatilityOracle.Forecast({
            round: uint64(_rounds[feedId].length + 1),
            windowEnd: windowEnd,
            publishedAt: uint64(block.timestamp),
            regime: regime,
            probabilityHigh: regime == IVolatilityOracle.Regime.High ? 0.9e18 : 0.1e18,
            volatility: volatility,
            modelId: MODEL
        });
        _rounds[feedId].push(forecast);
    }

    function freeze() external {
        frozen = true;
    }

    function forecastNoOlderThan(bytes32 feedId, uint256 maxAge)
        external
        view
        returns (IVolatilityOracle.Forecast memory forecast)
    {
        uint256 count = _rounds[feedId].length;
        if (count == 0) revert IVolatilityOracle.NoForecast(feedId);
        forecast = _rounds[feedId][count - 1];
        if (block.timestamp > forecast.windowEnd && block.timestamp - forecast.windowEnd > maxAge) {
            revert IVolatilityOracle.StaleForecast(feedId, forecast.windowEnd, maxAge);
        }
        if (frozen) revert IModelRegistry.ModelIsFrozen(MODEL);
    }

    function getRound(bytes32 feedId, uint64 round) external view returns (IVolatilityOracle.Forecast memory) {
        if (round == 0 || round > _rounds[feedId].length) revert IVolatilityOracle.RoundNotKept(feedId, round);
        return _rounds[feedId][round - 1];
    }
}
