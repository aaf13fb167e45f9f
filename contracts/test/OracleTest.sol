// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AttesterSet} from "../src/AttesterSet.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {VolatilityOracle} from "../src/VolatilityOracle.sol";
import {IAttesterSet} from "../src/interfaces/IAttesterSet.sol";
import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {IVolatilityOracle} from "../src/interfaces/IVolatilityOracle.sol";
import {Outputs} from "../src/libraries/Outputs.sol";
import {AcceptingVerifier, OutputsCaller} from "./Doubles.sol";
import {Test} from "./Test.sol";

/// @notice The three contracts, owned by the test, with three attesters of whom `THRESHOLD` must sign.
abstract contract OracleTest is Test {
    uint256 internal constant DELAY = 2 days;
    uint256 internal constant SUBMISSION_LIMIT = 1 hours;
    uint256 internal constant MAX_SKEW = 60;
    uint256 internal constant MAX_AGE = 15 minutes;
    uint256 internal constant NOW = 1_757_937_660;

    bytes32 internal constant FEED = keccak256("btc-usdt-4h");
    bytes32 internal constant OTHER_FEED = keccak256("eth-usdt-4h");
    address internal constant STRANGER = address(0x57A4);

    ModelRegistry internal registry;
    AttesterSet internal attesters;
    VolatilityOracle internal oracle;
    uint256[] internal keys;

    function setUp() public virtual {
        vm.warp(NOW);
        registry = new ModelRegistry(address(this), DELAY);
        for (uint256 i = 1; i <= 3; ++i) {
            keys.push(uint256(keccak256(abi.encode("attester", i))));
        }
        attesters = new AttesterSet(address(this), DELAY, accounts(keys), threshold());
        oracle = new VolatilityOracle(registry, attesters, SUBMISSION_LIMIT, MAX_SKEW, MAX_AGE);
    }

    function threshold() internal pure virtual returns (uint256) {
        return 1;
    }

    function accounts(uint256[] memory privateKeys) internal pure returns (address[] memory found) {
        found = new address[](privateKeys.length);
        for (uint256 i = 0; i < found.length; ++i) {
            found[i] = vm.addr(privateKeys[i]);
        }
    }

    function signature(uint256 key, bytes32 digest) internal pure returns (IAttesterSet.AttesterSignature memory) {
        (bytes32 r, bytes32 vs) = vm.signCompact(key, digest);
        return IAttesterSet.AttesterSignature(vm.addr(key), r, vs);
    }

    /// @notice Of the first `count` attesters.
    function signatures(bytes32 digest, uint256 count)
        internal
        view
        returns (IAttesterSet.AttesterSignature[] memory made)
    {
        made = new IAttesterSet.AttesterSignature[](count);
        for (uint256 i = 0; i < count; ++i) {
            made[i] = signature(keys[i], digest);
        }
    }

    function sign(IVolatilityOracle.Update memory update, uint256 count) internal view {
        update.signatures = signatures(
            oracle.attestationDigest(update.feedId, update.windowEnd, update.modelId, update.inputCommitment), count
        );
    }

    function sign(IVolatilityOracle.JointUpdate memory update, uint256 count) internal view {
        update.signatures =
            signatures(oracle.jointAttestationDigest(update.windows, update.modelId, update.inputCommitment), count);
    }

    function activate(bytes32 modelId, IModelRegistry.Model memory model, bytes32[] memory feedIds) internal {
        registry.propose(modelId, model, feedIds);
        vm.warp(registry.activeFrom(modelId));
        registry.activate(modelId);
    }

    function only(bytes32 feedId) internal pure returns (bytes32[] memory feedIds) {
        feedIds = new bytes32[](1);
        feedIds[0] = feedId;
    }

    function both(bytes32 feedId, bytes32 otherId) internal pure returns (bytes32[] memory feedIds) {
        feedIds = new bytes32[](2);
        (feedIds[0], feedIds[1]) = (feedId, otherId);
    }

    function modelWith(address verifier, address jointVerifier, uint8 windows)
        internal
        pure
        returns (IModelRegistry.Model memory model)
    {
        model.verifier = verifier;
        model.jointVerifier = jointVerifier;
        model.jointWindows = windows;
        model.outputScale = 27;
        model.srsHash = keccak256("srs");
        model.vkHash = keccak256("vk");
        model.trainingRecord = keccak256("training");
    }

    function assertEq(IVolatilityOracle.Forecast memory found, IVolatilityOracle.Forecast memory expected)
        internal
        pure
    {
        vm.assertEq(abi.encode(found), abi.encode(expected));
    }
}

/// @notice The released model behind its generated verifiers, and the real proofs of `make fixture`.
abstract contract RealProofTest is OracleTest {
    string internal fixture;
    bytes32 internal modelId;
    address internal single;
    address internal joint;
    address internal another;

    function setUp() public virtual override {
        super.setUp();
        fixture = vm.readFile("test/fixture/proofs.json");
        (single, joint, another) = (deployed("Single"), deployed("Joint"), deployed("Another"));
        modelId = vm.parseJsonBytes32(fixture, ".model.modelId");
        activate(modelId, modelWith(single, joint, 10), feedIdsOf("ten"));
        goTo("first");
    }

    /// @dev From compiled code: coverage compiles without the optimiser, and the generated source does not stand that.
    function deployed(string memory name) private returns (address verifier) {
        bytes memory code = vm.parseBytes(vm.readFile(string.concat("test/fixture/", name, "Verifier.hex")));
        assembly ("memory-safe") {
            verifier := create(0, add(code, 32), mload(code))
        }
    }

    /// @notice A minute after the proof's window ended.
    function goTo(string memory name) internal {
        vm.warp(vm.parseJsonUint(fixture, path(name, ".windowEnd")) + 60);
    }

    /// @notice Signed by the first `count` attesters.
    function updateOf(string memory name, uint256 count)
        internal
        view
        returns (IVolatilityOracle.Update memory update)
    {
        update.feedId = feedIdsOf(name)[0];
        update.windowEnd = uint64(vm.parseJsonUint(fixture, path(name, ".windowEnd")));
        update.modelId = vm.parseJsonBytes32(fixture, path(name, ".modelId"));
        update.inputCommitment = vm.parseJsonBytes32(fixture, path(name, ".commitment"));
        update.proof = vm.parseJsonBytes(fixture, path(name, ".proof"));
        update.outputs = vm.parseJsonUintArray(fixture, path(name, ".outputs"));
        sign(update, count);
    }

    function jointUpdateOf(string memory name, uint256 count)
        internal
        view
        returns (IVolatilityOracle.JointUpdate memory update)
    {
        bytes32[] memory feedIds = feedIdsOf(name);
        update.windows = new IVolatilityOracle.FeedWindow[](feedIds.length);
        uint64 windowEnd = uint64(vm.parseJsonUint(fixture, path(name, ".windowEnd")));
        for (uint256 i = 0; i < feedIds.length; ++i) {
            update.windows[i] = IVolatilityOracle.FeedWindow(feedIds[i], windowEnd);
        }
        update.modelId = vm.parseJsonBytes32(fixture, path(name, ".modelId"));
        update.inputCommitment = vm.parseJsonBytes32(fixture, path(name, ".commitment"));
        update.proof = vm.parseJsonBytes(fixture, path(name, ".proof"));
        update.outputs = vm.parseJsonUintArray(fixture, path(name, ".outputs"));
        sign(update, count);
    }

    /// @notice What the oracle must say of a window of the proof, when it is published now.
    function expectedOf(string memory name, uint256 place, uint64 round)
        internal
        returns (IVolatilityOracle.Forecast memory)
    {
        uint256[] memory outputs = vm.parseJsonUintArray(fixture, path(name, ".outputs"));
        Outputs.Decoded memory decoded = new OutputsCaller().decode(outputs, place, 27);
        return IVolatilityOracle.Forecast({
            round: round,
            windowEnd: uint64(vm.parseJsonUint(fixture, path(name, ".windowEnd"))),
            publishedAt: uint64(block.timestamp),
            regime: decoded.regime,
            probabilityHigh: decoded.probabilityHigh,
            volatility: decoded.volatility,
            modelId: vm.parseJsonBytes32(fixture, path(name, ".modelId"))
        });
    }

    function feedIdsOf(string memory name) internal view returns (bytes32[] memory feedIds) {
        string[] memory names = vm.parseJsonStringArray(fixture, path(name, ".feeds"));
        feedIds = new bytes32[](names.length);
        for (uint256 i = 0; i < names.length; ++i) {
            feedIds[i] = keccak256(bytes(names[i]));
        }
    }

    function path(string memory name, string memory field) internal pure returns (string memory) {
        return string.concat(".", name, field);
    }
}

/// @notice Two feeds of a model whose proofs are always accepted.
abstract contract AnyProofTest is OracleTest {
    bytes32 internal constant MODEL = keccak256("model");
    int256 internal constant ONE = 2 ** 27;
    uint8 internal constant PLACES = 4;

    address internal verifier;

    function setUp() public virtual override {
        super.setUp();
        verifier = address(new AcceptingVerifier());
        activate(MODEL, modelWith(verifier, verifier, PLACES), both(FEED, OTHER_FEED));
    }

    /// @notice Signed by the first attester; 36.8 % a year, a high regime with probability 0.731.
    function updateFor(bytes32 feedId, uint64 windowEnd)
        internal
        view
        returns (IVolatilityOracle.Update memory update)
    {
        update.feedId = feedId;
        update.windowEnd = windowEnd;
        update.modelId = MODEL;
        update.proof = new bytes(64);
        update.inputCommitment = keccak256(update.proof);
        update.outputs = outputsOf(-ONE / 2, ONE / 2, -ONE, 1);
        sign(update, 1);
    }

    /// @notice One window that ends now of each feed; signed by the first attester.
    function jointUpdateFor(bytes32[] memory feedIds)
        internal
        view
        returns (IVolatilityOracle.JointUpdate memory update)
    {
        update.windows = new IVolatilityOracle.FeedWindow[](feedIds.length);
        for (uint256 i = 0; i < feedIds.length; ++i) {
            update.windows[i] = IVolatilityOracle.FeedWindow(feedIds[i], uint64(block.timestamp));
        }
        update.modelId = MODEL;
        update.proof = new bytes(64);
        update.inputCommitment = keccak256(update.proof);
        update.outputs = outputsOf(-ONE / 2, ONE / 2, -ONE, PLACES);
        sign(update, 1);
    }

    function outputsOf(int256 low, int256 high, int256 ln, uint256 places)
        internal
        pure
        returns (uint256[] memory outputs)
    {
        outputs = new uint256[](3 * places);
        for (uint256 i = 0; i < places; ++i) {
            (outputs[3 * i], outputs[3 * i + 1], outputs[3 * i + 2]) = (element(low), element(high), element(ln));
        }
    }

    function element(int256 value) internal pure returns (uint256) {
        uint256 order = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
        return value < 0 ? order - uint256(-value) : uint256(value);
    }
}
