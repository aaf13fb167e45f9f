// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AttesterSet} from "../src/AttesterSet.sol";
import {IAttesterSet} from "../src/interfaces/IAttesterSet.sol";
import {KeptOwnable} from "../src/libraries/KeptOwnable.sol";
import {Test} from "./Test.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

contract AttesterSetTest is Test {
    uint256 internal constant DELAY = 2 days;
    address internal constant STRANGER = address(0x57A4);
    bytes32 internal constant DIGEST = keccak256("digest");

    AttesterSet internal set;

    function setUp() public {
        vm.warp(1_757_937_660);
        set = new AttesterSet(address(this), DELAY, people(1, 3), 2);
    }

    function test_constructor_installsTheSetAtOnce() public {
        vm.expectEmit();
        emit IAttesterSet.SetActivated(people(4, 2), 1);
        set = new AttesterSet(address(this), DELAY, people(4, 2), 1);
        vm.assertEq(set.signers(), people(4, 2));
        vm.assertEq(set.threshold(), 1);
        vm.assertEq(set.delay(), DELAY);
        vm.assertTrue(set.isSigner(person(4)) && set.isSigner(person(5)));
        vm.assertFalse(set.isSigner(person(6)));
    }

    function test_constructor_takesThirtyTwoSigners() public {
        set = new AttesterSet(address(this), DELAY, people(1, 32), 32);
        set.requireSigned(DIGEST, signed(DIGEST, 1, 32));
    }

    function test_constructor_revertsWhenTheSetIsInvalid() public {
        address[] memory accounts = new address[](0);
        constructorReverts(accounts, 0);
        constructorReverts(accounts, 1);
        constructorReverts(people(1, 3), 0);
        constructorReverts(people(1, 3), 4);
        constructorReverts(people(1, 33), 1);
        accounts = people(1, 3);
        accounts[2] = address(0);
        constructorReverts(accounts, 1);
        accounts[2] = accounts[0];
        constructorReverts(accounts, 1);
    }

    function test_propose_revertsWhenTheSetIsInvalid() public {
        vm.expectRevert(IAttesterSet.InvalidSet.selector);
        set.propose(people(1, 2), 3);
    }

    function test_propose_waitsForTheDelay() public {
        vm.expectEmit();
        emit IAttesterSet.SetProposed(people(3, 3), 3, block.timestamp + DELAY);
        set.propose(people(3, 3), 3);
        (address[] memory signers, uint256 threshold, uint256 activeFrom) = set.proposed();
        vm.assertEq(signers, people(3, 3));
        vm.assertEq(threshold, 3);
        vm.assertEq(activeFrom, block.timestamp + DELAY);
        vm.assertEq(set.signers(), people(1, 3));
        vm.assertEq(set.threshold(), 2);
    }

    function test_propose_dropsTheProposalBefore() public {
        set.propose(people(3, 3), 3);
        vm.warp(block.timestamp + DELAY);
        set.propose(people(6, 1), 1);
        (address[] memory signers,, uint256 activeFrom) = set.proposed();
        vm.assertEq(signers, people(6, 1));
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.TooEarly.selector, activeFrom));
        set.activate();
    }

    function test_activate_replacesTheSet() public {
        set.propose(people(3, 2), 1);
        vm.warp(block.timestamp + DELAY);
        vm.expectEmit();
        emit IAttesterSet.SetActivated(people(3, 2), 1);
        vm.prank(STRANGER);
        set.activate();
        vm.assertEq(set.signers(), people(3, 2));
        vm.assertEq(set.threshold(), 1);
        vm.assertFalse(set.isSigner(person(1)));
        vm.assertTrue(set.isSigner(person(4)));
        (address[] memory signers, uint256 threshold, uint256 activeFrom) = set.proposed();
        vm.assertEq(signers.length + threshold + activeFrom, 0);
    }

    function test_activate_revertsWhenTooEarly() public {
        set.propose(people(3, 2), 1);
        uint256 activeFrom = block.timestamp + DELAY;
        vm.warp(activeFrom - 1);
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.TooEarly.selector, activeFrom));
        set.activate();
    }

    function test_activate_revertsWhenNothingIsProposed() public {
        vm.expectRevert(IAttesterSet.NothingProposed.selector);
        set.activate();
    }

    function test_activate_revertsTheSecondTime() public {
        set.propose(people(3, 2), 1);
        vm.warp(block.timestamp + DELAY);
        set.activate();
        vm.expectRevert(IAttesterSet.NothingProposed.selector);
        set.activate();
    }

    function test_cancel_dropsTheProposal() public {
        set.propose(people(3, 2), 1);
        vm.expectEmit();
        emit IAttesterSet.SetCancelled();
        set.cancel();
        vm.warp(block.timestamp + DELAY);
        vm.expectRevert(IAttesterSet.NothingProposed.selector);
        set.activate();
    }

    function test_cancel_revertsWhenNothingIsProposed() public {
        vm.expectRevert(IAttesterSet.NothingProposed.selector);
        set.cancel();
    }

    function test_remove_isAtOnce() public {
        vm.expectEmit();
        emit IAttesterSet.SignerRemoved(person(1));
        set.remove(person(1));
        vm.assertFalse(set.isSigner(person(1)));
        vm.assertEq(set.signers().length, 2);
        set.requireSigned(DIGEST, signed(DIGEST, 2, 2));
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.UnknownSigner.selector, person(1)));
        set.requireSigned(DIGEST, signed(DIGEST, 1, 2));
    }

    function test_remove_theLastOfTheList() public {
        set.remove(person(3));
        vm.assertEq(set.signers(), people(1, 2));
        vm.assertFalse(set.isSigner(person(3)));
    }

    function test_remove_revertsWhenTheThresholdWouldBeOutOfReach() public {
        set.remove(person(1));
        vm.expectRevert(IAttesterSet.InvalidSet.selector);
        set.remove(person(2));
    }

    function test_remove_revertsWhenUnknown() public {
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.UnknownSigner.selector, person(4)));
        set.remove(person(4));
    }

    function test_remove_dropsAProposalThatHoldsTheSigner() public {
        set.propose(people(3, 3), 2);
        vm.expectEmit();
        emit IAttesterSet.SetCancelled();
        set.remove(person(3));
        vm.expectRevert(IAttesterSet.NothingProposed.selector);
        set.activate();
    }

    function test_remove_keepsAProposalWithoutTheSigner() public {
        set.propose(people(3, 3), 2);
        set.remove(person(1));
        vm.warp(block.timestamp + DELAY);
        set.activate();
        vm.assertEq(set.signers(), people(3, 3));
    }

    function test_requireSigned_acceptsThresholdAndMore() public view {
        set.requireSigned(DIGEST, signed(DIGEST, 1, 2));
        set.requireSigned(DIGEST, signed(DIGEST, 2, 2));
        set.requireSigned(DIGEST, signed(DIGEST, 1, 3));
    }

    function test_requireSigned_revertsWhenTooFew() public {
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.TooFewSignatures.selector, 1, 2));
        set.requireSigned(DIGEST, signed(DIGEST, 1, 1));
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.TooFewSignatures.selector, 0, 2));
        set.requireSigned(DIGEST, new IAttesterSet.AttesterSignature[](0));
    }

    function test_requireSigned_revertsWhenTheSignerIsUnknown() public {
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.UnknownSigner.selector, person(4)));
        set.requireSigned(DIGEST, signed(DIGEST, 2, 3));
    }

    function test_requireSigned_revertsForTheZeroAccount() public {
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.UnknownSigner.selector, address(0)));
        set.requireSigned(DIGEST, new IAttesterSet.AttesterSignature[](2));
    }

    function test_requireSigned_revertsWhenASignerIsGivenTwice() public {
        IAttesterSet.AttesterSignature[] memory signatures = signed(DIGEST, 1, 2);
        signatures[1] = signatures[0];
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.DuplicateSigner.selector, person(1)));
        set.requireSigned(DIGEST, signatures);
    }

    function test_requireSigned_revertsForAnotherDigest() public {
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, person(1)));
        set.requireSigned(keccak256("another"), signed(DIGEST, 1, 2));
    }

    function test_requireSigned_revertsWhenASignatureTooManyDoesNotHold() public {
        IAttesterSet.AttesterSignature[] memory signatures = signed(DIGEST, 1, 3);
        signatures[2].r = signatures[1].r;
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, person(3)));
        set.requireSigned(DIGEST, signatures);
    }

    function test_requireSigned_revertsForASignatureOfZeros() public {
        IAttesterSet.AttesterSignature[] memory signatures = signed(DIGEST, 1, 2);
        (signatures[1].r, signatures[1].vs) = (0, 0);
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, person(2)));
        set.requireSigned(DIGEST, signatures);
    }

    function test_requireSigned_revertsWhenSIsInTheUpperHalf() public {
        IAttesterSet.AttesterSignature[] memory signatures = signed(DIGEST, 1, 2);
        // The compact form has room for 255 bits of s: hardly more than the lower half.
        signatures[1].vs = bytes32(type(uint256).max >> 1);
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, person(2)));
        set.requireSigned(DIGEST, signatures);
    }

    function test_owner_alone() public {
        address[] memory three = people(1, 3);
        bytes memory reason = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, STRANGER);
        vm.startPrank(STRANGER);
        vm.expectRevert(reason);
        set.propose(three, 2);
        vm.expectRevert(reason);
        set.cancel();
        vm.expectRevert(reason);
        set.remove(three[0]);
        vm.expectRevert(reason);
        set.renounceOwnership();
        vm.stopPrank();
    }

    function test_renounceOwnership_reverts() public {
        vm.expectRevert(KeptOwnable.OwnershipIsKept.selector);
        set.renounceOwnership();
    }

    function test_transferOwnership_takesTwoSteps() public {
        set.transferOwnership(STRANGER);
        vm.assertEq(set.owner(), address(this));
        vm.prank(STRANGER);
        set.acceptOwnership();
        vm.assertEq(set.owner(), STRANGER);
    }

    /// @notice Any subset in any order is accepted exactly if it reaches the threshold.
    function testFuzz_requireSigned_countsAnySubset(uint256 count, uint256 threshold, uint256 chosen, uint256 seed)
        public
    {
        count = _bound(count, 1, 12);
        threshold = _bound(threshold, 1, count);
        set = new AttesterSet(address(this), DELAY, people(1, count), threshold);
        uint256[] memory members = subset(count, chosen, seed);
        if (members.length < threshold) {
            vm.expectRevert(abi.encodeWithSelector(IAttesterSet.TooFewSignatures.selector, members.length, threshold));
        }
        set.requireSigned(DIGEST, signedBy(DIGEST, members));
    }

    /// @notice Removals in any order leave the others as they were, and stop at the threshold.
    function testFuzz_remove_leavesTheOthers(uint256 count, uint256 threshold, uint256 chosen, uint256 seed) public {
        count = _bound(count, 1, 12);
        threshold = _bound(threshold, 1, count);
        set = new AttesterSet(address(this), DELAY, people(1, count), threshold);
        uint256[] memory leaving = subset(count, chosen, seed);
        for (uint256 i = 0; i < leaving.length; ++i) {
            bool stays = count - i <= threshold;
            if (stays) vm.expectRevert(IAttesterSet.InvalidSet.selector);
            set.remove(person(leaving[i]));
            vm.assertEq(set.isSigner(person(leaving[i])), stays);
            if (stays) break;
        }
        address[] memory left = set.signers();
        for (uint256 i = 0; i < left.length; ++i) {
            vm.assertTrue(set.isSigner(left[i]));
        }
        vm.assertGe(left.length, set.threshold());
    }

    /// @notice A bit of a signature changed is another signature, or none.
    function testFuzz_requireSigned_revertsWhenABitIsFlipped(uint256 bit, bool ofR) public {
        IAttesterSet.AttesterSignature[] memory signatures = signed(DIGEST, 1, 2);
        bytes32 flip = bytes32(uint256(1) << _bound(bit, 0, 255));
        if (ofR) signatures[0].r ^= flip;
        else signatures[0].vs ^= flip;
        vm.expectRevert(abi.encodeWithSelector(IAttesterSet.InvalidSignature.selector, person(1)));
        set.requireSigned(DIGEST, signatures);
    }

    function constructorReverts(address[] memory accounts, uint256 threshold) private {
        vm.expectRevert(IAttesterSet.InvalidSet.selector);
        new AttesterSet(address(this), DELAY, accounts, threshold);
    }

    function key(uint256 number) private pure returns (uint256) {
        return uint256(keccak256(abi.encode("attester", number)));
    }

    function person(uint256 number) private pure returns (address) {
        return vm.addr(key(number));
    }

    function people(uint256 first, uint256 count) private pure returns (address[] memory accounts) {
        accounts = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            accounts[i] = person(first + i);
        }
    }

    function signed(bytes32 digest, uint256 first, uint256 count)
        private
        pure
        returns (IAttesterSet.AttesterSignature[] memory)
    {
        uint256[] memory members = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            members[i] = first + i;
        }
        return signedBy(digest, members);
    }

    function signedBy(bytes32 digest, uint256[] memory members)
        private
        pure
        returns (IAttesterSet.AttesterSignature[] memory signatures)
    {
        signatures = new IAttesterSet.AttesterSignature[](members.length);
        for (uint256 i = 0; i < members.length; ++i) {
            (bytes32 r, bytes32 vs) = vm.signCompact(key(members[i]), digest);
            signatures[i] = IAttesterSet.AttesterSignature(person(members[i]), r, vs);
        }
    }

    /// @dev Numbers from 1 to `count` whose bit is set in `chosen`, shuffled.
    function subset(uint256 count, uint256 chosen, uint256 seed) private pure returns (uint256[] memory members) {
        uint256 size = 0;
        members = new uint256[](count);
        for (uint256 number = 1; number <= count; ++number) {
            if ((chosen >> number) & 1 == 1) members[size++] = number;
        }
        assembly ("memory-safe") {
            mstore(members, size)
        }
        for (uint256 i = size; i > 1; --i) {
            uint256 j = uint256(keccak256(abi.encode(seed, i))) % i;
            (members[i - 1], members[j]) = (members[j], members[i - 1]);
        }
    }
}
