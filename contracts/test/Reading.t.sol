// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {IVolatilityOracle} from "../src/interfaces/IVolatilityOracle.sol";
import {AnsweringVerifier} from "./Doubles.sol";
import {AnyProofTest} from "./OracleTest.sol";

/// @notice Reading, keeping and reserving rounds.
contract ReadingTest is AnyProofTest {
    uint256 internal constant HISTORY = 256;

    /// @dev What a fuzz test expects the oracle to hold: every window end that was accepted, in order.
    uint64[] internal accepted;

    function test_constructor_keepsItsParameters() public view {
        vm.assertEq(address(oracle.registry()), address(registry));
        vm.assertEq(address(oracle.attesters()), address(attesters));
        vm.assertEq(oracle.submissionLimit(), SUBMISSION_LIMIT);
        vm.assertEq(oracle.maxSkew(), MAX_SKEW);
        vm.assertEq(oracle.defaultMaxAge(), MAX_AGE);
        vm.assertEq(oracle.HISTORY(), HISTORY);
    }

    function test_reads_revertBeforeTheFirstUpdate() public {
        bytes memory reason = abi.encodeWithSelector(IVolatilityOracle.NoForecast.selector, FEED);
        vm.expectRevert(reason);
        oracle.latestForecast(FEED);
        vm.expectRevert(reason);
        oracle.forecastNoOlderThan(FEED, type(uint256).max);
        vm.expectRevert(reason);
        oracle.forecastUnsafe(FEED);
        roundIsNotKept(0);
        roundIsNotKept(1);
    }

    function test_reads_revertWhenOnlyReserved() public {
        oracle.reserve(FEED, 3);
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.NoForecast.selector, FEED));
        oracle.forecastUnsafe(FEED);
        roundIsNotKept(1);
    }

    function test_latestForecast_revertsWhenStale() public {
        uint64 end = publish();
        vm.warp(end + MAX_AGE);
        oracle.latestForecast(FEED);
        vm.warp(end + MAX_AGE + 1);
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.StaleForecast.selector, FEED, end, MAX_AGE));
        oracle.latestForecast(FEED);
    }

    function test_forecastNoOlderThan_revertsWhenStale() public {
        uint64 end = publish();
        vm.warp(end + 5);
        oracle.forecastNoOlderThan(FEED, 5);
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.StaleForecast.selector, FEED, end, 4));
        oracle.forecastNoOlderThan(FEED, 4);
    }

    function test_forecastNoOlderThan_takesAnyAge() public {
        publish();
        vm.warp(type(uint40).max);
        vm.assertEq(oracle.forecastNoOlderThan(FEED, type(uint256).max).round, 1);
    }

    function test_forecastNoOlderThan_takesAWindowAheadOfTheClock() public {
        oracle.submit(updateFor(FEED, uint64(block.timestamp + MAX_SKEW)));
        vm.assertEq(oracle.forecastNoOlderThan(FEED, 0).round, 1);
    }

    function test_reads_revertWhenTheModelWasFrozenSince() public {
        publish();
        registry.freeze(MODEL);
        bytes memory reason = abi.encodeWithSelector(IModelRegistry.ModelIsFrozen.selector, MODEL);
        vm.expectRevert(reason);
        oracle.latestForecast(FEED);
        vm.expectRevert(reason);
        oracle.forecastNoOlderThan(FEED, type(uint256).max);
        vm.assertEq(oracle.forecastUnsafe(FEED).modelId, MODEL);
        vm.assertEq(oracle.getRound(FEED, 1).modelId, MODEL);
    }

    function test_reads_keepWorkingWhenTheModelIsSuperseded() public {
        publish();
        activate(keccak256("next"), modelWith(verifier, address(0), 0), only(FEED));
        vm.assertEq(oracle.forecastNoOlderThan(FEED, 2 * DELAY).modelId, MODEL);
    }

    function test_forecastUnsafe_readsHoweverOld() public {
        uint64 end = publish();
        vm.warp(end + 365 days);
        vm.assertEq(oracle.forecastUnsafe(FEED).windowEnd, end);
    }

    function test_feeds_areApart() public {
        publish();
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.NoForecast.selector, OTHER_FEED));
        oracle.latestForecast(OTHER_FEED);
    }

    function test_getRound_keepsTheLastRounds() public {
        uint64 first = uint64(block.timestamp);
        for (uint256 i = 0; i < HISTORY; ++i) {
            publish();
        }
        vm.assertEq(oracle.getRound(FEED, 1).windowEnd, first);
        publish();
        roundIsNotKept(0);
        roundIsNotKept(1);
        vm.assertEq(oracle.getRound(FEED, 2).windowEnd, first + 1);
        vm.assertEq(oracle.getRound(FEED, uint64(HISTORY) + 1).windowEnd, first + HISTORY);
        roundIsNotKept(uint64(HISTORY) + 2);
        roundIsNotKept(type(uint64).max);
    }

    function test_reserve_paysForTheNextRounds() public {
        vm.expectEmit();
        emit IVolatilityOracle.RoundsReserved(FEED, 3);
        oracle.reserve(FEED, 3);
        stateIs(0, 0, 3);
        vm.expectEmit();
        emit IVolatilityOracle.RoundsReserved(FEED, 5);
        oracle.reserve(FEED, 2);
        uint64 end = publish();
        stateIs(1, end, 5);
        vm.assertEq(oracle.latestForecast(FEED).windowEnd, end);
    }

    function test_reserve_goesOnFromWhatWasPublished() public {
        publish();
        uint64 end = publish();
        oracle.reserve(FEED, 1);
        stateIs(2, end, 3);
        vm.assertEq(oracle.getRound(FEED, 2).windowEnd, end);
    }

    function test_reserve_isBoundedByTheRing() public {
        oracle.reserve(FEED, type(uint64).max);
        stateIs(0, 0, uint64(HISTORY));
        vm.recordLogs();
        oracle.reserve(FEED, 1);
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    function test_reserve_ofNothingDoesNothing() public {
        vm.recordLogs();
        oracle.reserve(FEED, 0);
        vm.assertEq(vm.getRecordedLogs().length, 0);
        stateIs(0, 0, 0);
    }

    function test_reserve_afterTheRingHasGoneRoundDoesNothing() public {
        for (uint256 i = 0; i < HISTORY + 3; ++i) {
            publish();
        }
        vm.recordLogs();
        oracle.reserve(FEED, 10);
        vm.assertEq(vm.getRecordedLogs().length, 0);
        for (uint64 round = 4; round <= HISTORY + 3; ++round) {
            vm.assertEq(oracle.getRound(FEED, round).round, round);
            vm.assertGt(uint256(oracle.getRound(FEED, round).windowEnd), 0);
        }
    }

    function test_submitJoint_needsEveryFeedOfTheModel() public {
        oracle.submitJoint(jointUpdateFor(both(OTHER_FEED, FEED)));
        vm.assertEq(oracle.latestForecast(FEED).round, 1);
        vm.assertEq(oracle.latestForecast(OTHER_FEED).round, 1);
    }

    function test_submit_revertsUnlessTheVerifierSaysTrue() public {
        verifierAnswers("false", abi.encode(false));
        verifierAnswers("two", abi.encode(uint256(2)));
        verifierAnswers("a byte", hex"01");
        verifierAnswers("nothing", "");
        verifierAnswers("two words", abi.encode(uint256(1), uint256(1)));
    }

    /// @notice Times: accepted exactly if later than the newest, not too late and not too old.
    function testFuzz_submit_acceptsByTime(uint64 newest, uint64 windowEnd, bool near) public {
        uint256 lowest = block.timestamp - SUBMISSION_LIMIT;
        newest = uint64(_bound(newest, lowest, block.timestamp + MAX_SKEW));
        oracle.submit(updateFor(FEED, newest));
        if (near) windowEnd = uint64(_bound(windowEnd, lowest - 100, block.timestamp + MAX_SKEW + 100));
        bytes memory reason;
        if (windowEnd > block.timestamp + MAX_SKEW) {
            reason = abi.encodeWithSelector(
                IVolatilityOracle.WindowInFuture.selector, windowEnd, block.timestamp + MAX_SKEW
            );
        } else if (windowEnd < lowest) {
            reason = abi.encodeWithSelector(IVolatilityOracle.WindowTooOld.selector, windowEnd, lowest);
        } else if (windowEnd == newest) {
            reason = abi.encodeWithSelector(IVolatilityOracle.WindowAlreadyPublished.selector, FEED, windowEnd);
        } else if (windowEnd < newest) {
            reason = abi.encodeWithSelector(IVolatilityOracle.WindowNotIncreasing.selector, FEED, windowEnd, newest);
        }
        IVolatilityOracle.Update memory update = updateFor(FEED, windowEnd);
        if (reason.length > 0) vm.expectRevert(reason);
        oracle.submit(update);
        vm.assertEq(uint256(oracle.forecastUnsafe(FEED).round), reason.length > 0 ? 1 : 2);
    }

    function testFuzz_forecastNoOlderThan_revertsExactlyWhenOlder(uint256 age, uint256 maxAge, bool near) public {
        uint64 end = publish();
        age = _bound(age, 0, 10 days);
        if (near) maxAge = _bound(maxAge, 0, 10 days);
        vm.warp(end + age);
        if (age > maxAge) {
            vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.StaleForecast.selector, FEED, end, maxAge));
        }
        oracle.forecastNoOlderThan(FEED, maxAge);
    }

    /// @notice The ring against a plain list, under any mixture of publishing and reserving.
    /// forge-config: default.fuzz.runs = 48
    function testFuzz_rounds_areThoseOfAPlainList(uint256 seed, uint256 steps) public {
        steps = _bound(steps, 1, 40);
        for (uint256 i = 0; i < steps; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            if (dice % 3 == 0) {
                oracle.reserve(FEED, uint64((dice >> 8) % 70));
            } else {
                for (uint256 n = 0; n < (dice >> 8) % 30; ++n) {
                    accepted.push(publish());
                }
            }
        }
        (uint64 round,, uint64 reservedUpTo) = oracle.feedState(FEED);
        vm.assertEq(uint256(round), accepted.length);
        vm.assertGe(uint256(reservedUpTo), uint256(round));
        vm.assertLe(uint256(reservedUpTo), accepted.length > HISTORY ? accepted.length : HISTORY);
        uint256 lost = accepted.length > HISTORY ? accepted.length - HISTORY : 0;
        for (uint64 number = uint64(lost) + 1; number <= accepted.length; ++number) {
            IVolatilityOracle.Forecast memory found = oracle.getRound(FEED, number);
            vm.assertEq(uint256(found.windowEnd), uint256(accepted[number - 1]));
            vm.assertEq(uint256(found.round), uint256(number));
        }
        roundIsNotKept(uint64(lost));
        roundIsNotKept(uint64(accepted.length) + 1);
    }

    /// @dev A second later, the window that ends then; the first one ends now.
    function publish() private returns (uint64 end) {
        (, uint64 newest,) = oracle.feedState(FEED);
        if (newest > 0) vm.warp(newest + 1);
        end = uint64(block.timestamp);
        oracle.submit(updateFor(FEED, end));
    }

    function verifierAnswers(bytes32 name, bytes memory answer) private {
        activate(name, modelWith(address(new AnsweringVerifier(answer)), address(0), 0), only(name));
        IVolatilityOracle.Update memory update = updateFor(name, uint64(block.timestamp));
        update.modelId = name;
        sign(update, 1);
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.ProofRejected.selector, name));
        oracle.submit(update);
    }

    function roundIsNotKept(uint64 round) private {
        vm.expectRevert(abi.encodeWithSelector(IVolatilityOracle.RoundNotKept.selector, FEED, round));
        oracle.getRound(FEED, round);
    }

    function stateIs(uint64 round, uint64 windowEnd, uint64 reservedUpTo) private view {
        (uint64 foundRound, uint64 foundEnd, uint64 foundReserved) = oracle.feedState(FEED);
        vm.assertEq(abi.encode(foundRound, foundEnd, foundReserved), abi.encode(round, windowEnd, reservedUpTo));
    }
}
