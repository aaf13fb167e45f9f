// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

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
