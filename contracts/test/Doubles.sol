// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Outputs} from "../src/libraries/Outputs.sol";

/// @notice Accepts every proof: for tests in which the proof is not the point.
contract AcceptingVerifier {
    function verifyProof(bytes calldata, uint256[] calldata) external pure returns (bool) {
        return true;
    }
}

/// @notice Answers whatever bytes it was given: what a verifier must not be believed for.
contract AnsweringVerifier {
    bytes private _answer;

    constructor(bytes memory answer) {
        _answer = answer;
    }

    fallback() external {
        bytes memory answer = _answer;
        assembly ("memory-safe") {
            return(add(answer, 32), mload(answer))
        }
    }
}

/// @notice The library's functions as a contract: reverts are seen, and the outputs are calldata.
contract OutputsCaller {
    function requireCanonical(uint256[] calldata outputs) external pure {
        Outputs.requireCanonical(outputs);
    }

    function decode(uint256[] calldata outputs, uint256 place, uint8 scale)
        external
        pure
        returns (Outputs.Decoded memory)
    {
        return Outputs.decode(outputs, place, scale);
    }
}
