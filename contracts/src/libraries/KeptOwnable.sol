// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";

/// @notice Ownership that moves in two steps and is never dropped: whoever freezes a model or removes a leaked key must
/// stay reachable.
abstract contract KeptOwnable is Ownable2Step {
    /// @notice Ownership can be handed on, not given up.
    error OwnershipIsKept();

    constructor(address owner) Ownable(owner) {}

    /// @notice Always reverts.
    function renounceOwnership() public view override onlyOwner {
        revert OwnershipIsKept();
    }
}
