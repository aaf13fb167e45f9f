// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AttesterSet} from "../src/AttesterSet.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {VolatilityOracle} from "../src/VolatilityOracle.sol";
import {IAttesterSet} from "../src/interfaces/IAttesterSet.sol";
import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {IVolatilityOracle} from "../src/interfaces/IVolatilityOracle.sol";
import {AcceptingVerifier} from "./Doubles.sol";
import {Test} from "./Test.sol";

/// @notice Owner, attesters, relayers and time, in any order; it notes what was accepted.
contract World is Test {
    uint256 public constant DELAY = 1 days;
    uint256 public constant MODELS = 5;
    uint256 public constant FEEDS = 3;
    uint256 public constant PEOPLE = 6;

    ModelRegistry public registry = new ModelRegistry(address(this), DELAY);
    AttesterSet public attesters = new AttesterSet(address(this), DELAY, _people(1, 3), 2);
    VolatilityOracle public oracle = new VolatilityOracle(registry, attesters, 6 hours, 60, 1 hours);

    /// @notice Every window end that was accepted, by feed and in order.
    mapping(uint256 feed => uint64[]) public accepted;
    /// @notice Number of models activated for a feed before their time, and of updates by models that were frozen.
    uint256 public tooEarly;
    uint256 public byFrozen;
    /// @notice How much happened, so that a run in which nothing does is noticed.
    uint256 public activations;
    uint256 public updates;

    address private _verifier = address(new AcceptingVerifier());
    mapping(bytes32 modelId => uint256) private _proposedAt;
    uint64 private _lastEnd;

    function wait(uint256 span) external {
        vm.warp(block.timestamp + _bound(span, 1, 4 hours));
    }

    function waitForTheDelay(uint256 part) external {
        vm.warp(block.timestamp + _bound(part, DELAY / 2, DELAY));
    }

    function propose(uint256 model, uint256 feeds) external {
        registry.propose(modelId(model), _model(), _feedIds(_bound(feeds, 1, 2 ** FEEDS - 1)));
        _proposedAt[modelId(model)] = block.timestamp;
    }

    function cancel(uint256 model) external {
        registry.cancel(modelId(model));
    }

    function activate(uint256 model) external {
        bytes32 id = modelId(model);
        bytes32[] memory feedIds = registry.feedsOf(id);
        bool anyHadOne = false;
        for (uint256 i = 0; i < feedIds.length; ++i) {
            if (registry.modelOf(feedIds[i]) != 0) anyHadOne = true;
        }
        registry.activate(id);
        if (anyHadOne && block.timestamp < _proposedAt[id] + DELAY) ++tooEarly;
        ++activations;
    }

    function freeze(uint256 model, uint256 dice) external {
        if (dice % 16 == 0) registry.freeze(modelId(model));
    }

    function proposeSet(uint256 first, uint256 count, uint256 threshold) external {
        attesters.propose(_people(_bound(first, 1, PEOPLE), _bound(count, 0, PEOPLE)), threshold % (PEOPLE + 1));
    }

    function activateSet() external {
        attesters.activate();
    }

    function removeSigner(uint256 number) external {
        attesters.remove(_person(_bound(number, 1, 2 * PEOPLE)));
    }

    function submit(uint256 feed, uint256 age, uint256 model, uint256 signatures) external {
        feed = _bound(feed, 0, FEEDS - 1);
        IVolatilityOracle.Update memory update;
        update.feedId = feedId(feed);
        update.windowEnd = _windowEnd(age);
        update.modelId = _modelFor(feed, model);
        update.proof = new bytes(64);
        update.inputCommitment = keccak256(update.proof);
        update.outputs = new uint256[](3);
        update.signatures = _sign(
            oracle.attestationDigest(update.feedId, update.windowEnd, update.modelId, update.inputCommitment),
            signatures
        );
        oracle.submit(update);
        _note(feed, update.windowEnd, update.modelId);
    }

    function submitJoint(uint256 feeds, uint256 age, uint256 model, uint256 signatures) external {
        bytes32[] memory feedIds = _feedIds(_bound(feeds, 1, 2 ** FEEDS - 1));
        IVolatilityOracle.JointUpdate memory update;
        update.windows = new IVolatilityOracle.FeedWindow[](feedIds.length);
        for (uint256 i = 0; i < feedIds.length; ++i) {
            update.windows[i] = IVolatilityOracle.FeedWindow(feedIds[i], _windowEnd(age));
        }
        update.modelId = _modelFor(uint256(feedIds[0]) - 1, model);
        update.proof = new bytes(64);
        update.inputCommitment = keccak256(update.proof);
        update.outputs = new uint256[](3 * FEEDS);
        update.signatures =
            _sign(oracle.jointAttestationDigest(update.windows, update.modelId, update.inputCommitment), signatures);
        oracle.submitJoint(update);
        for (uint256 i = 0; i < feedIds.length; ++i) {
            _note(uint256(feedIds[i]) - 1, update.windows[i].windowEnd, update.modelId);
        }
    }

    function reserve(uint256 feed, uint64 rounds) external {
        oracle.reserve(feedId(_bound(feed, 0, FEEDS - 1)), uint64(_bound(rounds, 0, 20)));
    }

    function acceptedCount(uint256 feed) external view returns (uint256) {
        return accepted[feed].length;
    }

    function feedId(uint256 feed) public pure returns (bytes32) {
        return bytes32(feed + 1);
    }

    function modelId(uint256 model) public pure returns (bytes32) {
        return keccak256(abi.encode("model", model % MODELS));
    }

    function _note(uint256 feed, uint64 windowEnd, bytes32 ofModel) private {
        accepted[feed].push(windowEnd);
        if (registry.stateOf(ofModel) != IModelRegistry.State.Active) ++byFrozen;
        _lastEnd = windowEnd;
        ++updates;
    }

    /// @dev Mostly a new window, at times one that lies before or was there already.
    function _windowEnd(uint256 age) private view returns (uint64) {
        return
            age % 5 == 0 ? _lastEnd : uint64(block.timestamp + 30 - _bound(age, 0, 4 hours) % (1 + age % 2 * 4 hours));
    }

    /// @dev Mostly the one that speaks for the feed.
    function _modelFor(uint256 feed, uint256 model) private view returns (bytes32) {
        return model % 4 == 0 ? modelId(model / 4) : registry.modelOf(feedId(feed));
    }

    /// @dev Mostly of as many as needed, who are attesters.
    function _sign(bytes32 digest, uint256 dice) private view returns (IAttesterSet.AttesterSignature[] memory made) {
        address[] memory now_ = attesters.signers();
        uint256 count = dice % 5 == 0 ? _bound(dice / 5, 0, now_.length) : attesters.threshold();
        made = new IAttesterSet.AttesterSignature[](count);
        uint256 found = 0;
        for (uint256 number = 1; found < count; ++number) {
            if (!attesters.isSigner(_person(number))) continue;
            (bytes32 r, bytes32 vs) = vm.signCompact(_key(number), digest);
            made[found++] = IAttesterSet.AttesterSignature(_person(number), r, vs);
        }
    }

    function _model() private view returns (IModelRegistry.Model memory model) {
        (model.verifier, model.jointVerifier) = (_verifier, _verifier);
        (model.jointWindows, model.outputScale) = (uint8(FEEDS), 27);
    }

    /// @dev The feeds whose bits are set.
    function _feedIds(uint256 bits) private pure returns (bytes32[] memory feedIds) {
        uint256 count = (bits & 1) + (bits >> 1 & 1) + (bits >> 2 & 1);
        feedIds = new bytes32[](count);
        for (uint256 feed = FEEDS; feed > 0; --feed) {
            if (bits >> (feed - 1) & 1 == 1) feedIds[--count] = feedId(feed - 1);
        }
    }

    function _people(uint256 first, uint256 count) private pure returns (address[] memory people) {
        people = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            people[i] = _person(first + i);
        }
    }

    function _person(uint256 number) private pure returns (address) {
        return vm.addr(_key(number));
    }

    function _key(uint256 number) private pure returns (uint256) {
        return uint256(keccak256(abi.encode("attester", number)));
    }
}

contract InvariantsTest is Test {
    World internal world;

    function setUp() public {
        vm.warp(1_757_937_660);
        world = new World();
        world.propose(0, 7);
        world.activate(0);
        bytes4[] memory selectors = new bytes4[](14);
        selectors[0] = World.wait.selector;
        selectors[1] = World.waitForTheDelay.selector;
        selectors[2] = World.propose.selector;
        selectors[3] = World.cancel.selector;
        selectors[4] = World.activate.selector;
        selectors[5] = World.freeze.selector;
        selectors[6] = World.proposeSet.selector;
        selectors[7] = World.activateSet.selector;
        selectors[8] = World.removeSigner.selector;
        selectors[9] = World.submit.selector;
        selectors[10] = World.submitJoint.selector;
        selectors[11] = World.reserve.selector;
        (selectors[12], selectors[13]) = (World.submit.selector, World.submit.selector);
        _target(address(world), selectors);
    }

    function invariant_roundsAreTheAcceptedUpdates() public view {
        for (uint256 feed = 0; feed < world.FEEDS(); ++feed) {
            (uint64 round, uint64 windowEnd, uint64 reservedUpTo) = world.oracle().feedState(world.feedId(feed));
            vm.assertEq(uint256(round), world.acceptedCount(feed));
            vm.assertGe(uint256(reservedUpTo), uint256(round));
            if (round > 0) vm.assertEq(uint256(windowEnd), uint256(world.accepted(feed, round - 1)));
        }
    }

    function invariant_keptRoundsAreWhatWasAccepted() public view {
        for (uint256 feed = 0; feed < world.FEEDS(); ++feed) {
            for (uint64 round = 1; round <= world.acceptedCount(feed); ++round) {
                IVolatilityOracle.Forecast memory found = world.oracle().getRound(world.feedId(feed), round);
                vm.assertEq(uint256(found.round), uint256(round));
                vm.assertEq(uint256(found.windowEnd), uint256(world.accepted(feed, round - 1)));
            }
        }
    }

    /// @notice Strictly: so there is one round per window too.
    function invariant_windowEndsIncrease() public view {
        for (uint256 feed = 0; feed < world.FEEDS(); ++feed) {
            for (uint256 i = 1; i < world.acceptedCount(feed); ++i) {
                vm.assertGt(uint256(world.accepted(feed, i)), uint256(world.accepted(feed, i - 1)));
            }
        }
    }

    function invariant_noModelReplacesAnotherBeforeTheDelay() public view {
        vm.assertEq(world.tooEarly(), 0);
    }

    function invariant_onlyActiveModelsPublish() public view {
        vm.assertEq(world.byFrozen(), 0);
    }

    function invariant_thresholdIsReachable() public view {
        AttesterSet attesters = world.attesters();
        address[] memory signers = attesters.signers();
        vm.assertGe(attesters.threshold(), 1);
        vm.assertGe(signers.length, attesters.threshold());
        vm.assertLe(signers.length, attesters.MAX_SIGNERS());
        for (uint256 i = 0; i < signers.length; ++i) {
            vm.assertTrue(attesters.isSigner(signers[i]));
        }
    }

    /// @notice That random calls do something at all: invariants of a world where nothing happens say nothing.
    function test_world_isAlive() public {
        bytes4[] memory selectors = this.targetSelectors()[0].selectors;
        for (uint256 i = 0; i < 600; ++i) {
            bytes32[4] memory dice;
            for (uint256 n = 0; n < 4; ++n) {
                dice[n] = keccak256(abi.encode(i, n));
            }
            (bool done,) = address(world)
                .call(abi.encodePacked(selectors[uint256(dice[0]) % 14], dice[1], dice[2], dice[3], dice[0]));
            done; // many are refused, as they must be
        }
        vm.assertGt(world.updates(), 30);
        vm.assertGt(world.activations(), 3);
    }
}
