// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;
import {RealProofTest} from "./OracleTest.sol";
import {IProofVerifier} from "../src/interfaces/IProofVerifier.sol";
import {IVolatilityOracle} from "../src/interfaces/IVolatilityOracle.sol";
import {OutputsCaller} from "./Doubles.sol";
import {Outputs} from "../src/libraries/Outputs.sol";
contract Tmp is RealProofTest {
  function test_tmp() public {
    IVolatilityOracle.JointUpdate memory u = jointUpdateOf("ten",1);
    IVolatilityOracle.Update memory s = updateOf("first",1);
    bytes memory d = abi.encodeCall(IProofVerifier.verifyProof,(u.proof,u.outputs));
    bytes memory d1 = abi.encodeCall(IProofVerifier.verifyProof,(s.proof,s.outputs));
    bytes memory du = abi.encodeCall(oracle.submitJoint,(u));
    uint i=21000; for(uint k;k<du.length;++k) i+= du[k]==0?4:16;
    uint g=gasleft(); joint.staticcall(d); uint a=g-gasleft();
    g=gasleft(); single.staticcall(d1); uint b=g-gasleft();
    g=gasleft(); Outputs.exponential(-123456789,27); uint e=g-gasleft();
    g=gasleft(); Outputs.probability(-123456789,27); uint p=g-gasleft();
    revert(string.concat("joint ",vm.toString(a)," single ",vm.toString(b)," intrinsic ",vm.toString(i)," exp ",vm.toString(e)," prob ",vm.toString(p)));
  }
}
