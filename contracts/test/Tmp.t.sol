// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;
import {RealProofTest} from "./OracleTest.sol";
import {IVolatilityOracle} from "../src/interfaces/IVolatilityOracle.sol";
import {VolatilityOracle} from "../src/VolatilityOracle.sol";
import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {IAttesterSet} from "../src/interfaces/IAttesterSet.sol";
import {Outputs} from "../src/libraries/Outputs.sol";
import {Rounds} from "../src/libraries/Rounds.sol";
contract P {
  function a(uint256[] calldata o) external view returns (uint g) { uint x=gasleft(); Outputs.requireCanonical(o); g = x-gasleft(); }
  function b(uint256[] calldata o) external view returns (uint g) { uint x=gasleft(); 
        Outputs.Decoded[] memory decoded = new Outputs.Decoded[](10);
        for (uint256 i = 0; i < decoded.length; ++i) {
            decoded[i] = Outputs.decode(o, i, 27);
        }
   g = x-gasleft(); }
  function c(uint256[] calldata o) external view returns (uint g) { Outputs.Decoded memory d= Outputs.decode(o,0,27); uint x=gasleft(); 
     Rounds.pack(1,2,3,d);
   g = x-gasleft(); }
  function d(bytes32[] memory feedIds) external view returns (uint g) { uint x=gasleft(); 
        for (uint256 i = 1; i < feedIds.length; ++i) {
            for (uint256 j = 0; j < i; ++j) {
                if (feedIds[i] == feedIds[j]) revert();
            }
        }
   g = x-gasleft(); }
}
contract Tmp is RealProofTest {
  function test_tmp() public {
    IVolatilityOracle.JointUpdate memory u = jointUpdateOf("ten",1);
    P p = new P();
    uint g=gasleft(); oracle.jointAttestationDigest(u.windows,modelId,0); uint e=g-gasleft();
    revert(string.concat("canon ",vm.toString(p.a(u.outputs))," decode ",vm.toString(p.b(u.outputs))," pack ",vm.toString(p.c(u.outputs))," dup ",vm.toString(p.d(feedIdsOf("ten"))), " digest ", vm.toString(e)));
  }
}
