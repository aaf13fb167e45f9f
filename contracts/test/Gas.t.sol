// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {RealProofTest} from "./OracleTest.sol";

/// @notice What whole transactions with real proofs cost: 21,000, calldata and execution on cold accounts and storage.
/// @dev The feeds' own slots are not zero any more, as after the first update, and their next rounds are reserved. The
/// call of the oracle is charged as to a cold account, 2,500 more than a transaction pays. What forge itself notes for
/// these tests is the execution alone, without calldata.
contract GasTest is RealProofTest {
    function setUp() public override {
        super.setUp();
        bytes32[] memory feedIds = feedIdsOf("ten");
        oracle.submit(updateOf("first", 1));
        for (uint256 i = 0; i < feedIds.length; ++i) {
            oracle.reserve(feedIds[i], 2);
        }
    }

    function test_gas_submitWithOneSignature() public {
        vm.pauseGasMetering();
        goTo("second");
        costs(abi.encodeCall(oracle.submit, (updateOf("second", 1))), 520_000);
    }

    function test_gas_submitWithThreeSignatures() public {
        vm.pauseGasMetering();
        goTo("second");
        costs(abi.encodeCall(oracle.submit, (updateOf("second", 3))), 560_000);
    }

    function test_gas_submitJointOfTenFeeds() public {
        vm.pauseGasMetering();
        goTo("ten");
        costs(abi.encodeCall(oracle.submitJoint, (jointUpdateOf("ten", 1))), 10 * 75_000);
    }

    function costs(bytes memory data, uint256 atMost) private {
        uint256 intrinsic = 21_000;
        for (uint256 i = 0; i < data.length; ++i) {
            intrinsic += data[i] == 0 ? 4 : 16;
        }
        vm.cool(address(oracle));
        vm.cool(address(registry));
        vm.cool(address(attesters));
        vm.cool(single);
        vm.cool(joint);
        vm.resumeGasMetering();
        uint256 before = gasleft();
        (bool success,) = address(oracle).call(data);
        uint256 used = before - gasleft() + intrinsic;
        vm.pauseGasMetering();
        vm.assertTrue(success);
        vm.assertLe(used, atMost);
        vm.assertGt(used, 400_000, "the call was not metered");
    }
}
