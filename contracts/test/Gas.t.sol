// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IVolatilityOracle} from "../src/interfaces/IVolatilityOracle.sol";
import {RealProofTest} from "./OracleTest.sol";

/// @notice What whole transactions with real proofs cost: 21,000, calldata and execution on cold accounts and storage.
/// @dev The feeds' own slots are not zero any more, as after the first update; reserved rounds are where it says so.
/// The call of the oracle is charged as to a cold account, 2,500 more than a transaction pays.
contract GasTest is RealProofTest {
    bytes32[] internal feedIds;

    function setUp() public override {
        super.setUp();
        feedIds = feedIdsOf("ten");
        oracle.submit(updateOf("first", 1));
        for (uint256 i = 0; i < feedIds.length; ++i) {
            oracle.reserve(feedIds[i], 2);
        }
    }

    function test_gas_submitWithOneSignature() public {
        goTo("second");
        uint256 used = transactionGas(abi.encodeCall(oracle.submit, (updateOf("second", 1))));
        vm.assertLe(used, 520_000, vm.toString(used));
    }

    function test_gas_submitWithThreeSignatures() public {
        goTo("second");
        uint256 used = transactionGas(abi.encodeCall(oracle.submit, (updateOf("second", 3))));
        vm.assertLe(used, 560_000, vm.toString(used));
    }

    function test_gas_submitJointOfTenFeeds() public {
        goTo("ten");
        uint256 used = transactionGas(abi.encodeCall(oracle.submitJoint, (jointUpdateOf("ten", 1))));
        vm.assertLe(used / 10, 75_000, vm.toString(used));
    }

    function transactionGas(bytes memory data) private returns (uint256 used) {
        uint256 intrinsic = 21_000;
        for (uint256 i = 0; i < data.length; ++i) {
            intrinsic += data[i] == 0 ? 4 : 16;
        }
        vm.cool(address(oracle));
        vm.cool(address(registry));
        vm.cool(address(attesters));
        vm.cool(single);
        vm.cool(joint);
        uint256 before = gasleft();
        (bool success,) = address(oracle).call(data);
        used = before - gasleft() + intrinsic;
        vm.assertTrue(success);
    }
}
